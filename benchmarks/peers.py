"""Pose models side by side: cost, milliseconds a person, and AP, ours and published ones in one table.

    python benchmarks/peers.py --peer ../shared/peers/movenet-thunder.onnx ../shared/peers/movenet-lightning.onnx \
        --annotations ../shared/data/dev/person_keypoints.json --images ../shared/data/dev/images --threads 1 2

Times are medians of calls that take turns in one process, from a cut crop to points, batch 1, so that a noisy machine
is noisy for all. AP is COCO's with ground-truth boxes and without flip test. Each model has the person score that suits
it better: ours the mean of the joints over 0.2 (what ``slimpose evaluate`` does), published ones the mean of all
joints (MoveNet: 0.5 to 1 AP better than the other way). The last line is JSON: figures, processor, versions, commit.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
import tyro

from slimpose.arrays import Crops, Points, Scores
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import pose_ap, pose_records
from slimpose.export.onnx_cost import cost_of_onnx
from slimpose.formats import coco
from slimpose.runtime.adapters.opening import open_pose_model
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Model, Session

_WARM_UP = 5
_CROPS_A_CALL = 16


@dataclass(slots=True, kw_only=True)
class Row:
    """One model's line of the table."""

    name: str
    size: str
    gmac: float | None
    params: int | None
    ms: dict[int, float]
    ap: dict[str, float]


def main(
    peer: tuple[Path, ...] = (),
    ours: tuple[str, ...] = ("mnv2",),
    annotations: Path | None = None,
    images: Path | None = None,
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 60,
) -> None:
    """Measure pose models side by side.

    Args:
        peer: Published models to measure beside ours (see ``slimpose.runtime.adapters``).
        ours: Shipped names, or ONNX files of slimpose export.
        annotations: COCO annotation file with the truth; without it AP is left out.
        images: Folder of its images.
        threads: Thread counts to time with.
        rounds: Timed calls of each model at each thread count; 0 leaves the times out.
    """
    if (annotations is None) != (images is None):
        sys.exit("--annotations and --images go together: expected both, or neither")
    truth = None if annotations is None else coco.read(annotations, keypoints=True)
    paths = [*(resolve(name) for name in ours), *peer]
    models = {str(path): open_pose_model(path, threads=max(threads)) for path in paths}
    rows = {name: _costs(Path(name), model) for name, model in models.items()}
    if rounds:
        for count in threads:
            for name, value in _times(paths, count, rounds).items():
                rows[name].ms[count] = value
    if truth is not None and images is not None:
        for name, model in models.items():
            rows[name].ap = _ap(model, truth, images)
    _print(list(rows.values()), threads if rounds else ())
    figures = [
        {"name": row.name, "input": row.size, "gmac": row.gmac, "params": row.params, "ms": row.ms, **row.ap}
        for row in rows.values()
    ]
    print(json.dumps({**machine.about(), "boxes": "gt", "flip": False, "rounds": rounds, "models": figures}))


def _costs(path: Path, model: Model) -> Row:
    counted = cost_of_onnx(path) if path.suffix == ".onnx" else None
    return Row(
        name=model.info.name,
        size=str(model.info.size),
        gmac=None if counted is None else round(counted.gmac, 4),
        params=None if counted is None else counted.params,
        ms={},
        ap={},
    )


def _times(paths: Sequence[Path], threads: int, rounds: int) -> dict[str, float]:
    """Median milliseconds a person of each file's model, all taking turns."""
    models = {str(path): open_pose_model(path, threads=threads) for path in paths}
    rng = np.random.default_rng(0)
    crops = {name: rng.integers(0, 256, (1, *model.info.size, 3)).astype(np.uint8) for name, model in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + _WARM_UP):
        for name, model in models.items():
            started = time.perf_counter()
            model.run(crops[name], ("points", "scores"))
            taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(every[_WARM_UP:]), 2) for name, every in taken.items()}


def _ap(model: Model, truth: coco.CocoFile, images: Path) -> dict[str, float]:
    def predict(batch: Crops) -> tuple[Points, Scores]:
        points, scores = model.run(batch, ("points", "scores"))
        return points, scores

    records = pose_records(
        truth, images, ground_truth_boxes(truth), predict, crop_size=model.info.size, batch=_CROPS_A_CALL
    )
    if not isinstance(model, Session):
        records = [_scored_by_all_joints(record) for record in records]
    figures = pose_ap(truth, records)
    return {name: round(figures[name], 4) for name in ("AP", "AP50", "AP75", "APM", "APL")}


def _scored_by_all_joints(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "score": float(np.mean(record["keypoints"][2::3]))}


def _print(rows: Sequence[Row], threads: Sequence[int]) -> None:
    wide = max(len(row.name) for row in rows)
    timed = " ".join(f"{f'ms, {count} thr.':>10s}" for count in threads)
    print(f"{'model':{wide}s} {'input':>8s} {'GMAC':>7s} {'M par.':>7s} {timed} {'AP':>6s} {'AP50':>6s} {'AP75':>6s}")
    for row in rows:
        gmac = "-" if row.gmac is None else f"{row.gmac:.3f}"
        params = "-" if row.params is None else f"{row.params / 1e6:.2f}"
        times = " ".join(f"{row.ms[count]:10.2f}" for count in threads)
        ap = " ".join(f"{100 * row.ap[name]:6.1f}" if row.ap else f"{'-':>6s}" for name in ("AP", "AP50", "AP75"))
        print(f"{row.name:{wide}s} {row.size:>8s} {gmac:>7s} {params:>7s} {times} {ap}")


if __name__ == "__main__":
    tyro.cli(main)
