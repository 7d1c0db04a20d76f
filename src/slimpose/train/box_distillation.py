"""Distillation for the person detector: a YOLOX teacher's boxes on the images the student gets."""

from __future__ import annotations

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
from slimpose.train.distillation import file_name_and_hash
from slimpose.train.inference import open_core

_MIN_SCORE = 0.05
SAME_PERSON_IOU = 0.65
"""NMS threshold of YOLOX's authors."""
_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxTeacher:
    """A detector that gives a confidence for each of its predictions.

    Attributes:
        name: File name and start of its SHA-256, for the run's metadata.
        runs_on: What computes it.
        detect: uint8 images (n, H, W, 3) to boxes (n, predictions, 4) x1, y1, x2, y2 in their
            pixels and scores (n, predictions), before NMS.
    """

    name: str
    runs_on: str
    detect: Callable[
        [Crops],
        tuple[Float32[np.ndarray, "n predictions 4"], Float32[np.ndarray, "n predictions"]],
    ]


def open_box_teacher(path: Path) -> BoxTeacher:
    """Open a YOLOX detector's ONNX file in its authors' format.

    Its input is BGR 0..255, its output boxes in grid units with class 0 for people.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file.
        BackendError: If OpenVINO, which runs it at the student's batch size, is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no teacher {path}; expected a YOLOX detector's ONNX file")
    core, options, runs_on = open_core()
    size = _input_size(core, path)

    @lru_cache(maxsize=2)
    def compiled(count: int) -> Any:
        model = core.read_model(path)
        model.reshape([count, 3, *size])
        return core.compile_model(model, "CPU", options)

    def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        inputs, scale_xy = _letterbox(images, size)
        outputs = np.array(compiled(len(images))(inputs)[0], np.float32)
        scores = outputs[..., 4] * outputs[..., 5]  # of an object, and of class 0: a person
        # In pixel centers an image spans [-0.5, side - 0.5].
        boxes = (decode_yolox(outputs, size) + 0.5) * np.tile(scale_xy, 2) - np.float32(0.5)
        return boxes, scores

    return BoxTeacher(name=file_name_and_hash(path), runs_on=runs_on, detect=detect)


def _input_size(core: Any, path: Path) -> Size:
    """Return the input size of a YOLOX file; raise ValueError if it is not one."""
    try:
        model = core.read_model(path)
        _, _, height, width = model.inputs[0].partial_shape.get_min_shape()
        cells = sum((height // stride) * (width // stride) for stride in _STRIDES)
        outputs = model.outputs[0].partial_shape.get_min_shape()
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{path} is not a detector's ONNX file: {str(error).splitlines()[0]}"
        ) from error
    if len(model.outputs) != 1 or len(outputs) != 3 or outputs[1] != cells or outputs[2] < 6:
        raise ValueError(
            f"{path} has the output {list(outputs)}; expected YOLOX's (1, {cells}, 5 + classes) for"
            f" its input, {height}x{width}"
        )
    return Size(height, width)


def _letterbox(images: Crops, size: Size) -> tuple[np.ndarray, Float32[np.ndarray, "2"]]:
    """Return BGR float images (n, 3, H, W) on gray canvases, and image pixels per canvas pixel."""
    pixels = torch.from_numpy(images).flip(3).permute(0, 3, 1, 2).float()
    scale = min(size.height / images.shape[1], size.width / images.shape[2])
    fitted = Size(round(scale * images.shape[1]), round(scale * images.shape[2]))
    resized = F.interpolate(pixels, tuple(fitted), mode="bilinear", antialias=True)
    margins = (0, size.width - fitted.width, 0, size.height - fitted.height)
    canvas = F.pad(resized, margins, value=float(CANVAS_GRAY))
    scale_xy = images.shape[2] / fitted.width, images.shape[1] / fitted.height
    return canvas.numpy(), np.array(scale_xy, np.float32)


def decode_yolox(
    outputs: Float32[np.ndarray, "n cells values"], size: Size
) -> Float32[np.ndarray, "n cells 4"]:
    """Return x1, y1, x2, y2 in pixel centers of a YOLOX head's predictions.

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
    offsets = outputs[..., :2] + np.concatenate(corners).astype(np.float32)
    centers = offsets * stride - np.float32(0.5)
    halves = np.exp(np.clip(outputs[..., 2:4], -10, 8)) * stride / 2
    return np.concatenate([centers - halves, centers + halves], axis=2)


def pseudo_labels(
    boxes: Float32[np.ndarray, "predictions 4"], scores: Float32[np.ndarray, " predictions"]
) -> tuple[Boxes, PersonScores]:
    """Return one box per person of an image's predictions, and the teacher's confidence in each."""
    is_likely = scores > _MIN_SCORE
    boxes, scores = boxes[is_likely], scores[is_likely]
    kept = box_nms(boxes, scores, iou_threshold=SAME_PERSON_IOU)
    return boxes[kept], scores[kept]
