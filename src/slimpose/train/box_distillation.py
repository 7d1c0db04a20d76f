"""Distillation for the person detector: another detector's boxes on the images it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from slimpose import geometry
from slimpose.arrays import Boxes, Crops, PersonScores
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.backends.openvino import new_core, supported_precisions
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.detector import box_nms
from slimpose.runtime.session import Session
from slimpose.train.distillation import file_name_and_hash

_MIN_SCORE = 0.05
SAME_PERSON_IOU = 0.65
"""NMS threshold of YOLOX's authors."""


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
    """Open a detector's file: of ``slimpose export`` or another project (docs/models.md).

    It runs in OpenVINO, in BF16 where the processor has it, if that is installed and runs the file;
    else in ONNX Runtime or the backend of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a person detector.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no teacher {path}; expected the file of a person detector")
    session = _open(path)
    info = session.info
    if info.task != "detect":
        raise ValueError(
            f"{path} is a {info.task} model; expected a person detector, which teaches boxes"
        )

    def detect(images: Crops) -> tuple[np.ndarray, np.ndarray]:
        fitted = [fit_canvas(image, info.size, info.fit) for image in images]
        canvases = np.stack([canvas for canvas, _ in fitted])
        boxes, scores = session.run(canvases, ("boxes", "scores"))
        to_image = geometry.invert_affines(np.concatenate([affine for _, affine in fitted]))
        corners = geometry.transform_points(to_image, boxes.reshape(len(images), -1, 2))
        return corners.reshape(boxes.shape).astype(np.float32), scores

    names = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    backend = names.get(session.backend, session.backend)
    return BoxTeacher(
        name=file_name_and_hash(path),
        runs_on=f"{backend} {session.precision.upper()}",
        detect=detect,
    )


def _open(path: Path) -> Session:
    threads = torch.get_num_threads()
    try:
        precision = "bf16" if "bf16" in supported_precisions(new_core()) else None
        return Session(path, threads=threads, backend="openvino", precision=precision)
    except BackendError:
        return Session(path, threads=threads)


def pseudo_labels(
    boxes: Float32[np.ndarray, "predictions 4"], scores: Float32[np.ndarray, " predictions"]
) -> tuple[Boxes, PersonScores]:
    """Return one box per person of an image's predictions, and the teacher's confidence in each."""
    is_likely = scores > _MIN_SCORE
    boxes, scores = boxes[is_likely], scores[is_likely]
    kept = box_nms(boxes, scores, iou_threshold=SAME_PERSON_IOU)
    return boxes[kept], scores[kept]
