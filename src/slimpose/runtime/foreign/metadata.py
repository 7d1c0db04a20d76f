"""The metadata that a file of another project would have if slimpose had written it."""

from __future__ import annotations

import json
from pathlib import Path

from slimpose.arrays import Size
from slimpose.geometry import CanvasFit
from slimpose.skeleton import Skeleton
from slimpose.tasks import Task


def foreign_metadata(
    path: Path,
    *,
    kind: str,
    task: Task,
    size: Size,
    skeleton: Skeleton,
    start: str,
    stride: int,
    precision: str = "fp32",
    fit: CanvasFit = "letterbox",
    score_threshold: float = 0.0,
    nms_iou_threshold: float = 1.0,
) -> dict[str, str]:
    """Return the metadata of a recognized file (docs/architecture.md, "Model file format").

    Its cost is unknown: no ``gmac``, and ``params`` 0. ``slimpose.export.hardware.onnx_cost``
    counts them. ``kind`` is one of ``kinds.KINDS``, ``start`` says whose model it is.
    """
    return {
        "slimpose": "1",
        "kind": kind,
        "task": task,
        "name": path.stem,
        "precision": precision,
        "height": str(size.height),
        "width": str(size.width),
        "stride": str(stride),
        "params": "0",
        "card": json.dumps({"start": start}),
        "skeleton": skeleton.to_json(),
        "fit": fit,
        "score_threshold": str(score_threshold),
        "nms_iou_threshold": str(nms_iou_threshold),
    }
