"""COCO's average precision from result records, by pycocotools, without its printing."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from slimpose.formats.coco import CocoFile

_NAMES = {
    "keypoints": ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"),
    "bbox": ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR", "ARS", "ARM", "ARL"),
}


def require_pycocotools() -> None:
    """Say how to get pycocotools, before any work is done.

    Raises:
        RuntimeError: If it is not installed.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise RuntimeError(
            "evaluation needs pycocotools, which is not installed: pip install pycocotools"
        )


def average_precision(
    annotations: CocoFile, records: Sequence[dict[str, Any]], *, kind: Literal["keypoints", "bbox"]
) -> dict[str, float]:
    """Return AP and its relatives as fractions; -1 where the file holds nobody of that kind (COCO's own sign).

    Without any record all are 0.

    Args:
        annotations: The truth; its skeleton's sigmas are used.
        records: COCO result records.
        kind: What is compared.

    Raises:
        RuntimeError: If pycocotools is not installed.
    """
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not records:
        return dict.fromkeys(_NAMES[kind], 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _dataset(annotations)  # pyright: ignore[reportAttributeAccessIssue] - its stubs are stricter
        truth.createIndex()
        results = truth.loadRes(list(records))  # pyright: ignore[reportArgumentType] - takes lists too
        evaluation = COCOeval(truth, results, kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = annotations.skeleton.sigma_array.astype(np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(_NAMES[kind], evaluation.stats, strict=True)}


def _dataset(annotations: CocoFile) -> dict[str, Any]:
    """The checked file as pycocotools wants it, ids from 1 on: it takes 0 for "matched with nobody"."""
    people = []
    for number, person in enumerate(annotations.people, start=1):
        x1, y1, x2, y2 = (float(value) for value in person.box_image)
        labels = np.zeros((0, 3)) if person.keypoints is None else person.keypoints
        people.append(
            {
                "id": number,
                "image_id": person.image_id,
                "category_id": annotations.category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": person.area,
                "iscrowd": int(person.is_crowd),
                "keypoints": labels.ravel().tolist(),
                "num_keypoints": int((labels[:, 2] > 0).sum()),
            }
        )
    images = [{"id": image_id} for image_id in annotations.images]
    return {
        "info": {},
        "images": images,
        "annotations": people,
        "categories": [{"id": annotations.category_id}],
    }
