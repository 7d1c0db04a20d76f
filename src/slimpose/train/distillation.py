"""Distillation: a trained network's heatmaps, of the student's own crops or of every person once.

Running the teacher on the student's augmented crops needs no cache and is the paper's loss; on a
CPU it costs more than a small student's own step. A cached teacher (``data/teacher_cache.py``) runs
once before training. Comparison: docs/experiments.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.data.people import TrainingPeople
from slimpose.data.teacher_cache import Peaks, cache_teacher_peaks
from slimpose.network.build import net_from_metadata
from slimpose.network.detector_net import DetectorNet
from slimpose.network.weights import load_checkpoint, load_into, load_weights, save_checkpoint
from slimpose.runtime.session import Session
from slimpose.skeleton import Skeleton
from slimpose.train.feature_distillation import FeatureNet
from slimpose.train.inference import compile_for_inference
from slimpose.train.processes import all_gather, local_items, rank

TEACHER_CACHE = "teacher_peaks.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A network that labels crops.

    Attributes:
        name: File name and start of its SHA-256, for the run's metadata.
        runs_on: What computes it.
        skeleton: Its joints.
        stride: Crop pixels per cell of its heatmaps.
        predict: uint8 crops (n, H, W, 3) of any size to heatmaps (n, J, h, w) of its own stride.
        net: The network in evaluation mode, for feature distillation; if it has features.
    """

    name: str
    runs_on: str
    skeleton: Skeleton
    stride: int
    predict: Callable[[Crops], Heatmaps]
    net: FeatureNet | None = None


def open_teacher(path: Path) -> Teacher:
    """Open weights of ``slimpose train`` (any input size), or an ONNX file with heatmaps.

    The file is of ``slimpose export`` or another project (docs/models.md).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a pose network that gives heatmaps.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no teacher {path}; expected a .safetensors file of a run, or an ONNX file"
        )
    return _onnx_teacher(path) if path.suffix == ".onnx" else _torch_teacher(path)


def file_name_and_hash(path: Path) -> str:
    """Return a file's name and 12 digits of its SHA-256, which identify it in metadata."""
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def cached_teacher(
    people: TrainingPeople,
    teacher: Teacher,
    *,
    size: Size,
    cache: Path | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Peaks:
    """Return the peaks of the teacher's heatmaps of every person.

    They are read from the cache if it is of the same teacher, size and people, else computed and
    saved there. Processes share the work. The file takes 24 bytes per joint: 7 MB for 17,000
    people.
    """
    boxes = hashlib.sha256(people.boxes_stored.tobytes()).hexdigest()[:12]
    key = {"teacher": teacher.name, "size": str(size), "boxes": boxes}
    if cache is not None and cache.is_file():
        saved = load_checkpoint(cache)
        if key.items() <= saved.metadata.items():
            return saved.tensors["peaks"].numpy()
    rows = local_items(list(range(len(people))))
    computed = cache_teacher_peaks(
        people, rows, teacher.predict, size=size, on_progress=on_progress
    )
    by_person = dict(all_gather(list(zip(rows, computed, strict=True))))
    peaks = np.stack([by_person[person] for person in range(len(people))])
    if cache is not None and rank() == 0:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(cache, {"peaks": torch.from_numpy(peaks)}, key)
    return peaks


def _onnx_teacher(path: Path) -> Teacher:
    session = Session(path, threads=torch.get_num_threads())
    if session.info.task != "pose":
        raise ValueError(
            f"{path} is a {session.info.task} model; expected a pose model, with a person's"
            " heatmaps as output"
        )
    if "heatmaps" not in session.outputs:
        hint = (
            f"a {session.info.kind} network gives none; expected a heatmap network"
            if session.info.kind
            else "export it with --heatmaps"
        )
        raise ValueError(f"{path} has no heatmaps to learn from; {hint}")
    model_size, stride = session.info.size, session.info.stride

    def predict(crops: Crops) -> Heatmaps:
        size = Size(*crops.shape[1:3])
        if size == model_size:
            return session.run(crops, ("heatmaps",))[0]
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        resized = F.interpolate(pixels, tuple(model_size), mode="bilinear", antialias=True)
        whole = resized.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        heatmaps = torch.from_numpy(session.run(whole, ("heatmaps",))[0])
        map_size = size.height // stride, size.width // stride
        return F.interpolate(heatmaps, map_size, mode="bilinear", antialias=True).numpy()

    return Teacher(
        name=file_name_and_hash(path),
        runs_on=f"ONNX Runtime {session.precision.upper()}",
        skeleton=session.info.skeleton,
        stride=stride,
        predict=predict,
    )


def _torch_teacher(path: Path) -> Teacher:
    saved = load_weights(path)
    if "net" not in saved.metadata or "skeleton" not in saved.metadata:
        raise ValueError(
            f"{path} does not name its network; expected best.safetensors of slimpose train"
        )
    skeleton = Skeleton.from_json(saved.metadata["skeleton"])
    net = net_from_metadata(saved.metadata)
    if isinstance(net, DetectorNet):
        raise ValueError(f"{path} is a person detector; expected a pose network, with heatmaps")
    load_into(net, saved.tensors, path=path)
    net.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    outputs_of, runs_on = compile_for_inference(net)
    return Teacher(
        name=file_name_and_hash(path),
        runs_on=runs_on,
        skeleton=skeleton,
        stride=net.spec.stride,
        predict=lambda crops: outputs_of(crops)[0],
        net=net if isinstance(net, FeatureNet) else None,
    )
