r"""AP of ``slimpose train own`` on drawn objects, from the shipped weights and from random ones.

    python benchmarks/own_data.py --out OUT [--instances 300] [--kinds shears hand] \
        [--recipe FILE]

For each kind of object of tests/support/drawn_objects.py (a tool with 5 keypoints, a hand with 21,
a person with 13, an animal with 20) it draws a training set and 100 other objects, trains twice and
prints AP on the latter with ground-truth boxes, no flip test. Figures: docs/own-data.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from slimpose.cli.main import main as slimpose
from slimpose.network.weights import read_metadata

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from drawn_objects import KINDS, write_dataset  # noqa: E402

STARTS = ("mnv2", "random")


def train(kind: str, start: str, out: Path, *, recipe: str, threads: int) -> tuple[dict, float]:
    """Return the best figures of a run and its seconds."""
    data, run = out / kind, out / f"{kind}-{start}"
    arguments = ["train", recipe, "--start", start, "--out", str(run), "--threads", str(threads)]
    for option, part in (("train", "train"), ("val", "val")):
        arguments += [f"--{option}", str(data / part / "labels.json")]
        images = "--images" if option == "train" else "--val-images"
        arguments += [images, str(data / part / "images")]
    if (run / "checkpoint.safetensors").is_file():
        arguments = [*arguments[:2], *arguments[4:], "--resume"]
    before_s = time.monotonic()
    try:
        slimpose(arguments)
    except SystemExit as end:
        if end.code:
            raise
    figures = json.loads(read_metadata(run / "best.safetensors")["figures"])
    return figures, time.monotonic() - before_s


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    parser.add_argument("--recipe", default="own")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    lines = ["| object | keypoints | start | AP | AP50 | AP75 | minutes |", f"|{'---|' * 7}"]
    for name in options.kinds:
        kind, data = KINDS[name], options.out / name
        for part, count, seed in (("train", options.instances, 1), ("val", 100, 2)):
            if not (data / part / "labels.json").is_file():
                write_dataset(kind, data / part, count, seed=seed)
        for start in options.starts:
            figures, seconds = train(
                name, start, options.out, recipe=options.recipe, threads=options.threads
            )
            cells = [f"{100 * figures[key]:.1f}" for key in ("AP", "AP50", "AP75")]
            row = (name, str(len(kind.joints)), start, *cells, f"{seconds / 60:.0f}")
            lines.append(f"| {' | '.join(row)} |")
            print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
