"""The static folder of ``export --web``: page, module, models and onnxruntime-web."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimpose.formats.files import read_json
from slimpose.formats.temporary_folder import temporary_folder
from slimpose.runtime.backends.available import read_metadata
from slimpose.runtime.session import ModelInfo, read_info
from slimpose.skeleton import Skeleton
from slimpose.skeleton_parts import is_person
from slimpose.tasks import Task
from slimpose.tracking.appearance import limb_samples
from slimpose.tracking.boxes import with_default_sigmas
from slimpose.web import browser_runtime

PAGE = Path(__file__).parent / "page"
"""The page and the module, built from the folder web/ of the repository."""
MANIFEST = "models.json"
_RUNTIME = "runtime"
_FITS = ("letterbox", "letterbox-center", "stretch")


def write_folder(
    folder: Path, poses: Sequence[Path], detector: Path, runtime: Mapping[str, Path]
) -> None:
    """Write the folder, which any static web server can serve.

    It is written under a temporary name and renamed. An empty folder, or one that this function
    wrote before, is replaced.

    Args:
        folder: The folder to write.
        poses: Files of pose models; the page starts with the first.
        detector: File of the person detector.
        runtime: The files of onnxruntime-web by name.

    Raises:
        ValueError: If a file is not such a model, or one that a browser cannot run here.
        FileExistsError: If the folder has other files.
    """
    check_folder(folder)
    folder = folder.resolve()
    with temporary_folder(folder.parent) as temporary:
        new = temporary / folder.name
        shutil.copytree(PAGE, new)
        (new / _RUNTIME).mkdir()
        for name, file in runtime.items():
            shutil.copyfile(file, new / _RUNTIME / name)
        manifest = {
            "version": 1,
            "runtime": {"version": browser_runtime.VERSION, "folder": f"{_RUNTIME}/"},
            "poses": [_pose_entry(file, new) for file in poses],
            "detector": _detector_entry(detector, new),
        }
        (new / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        _name_release(new)
        if folder.exists():
            folder.rename(temporary / "old")
        new.rename(folder)


def check_folder(folder: Path) -> None:
    """Check that a folder may be written or replaced.

    Raises:
        NotADirectoryError: If it is a file.
        FileExistsError: If it has files that are not those of an earlier export.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--web {folder} is a file; expected a folder to write")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    known = {file.name for file in PAGE.iterdir()} | {MANIFEST, _RUNTIME, "models"}
    others = sorted({file.name for file in folder.iterdir()} - known)
    if others or not (folder / MANIFEST).is_file():
        raise FileExistsError(
            f"--web {folder} has other files ({', '.join(others[:3]) or 'no models.json'}); "
            "expected a new or empty folder, or one of an earlier slimpose export --web"
        )
    read_json(folder / MANIFEST, kind="models.json of an earlier export")


def _pose_entry(file: Path, folder: Path) -> dict[str, Any]:
    info = _info(file, "pose")
    entry = _entry(file, info, folder)
    return {**entry, "skeleton": skeleton_entry(info.skeleton)}


def _detector_entry(file: Path, folder: Path) -> dict[str, Any]:
    info = _info(file, "detect")
    if info.fit not in _FITS:
        raise ValueError(
            f"{file} takes images fitted by {info.fit}; expected a detector for the browser with "
            f"one of {', '.join(_FITS)}"
        )
    return {
        **_entry(file, info, folder),
        "fit": info.fit,
        "score_threshold": info.score_threshold,
        "nms_iou_threshold": info.nms_iou_threshold,
    }


def _info(file: Path, task: Task) -> ModelInfo:
    """Return a model's metadata.

    Raises:
        ValueError: If it is not an ONNX file of slimpose for this task.
    """
    if file.suffix.lower() != ".onnx":
        raise ValueError(f"{file} is not ONNX; onnxruntime-web runs FILE.onnx only")
    info = read_info(file, read_metadata(file))
    if info.kind:
        raise ValueError(
            f"{file} is a {info.kind} model of another project, decoded outside its graph; "
            "expected a file of slimpose export or slimpose adopt"
        )
    if info.task != task:
        raise ValueError(f"{file} is a {info.task} model; expected a {task} model")
    return info


def _entry(file: Path, info: ModelInfo, folder: Path) -> dict[str, Any]:
    """Copy a model into the folder, and return what models.json says of it."""
    data = file.read_bytes()
    copied = folder / "models" / file.name
    copied.parent.mkdir(exist_ok=True)
    if copied.exists():
        raise ValueError(f"two models are named {file.name}; expected different names")
    copied.write_bytes(data)
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {
        "name": info.name,
        "file": f"models/{file.name}",
        "bytes": len(data),
        "integrity": f"sha256-{digest}",
        "height": info.size.height,
        "width": info.size.width,
    }


def skeleton_entry(skeleton: Skeleton) -> dict[str, Any]:
    """Return a skeleton with all that follows from its names, for the module."""
    samples = None
    if not is_person(skeleton):
        samples = [weights.round(6).tolist() for weights in limb_samples(skeleton)]
    return {
        "name": skeleton.name,
        "joints": list(skeleton.joints),
        "limbs": [list(limb) for limb in skeleton.limb_indices],
        "sigmas": [round(float(sigma), 6) for sigma in with_default_sigmas(skeleton).sigma_array],
        "flip": skeleton.flip_indices.tolist(),
        "sides": [side or "" for side in skeleton.mirror.sides],
        "color_samples": samples,
    }


def _name_release(folder: Path) -> None:
    """Give the service worker the folder's hash: browsers replace their copy when it changes."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    worker = folder / "service-worker.js"
    release = json.dumps(digest.hexdigest()[:16])
    worker.write_text(f"const RELEASE={release};\n{worker.read_text('utf-8')}", encoding="utf-8")
