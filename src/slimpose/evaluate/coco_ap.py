"""COCO's average precision from result records, by pycocotools, without its printing."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slimpose.skeleton import Skeleton

_NAMES = {
    "keypoints": ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"),
    "bbox": ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR", "ARS", "ARM", "ARL"),
}


def average_precision(
    annotations: Path,
    records: Sequence[dict[str, Any]],
    *,
    kind: Literal["keypoints", "bbox"],
    image_ids: Sequence[int] | None = None,
    skeleton: Skeleton | None = None,
) -> dict[str, float]:
    """Return AP and its relatives as fractions; -1 where the file holds nobody of that kind (COCO's sign).

    Args:
        annotations: The COCO file with the truth.
        records: COCO result records.
        kind: What is compared.
        image_ids: Only these images (all by default).
        skeleton: Whose sigmas to use; COCO's 17 by default.

    Raises:
        RuntimeError: If pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise RuntimeError(
            "evaluation needs pycocotools, which is not installed: pip install 'slimpose[eval]'"
        ) from error
    if not records:
        return dict.fromkeys(_NAMES[kind], 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        truth.dataset.setdefault("info", {})  # pyright: ignore[reportCallIssue, reportArgumentType]
        found = truth.loadRes(list(records))  # pyright: ignore[reportArgumentType]
        evaluation = COCOeval(truth, found, kind)
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.params.catIds = sorted({int(record["category_id"]) for record in records})
        if kind == "keypoints" and skeleton is not None:
            evaluation.params.kpt_oks_sigmas = skeleton.sigma_array.astype(np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(_NAMES[kind], evaluation.stats, strict=True)}
