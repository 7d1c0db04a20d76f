"""Speed of DARK decoding in NumPy, compared with a loop over joints."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from slimpose import heatmap
from slimpose.arrays import Size


def decode_joint(cells: np.ndarray) -> np.ndarray:
    """DARK as published, for one heatmap: blur, then a Newton step by finite differences."""
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    blurred = np.array([np.convolve(row, kernel, "same") for row in cells])
    blurred = np.array([np.convolve(column, kernel, "same") for column in blurred.T]).T
    at = np.log(np.maximum(blurred, 1e-10))
    y, x = np.unravel_index(int(cells.argmax()), cells.shape)
    point = np.array([x, y], np.float64)
    if 1 < x < cells.shape[1] - 2 and 1 < y < cells.shape[0] - 2:
        gradient = 0.5 * np.array([at[y, x + 1] - at[y, x - 1], at[y + 1, x] - at[y - 1, x]])
        xx = 0.25 * (at[y, x + 2] - 2 * at[y, x] + at[y, x - 2])
        yy = 0.25 * (at[y + 2, x] - 2 * at[y, x] + at[y - 2, x])
        xy = 0.25 * (at[y + 1, x + 1] - at[y - 1, x + 1] - at[y + 1, x - 1] + at[y - 1, x - 1])
        point -= np.linalg.inv(np.array([[xx, xy], [xy, yy]])) @ gradient
    return point


def decode_in_loop(maps: np.ndarray) -> np.ndarray:
    return np.array([[decode_joint(cells) for cells in person] for person in maps])


def ten_people() -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(0).uniform((8, 8), (40, 56), (10, 17, 2)).astype(np.float32)
    return points, heatmap.encode(points, Size(64, 48), sigma_px=2.0)


def test_reference_loop_decodes_the_same_points() -> None:
    points, maps = ten_people()
    np.testing.assert_allclose(decode_in_loop(maps), points, atol=0.05)
    np.testing.assert_allclose(heatmap.decode(maps).points_heatmap, points, atol=0.05)


def decoding_ms() -> dict[str, float]:
    """Return the minimum processor time in milliseconds for ten people, by method."""
    _, maps = ten_people()
    methods = {
        "batch": lambda: heatmap.decode(maps),
        "loop": lambda: decode_in_loop(maps),
        "loop of batch": lambda: [
            heatmap.decode(maps[n : n + 1, j : j + 1]) for n in range(10) for j in range(17)
        ],
    }
    taken_s: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(6):
        for name, decode in methods.items():
            for _ in range(5 if name == "batch" else 1):
                started_s = time.thread_time()
                decode()
                taken_s[name].append(time.thread_time() - started_s)
    return {name: 1e3 * min(seconds) for name, seconds in taken_s.items()}


@pytest.mark.slow
def test_decoding_ten_people_takes_a_fiftieth_of_a_loop_over_joints() -> None:
    # In a separate process: under pytest all array shapes are checked, which takes longer than
    # decoding.
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    program += "import json, test_dark_speed; print(json.dumps(test_dark_speed.decoding_ms()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    ms = json.loads(done.stdout)
    print(ms)
    assert ms["loop"] >= 50 * ms["batch"]
    assert ms["loop of batch"] >= 20 * ms["batch"]
