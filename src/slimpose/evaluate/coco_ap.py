"""COCO average precision of result records, computed by pycocotools without its printing."""

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
    """Check that pycocotools is installed, before any other work is done.

    Raises:
        RuntimeError: If it is not installed; the message gives the install command.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise RuntimeError(
            "evaluation needs pycocotools, which is not installed: pip install pycocotools"
        )


def average_precision(
    annotations: CocoFile, records: Sequence[dict[str, Any]], *, kind: Literal["keypoints", "bbox"]
) -> dict[str, float]:
    """Return COCO's AP and AR figures as fractions.

    Keypoints are compared by OKS, with the sigmas of the file's skeleton, boxes by IoU. A figure is
    -1 (COCO's convention) where the file has no person of that size. Without any COCO result record
    all figures are 0.

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
        # The stubs of pycocotools are stricter than its code, here and below.
        truth.dataset = _dataset(annotations)  # pyright: ignore[reportAttributeAccessIssue]
        truth.createIndex()
        results = truth.loadRes(list(records))  # pyright: ignore[reportArgumentType]
        evaluation = COCOeval(truth, results, kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = annotations.skeleton.sigma_array.astype(np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(_NAMES[kind], evaluation.stats, strict=True)}


def _dataset(annotations: CocoFile) -> dict[str, Any]:
    """The validated file as pycocotools expects it.

    Annotation ids start at 1, because pycocotools takes id 0 for "not matched".
    """
    people = []
    for number, person in enumerate(annotations.people, start=1):
        x1, y1, x2, y2 = (float(value) for value in person.box_image)
        keypoints = np.zeros((0, 3)) if person.keypoints is None else person.keypoints
        people.append(
            {
                "id": number,
                "image_id": person.image_id,
                "category_id": annotations.category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": person.area,
                "iscrowd": int(person.is_crowd),
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": int((keypoints[:, 2] > 0).sum()),
            }
        )
    return {
        "info": {},
        "images": [{"id": image_id} for image_id in annotations.images],
        "annotations": people,
        "categories": [{"id": annotations.category_id}],
    }
