"""Decoders of person detectors: outputs to boxes (n, k, 4) and scores (n, k).

Boxes are in input pixels, as published: networks learn COCO's numbers times the image's scale.
They are in any order and may overlap: ``Detector`` filters them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slimpose.arrays import Size
from slimpose.runtime.foreign.facts import ANY_CLASS, Arrays, Facts

YOLO_STRIDES = (8, 16, 32)
NANODET_BINS = 8
"""Bins of each distance's distribution (``reg_max`` + 1)."""
_MAX_LOG_SIDE = 12.0
"""YOLOX's logarithms of sides in strides are less, of any box; of decoded boxes, in pixels, always
some sides are more."""
_COCO_CLASSES_FROM_1 = (90, 91)
"""Numbers of classes of networks whose classes are COCO's category ids: person is 1, not 0."""


def grid(size: Size, strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row (cells, 2) of every cell, level by level, and its stride (cells, 1).

    >>> grid(Size(16, 16), (8,))[0].tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    cells, sizes = [], []
    for stride in strides:
        rows, columns = -(-size.height // stride), -(-size.width // stride)
        y, x = np.mgrid[:rows, :columns]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        sizes.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def cell_count(size: Size, strides: Sequence[int]) -> int:
    """Return the number of cells of all levels."""
    return sum(-(-size.height // stride) * -(-size.width // stride) for stride in strides)


def person_class(scores: np.ndarray, facts: Facts) -> np.ndarray:
    """Return the person's scores (n, k) of (n, k, classes)."""
    if facts.person == ANY_CLASS:
        return scores.max(axis=-1)
    if facts.person is None:
        return scores[..., 1 if scores.shape[-1] in _COCO_CLASSES_FROM_1 else 0]
    return scores[..., facts.person]


def is_person(classes: np.ndarray, facts: Facts) -> np.ndarray:
    """Return which of the class numbers (n, k) are the person's."""
    return (classes == (facts.person or 0)) | (facts.person == ANY_CLASS)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def corners(centers: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return x1, y1, x2, y2 (..., 4) of boxes of these centers and sides (..., 2)."""
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)


def _boxes(boxes: np.ndarray, scores: np.ndarray) -> Arrays:
    found = {"boxes": boxes, "scores": scores}
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def decoded(outputs: Sequence[np.ndarray], _facts: Facts) -> Arrays:
    """PicoDet with its decoding: boxes (n, k, 4) and the person's scores (n, k), in any order."""
    return _boxes(*sorted(outputs, key=lambda array: -array.ndim))


def yolox(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """YOLOX: x, y, w, h in cells, objectness, class scores (n, cells, 5 + classes).

    Files exported with ``--decode_in_inference`` give boxes in pixels.

    Source:
        Ge et al., "YOLOX: Exceeding YOLO Series in 2021"; its ``demo_postprocess``.
    """
    found = outputs[0]
    centers, sides = found[..., :2], found[..., 2:4]
    if sides.max(initial=0) < _MAX_LOG_SIDE:
        cells, strides = grid(facts.size, YOLO_STRIDES)
        centers, sides = (centers + cells) * strides, np.exp(sides) * strides
    return _boxes(corners(centers, sides), found[..., 4] * person_class(found[..., 5:], facts))


def yolo(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """YOLOv8 to YOLO26 without NMS inside: x, y, w, h, class scores (n, 4 + classes, cells)."""
    found = by_cells(outputs[0], facts)
    return _boxes(corners(found[..., :2], found[..., 2:4]), person_class(found[..., 4:], facts))


def by_cells(found: np.ndarray, facts: Facts) -> np.ndarray:
    """Return a YOLO's output as (n, cells, values), from (n, values, cells) or as it is."""
    is_last = found.shape[2] == cell_count(facts.size, YOLO_STRIDES)
    return found.transpose(0, 2, 1) if is_last else found


def yolo_end_to_end(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """YOLOs with NMS inside, and YOLO26: x1, y1, x2, y2, score, class (n, k, 6)."""
    found = outputs[0]
    return _boxes(found[..., :4], found[..., 4] * is_person(found[..., 5], facts))


def mmdeploy(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """MMDetection's networks as MMDeploy exports them: dets (n, k, 5) and labels (n, k)."""
    by_name = dict(zip(facts.names, outputs, strict=True))
    dets, labels = by_name["dets"], by_name["labels"]
    return _boxes(dets[..., :4], dets[..., 4] * (labels == 0))


def rtmdet(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """RTMDet without decoding: maps (n, h, w, classes + 4) at strides 8, 16, 32.

    A cell's values are logits, then left, top, right, bottom in pixels from its upper left corner.
    """
    levels = sorted(outputs, key=lambda array: -array.shape[1])
    found = np.concatenate([level.reshape(len(level), -1, level.shape[3]) for level in levels], 1)
    cells, strides = grid(facts.size, YOLO_STRIDES)
    places, distances = cells * strides, found[..., -4:]
    boxes = np.concatenate([places - distances[..., :2], places + distances[..., 2:]], axis=-1)
    return _boxes(boxes, sigmoid(person_class(found[..., :-4], facts)))


def nanodet(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """NanoDet and NanoDet-Plus: class scores, then distributions of the four distances.

    Three levels (NanoDet) lie at (i + 0.5) strides, four levels (Plus) at i strides.

    Source:
        https://github.com/RangiLyu/nanodet, ``nanodet_head.py``, ``nanodet_plus_head.py``.
    """
    found = outputs[0]
    strides = nanodet_strides(facts.size, found.shape[1])
    cells, sizes = grid(facts.size, strides)
    places = (cells + (0.5 if len(strides) == 3 else 0.0)) * sizes
    logits = found[..., -4 * NANODET_BINS :].reshape(*found.shape[:2], 4, NANODET_BINS)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    distances = weights @ np.arange(NANODET_BINS, dtype=np.float32) * sizes
    boxes = np.concatenate([places - distances[..., :2], places + distances[..., 2:]], axis=-1)
    limits = np.array([facts.size.width, facts.size.height] * 2, np.float32)
    scores = person_class(found[..., : -4 * NANODET_BINS], facts)
    return _boxes(np.clip(boxes, 0, limits), scores)


def nanodet_strides(size: Size, cells: int) -> tuple[int, ...]:
    """Return the strides of a NanoDet of so many cells; () if it is none."""
    for strides in ((8, 16, 32), (8, 16, 32, 64)):
        if cell_count(size, strides) == cells:
            return strides
    return ()


def rt_detr(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """RT-DETR as Ultralytics exports it: x, y, w, h 0..1 and class scores (n, k, 4 + classes)."""
    found = outputs[0]
    scale = np.array([facts.size.width, facts.size.height], np.float32)
    boxes = corners(found[..., :2] * scale, found[..., 2:4] * scale)
    return _boxes(boxes, person_class(found[..., 4:], facts))


def detr(outputs: Sequence[np.ndarray], facts: Facts) -> Arrays:
    """RF-DETR and other DETRs: x, y, w, h 0..1 (n, k, 4) and logits (n, k, classes).

    Files of one or two classes were trained to find one kind of object: the best class counts.
    """
    order = detr_order(facts.names, [array.shape for array in outputs])
    boxes, logits = (outputs[index] for index in order)
    scale = np.array([facts.size.width, facts.size.height], np.float32)
    found = corners(boxes[..., :2] * scale, boxes[..., 2:] * scale)
    scores = logits.max(axis=-1) if logits.shape[-1] <= 2 else person_class(logits, facts)
    return _boxes(found, sigmoid(scores))


def detr_order(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Return which of two outputs are boxes and logits."""
    if set(names) == {"dets", "labels"}:
        return names.index("dets"), names.index("labels")
    return (0, 1) if shapes[0][-1] <= shapes[1][-1] else (1, 0)
