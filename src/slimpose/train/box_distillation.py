"""Distillation for the person detector: what a trained detector finds in the very pictures the student sees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32

from slimpose.arrays import Boxes, Crops, PersonScores, Size
from slimpose.runtime.crops import CANVAS_GRAY
from slimpose.runtime.detector import box_nms
from slimpose.train.inference import open_core

_LEAST_SCORE = 0.05
SAME_PERSON_IOU = 0.65
"""What YOLOX's authors suppress boxes from."""
_PERSON = 0
_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxTeacher:
    """A detector that says how sure it is of a person at each of its guesses.

    Attributes:
        name: File and start of its SHA-256, for the run's metadata.
        runs_on: What computes it.
        guesses_of: uint8 pictures (n, H, W, 3) to boxes (n, guesses, 4) x1, y1, x2, y2 in their
            pixels and scores (n, guesses), before any suppression.
    """

    name: str
    runs_on: str
    detect: Callable[
        [Crops], tuple[Float32[np.ndarray, "n guesses 4"], Float32[np.ndarray, "n guesses"]]
    ]


def open_box_teacher(path: Path) -> BoxTeacher:
    """Open a YOLOX detector's ONNX file, as its authors publish them: BGR 0..255 in; grid units out, class 0 a person.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file.
        BackendError: If OpenVINO, which runs it at the student's batch size, is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no teacher {path}; expected a YOLOX detector's ONNX file")
    core, hints, runs_on = open_core()
    try:
        graph = core.read_model(path)
        _, _, height, width = graph.inputs[0].partial_shape.get_min_shape()
        cells = sum((height // stride) * (width // stride) for stride in _STRIDES)
        outputs = graph.outputs[0].partial_shape.get_min_shape()
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{path} is not a detector's ONNX file: {str(error).splitlines()[0]}"
        ) from error
    if len(graph.outputs) != 1 or len(outputs) != 3 or outputs[1] != cells or outputs[2] < 6:
        raise ValueError(
            f"{path} gives {list(outputs)}; expected YOLOX's (1, {cells}, 5 + classes) for its input, {height}x{width}"
        )

    @lru_cache(maxsize=2)
    def compiled(count: int) -> Any:
        sized = core.read_model(path)
        sized.reshape([count, 3, height, width])
        return core.compile_model(sized, "CPU", hints)

    def guesses_of(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        pixels = torch.from_numpy(images).flip(3).permute(0, 3, 1, 2).float()
        scale = min(height / images.shape[1], width / images.shape[2])
        fitted = round(scale * images.shape[1]), round(scale * images.shape[2])
        grown = F.interpolate(pixels, fitted, mode="bilinear", antialias=True)
        grown = F.pad(
            grown, (0, width - fitted[1], 0, height - fitted[0]), value=float(CANVAS_GRAY)
        )
        outputs = np.array(compiled(len(images))(grown.numpy())[0], np.float32)
        boxes = decode_yolox(outputs, Size(height, width))
        x_scale, y_scale = images.shape[2] / fitted[1], images.shape[1] / fitted[0]
        scores = outputs[..., 4] * outputs[..., 5 + _PERSON]
        # A continuous picture spans [-0.5, side - 0.5] in pixel centers.
        return (boxes + 0.5) * np.array([x_scale, y_scale] * 2, np.float32) - np.float32(
            0.5
        ), scores

    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return BoxTeacher(name=f"{path.name} {digest}", runs_on=runs_on, detect=guesses_of)


def decode_yolox(
    outputs: Float32[np.ndarray, "n cells values"], size: Size
) -> Float32[np.ndarray, "n cells 4"]:
    """Return x1, y1, x2, y2 in pixel centers of a YOLOX head's guesses.

    Source:
        Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430: offset from the cell's
        corner and log size, in strides.
    """
    corners, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: size.height // stride, : size.width // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full(rows.size, stride))
    stride = np.concatenate(strides)[:, None].astype(np.float32)
    centers = (outputs[..., :2] + np.concatenate(corners).astype(np.float32)) * stride - np.float32(
        0.5
    )
    halves = np.exp(np.clip(outputs[..., 2:4], -10, 8)) * stride / 2
    return np.concatenate([centers - halves, centers + halves], axis=2)


def pseudo_labels(
    boxes: Float32[np.ndarray, "guesses 4"], scores: Float32[np.ndarray, " guesses"]
) -> tuple[Boxes, PersonScores]:
    """Return one picture's guesses, one a person, and how sure the teacher is of each."""
    chosen = scores > _LEAST_SCORE
    boxes, scores = boxes[chosen], scores[chosen]
    kept = box_nms(boxes, scores, iou_threshold=SAME_PERSON_IOU)
    return boxes[kept], scores[kept]
