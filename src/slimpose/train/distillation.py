"""Distillation: a trained net's heatmaps, of the very crops the student sees, or of every person once.

The same augmented picture for both needs no cache and is what the paper's loss says; the teacher
then costs more than a small student's own step on a CPU. Once, it may look at its leisure
(``data/taught.py``): docs/experiments.md.
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
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint, load_into, load_weights, save_checkpoint
from slimpose.runtime.session import Session
from slimpose.skeleton import Skeleton
from slimpose.train.inference import compute_with_openvino
from slimpose.train.processes import gathered, local_items, rank

TEACHER_CACHE = "taught.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A net that labels crops.

    Attributes:
        name: File and start of its SHA-256, for the run's metadata.
        runs_on: What computes it.
        skeleton: Its joints.
        stride: Crop pixels a cell of its heatmaps.
        heatmaps_of: uint8 crops (n, H, W, 3) of any size to heatmaps (n, J, h, w) of its own
            stride.
        net: It in evaluation mode, where it is of this family: a student may imitate it.
    """

    name: str
    runs_on: str
    skeleton: Skeleton
    stride: int
    heatmaps_of: Callable[[Crops], Heatmaps]
    net: PoseNet | None = None


def open_teacher(path: Path) -> Teacher:
    """Open weights of ``slimpose train`` (any input size), or an ONNX file of ``slimpose export`` (its own size).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no pose net that gives heatmaps.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no teacher {path}; expected a .safetensors file of a run, or an ONNX file"
        )
    name = f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return _onnx_teacher(path, name) if path.suffix == ".onnx" else _torch_teacher(path, name)


def cached_teacher(
    people: TrainingPeople,
    teacher: Teacher,
    *,
    size: Size,
    cache: Path | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Peaks:
    """Return what the teacher sees in every person: from the cache if it is of the same, else computed and kept there.

    Processes share the work. The file takes 24 bytes a joint: 7 MB for 17,000 people.
    """
    boxes = hashlib.sha256(people.boxes_stored.tobytes()).hexdigest()[:12]
    made_of = {"teacher": teacher.name, "size": str(size), "boxes": boxes}
    if cache is not None and cache.is_file():
        kept = load_checkpoint(cache)
        if made_of.items() <= kept.metadata.items():
            return kept.tensors["peaks"].numpy()
    mine = local_items(list(range(len(people))))
    peaks = cache_teacher_peaks(
        people, mine, teacher.heatmaps_of, size=size, on_progress=on_progress
    )
    of_all = dict(gathered(list(zip(mine, peaks, strict=True))))
    taught = np.stack([of_all[person] for person in range(len(people))])
    if cache is not None and rank() == 0:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(cache, {"peaks": torch.from_numpy(taught)}, made_of)
    return taught


def _onnx_teacher(path: Path, name: str) -> Teacher:
    session = Session(path, threads=torch.get_num_threads())
    if session.info.task != "pose":
        raise ValueError(
            f"{path} is a {session.info.task} model; expected a pose net, which gives a person's heatmaps"
        )
    if "heatmaps" not in session.outputs:
        raise ValueError(f"{path} gives no heatmaps to learn from; export it with --heatmaps")
    own_size = session.info.size

    def heatmaps_of(crops: Crops) -> Heatmaps:
        size = Size(*crops.shape[1:3])
        if size == own_size:
            return session.run(crops, ("heatmaps",))[0]
        grown = session.run(_resized(crops, own_size), ("heatmaps",))[0]
        stride = session.info.stride
        wanted = size.height // stride, size.width // stride
        shrunk = F.interpolate(torch.from_numpy(grown), wanted, mode="bilinear", antialias=True)
        return shrunk.numpy()

    return Teacher(
        name=name,
        runs_on=f"ONNX Runtime {session.precision.upper()}",
        skeleton=session.info.skeleton,
        stride=session.info.stride,
        heatmaps_of=heatmaps_of,
    )


def _resized(crops: Crops, size: Size) -> Crops:
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    grown = F.interpolate(pixels, tuple(size), mode="bilinear", antialias=True)
    return grown.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _torch_teacher(path: Path, name: str) -> Teacher:
    saved = load_weights(path)
    if "net" not in saved.metadata or "skeleton" not in saved.metadata:
        raise ValueError(
            f"{path} does not say which net it is of; expected best.safetensors of slimpose train"
        )
    skeleton = Skeleton.from_json(saved.metadata["skeleton"])
    net = net_from_metadata(saved.metadata)
    if isinstance(net, DetectorNet):
        raise ValueError(
            f"{path} holds a person detector; expected a pose net, which gives heatmaps"
        )
    load_into(net, saved.tensors, path=path)
    net.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    outputs_of, runs_on = compute_with_openvino(net)
    return Teacher(
        name=name,
        runs_on=runs_on,
        skeleton=skeleton,
        stride=net.spec.stride,
        heatmaps_of=lambda crops: outputs_of(crops)[0],
        net=net if isinstance(net, PoseNet) else None,
    )
