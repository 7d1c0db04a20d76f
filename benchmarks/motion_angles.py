"""Errors of the angles of ``slimpose motion`` for walkers whose angles are known (docs/motion.md).

python benchmarks/motion_angles.py
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from moving_person import collect, poses_over_time, walk
from slimpose.motion import CleanSettings, Scale, clean, compute_angles
from slimpose.motion.angles import wrap
from slimpose.motion.cleaning import Filter
from slimpose.runtime.foreign.skeletons import HALPE26

TIMES_S = np.arange(240) / 30
FILTERS: tuple[Filter, ...] = ("spline", "butterworth", "none")


def errors_of(name: Filter) -> dict[str, list[float]]:
    """Return the RMS error of every angle of six walkers, by the angle without its side."""
    errors: defaultdict[str, list[float]] = defaultdict(list)
    for seed in range(3):
        for to_left in (False, True):
            walker = walk(TIMES_S, to_left=to_left)
            poses = poses_over_time(
                walker, HALPE26, noise_px=1.0, outliers=0.03, gaps=0.05, seed=seed
            )
            cleaned = clean(collect(poses, TIMES_S), CleanSettings(filter=name))
            angles = compute_angles(cleaned.joints, Scale().points(cleaned))
            for angle, true in walker.degrees.items():
                error = wrap(angles.degrees[angle] - true)
                part = angle.removeprefix("left_").removeprefix("right_")
                errors[part].append(float(np.sqrt(np.nanmean(error**2))))
    return errors


def main() -> None:
    """Print the table."""
    tables = {name: errors_of(name) for name in FILTERS}
    print("| angle |", " | ".join(FILTERS), "|")
    print("|---|" + "---|" * len(FILTERS))
    for angle in tables["spline"]:
        cells = (
            f"{np.mean(table[angle]):.1f}, at most {max(table[angle]):.1f}"
            for table in tables.values()
        )
        print(f"| {angle} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
