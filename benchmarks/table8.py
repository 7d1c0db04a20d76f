"""The paper's Table VIII for this machine: AP, latency and file size of a model by precision.

    python benchmarks/table8.py \
        --model mnv2 mnv2@openvino:bf16 mnv2-int8.onnx mnv2-int8.onnx@openvino \
        --annotations ../shared/data/dev/person_keypoints.json --images ../shared/data/dev/images

Models are shipped models or files of ``slimpose export`` and ``slimpose quantize``, each optionally
followed by @BACKEND:PRECISION. Times are medians (and 95th percentiles) from a crop to points,
batch size 1; the calls are interleaved in one process, so that a noisy machine is noisy for all
models. AP is COCO's with ground-truth boxes and without flip test. The last line is JSON: figures,
processor, versions, commit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np

from slimpose.cli.arguments import run
from slimpose.cli.verify import open_model
from slimpose.export.quantization.samples import average_precision
from slimpose.formats import coco
from slimpose.runtime.models import resolve
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

_WARM_UP = 5


def main(
    model: tuple[str, ...] = ("mnv2", "mnv2@openvino:bf16"),
    annotations: Path | None = None,
    images: Path | None = None,
    threads: int = 1,
    rounds: int = 60,
) -> None:
    """Measure one model in several precisions.

    Args:
        model: The models; the others are compared with the first.
        annotations: COCO annotation file with the ground truth; without it AP is left out.
        images: Folder of its images.
        threads: CPU threads.
        rounds: Timed calls of each model.
    """
    if (annotations is None) != (images is None):
        sys.exit("--annotations and --images go together: expected both, or neither")
    if rounds < 1:
        sys.exit(f"--rounds is {rounds}; expected 1 or more")
    sessions = {text: open_model(text, threads) for text in model}
    others = [text for text, session in sessions.items() if session.info.task != "pose"]
    if others:
        sys.exit(f"{', '.join(others)}: not a pose model; expected pose models")
    times = time_interleaved(
        {text: _call(session) for text, session in sessions.items()},
        rounds=rounds,
        warm_up=_WARM_UP,
    )
    figures = []
    for text, session in sessions.items():
        file = (
            Path(text)
            if Path(text).is_file()
            else resolve(text.rpartition("@")[0] if "@" in text else text)
        )
        row = {
            "model": text,
            "precision": session.precision,
            "backend": session.backend,
            "ms": round(times[text].median_ms, 2),
            "ms_p95": round(times[text].p95_ms, 2),
            "mb": round(file.stat().st_size / 1e6, 2),
        }
        if annotations is not None and images is not None:
            truth = coco.read(annotations, keypoints=True)
            row["ap"] = round(average_precision(session, truth, images), 2)
        figures.append(row)
    width = max(len(row["model"]) for row in figures)
    figure_names = f"{'AP':>6s} {'ms':>7s} {'p95':>7s} {'times':>6s} {'MB':>6s}"
    print(f"{'model':{width}s} {'precision':>10s} {'backend':>12s} {figure_names}")
    for row in figures:
        ap = f"{row['ap']:6.1f}" if "ap" in row else f"{'-':>6s}"
        faster = figures[0]["ms"] / row["ms"]
        print(
            f"{row['model']:{width}s} {row['precision']:>10s} {row['backend']:>12s} {ap} "
            f"{row['ms']:7.2f} {row['ms_p95']:7.2f} {faster:6.2f} {row['mb']:6.1f}"
        )
    about = {**machine.about(), "threads": threads, "rounds": rounds, "boxes": "gt", "flip": False}
    print(json.dumps({**about, "annotations": annotations and annotations.name, "models": figures}))


def _call(session: Session) -> Callable[[], object]:
    crop = np.random.default_rng(0).integers(0, 256, (1, *session.info.size, 3)).astype(np.uint8)
    return lambda: session.run(crop, ("points", "scores"))


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
