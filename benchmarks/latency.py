"""Times ONNX graphs in turn, in one process, so that a noisy machine is noisy for all of them.

    python benchmarks/latency.py --peer yolox-nano.onnx --threads 1 2

For graphs of any kind, detectors too; ``peers.py`` measures pose models, with their accuracy. Prints a table and, last,
one JSON line with machine, versions and commit. Batch 1, random input, decoding included where it is in the graph.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import machine
import numpy as np
import onnxruntime
import tyro

from slimpose.runtime.models import shipped
from slimpose.runtime.onnx_file import open_onnx_file

_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}


def open_model(path: Path, threads: int) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    """Return a session and an input for it."""
    session = open_onnx_file(path, threads=threads)
    rng = np.random.default_rng(0)
    inputs = {
        value.name: rng.integers(0, 256, [size if isinstance(size, int) else 1 for size in value.shape]).astype(
            _TYPES[value.type]
        )
        for value in session.get_inputs()
    }
    return session, inputs


def main(peer: tuple[Path, ...] = (), threads: tuple[int, ...] = (1,), rounds: int = 60) -> None:
    """Time the shipped models beside peers.

    Args:
        peer: ONNX files to time beside them.
        threads: Thread counts to time with.
        rounds: Calls of each; the median is printed.
    """
    results: dict[str, dict[str, float]] = {}
    for count in threads:
        models = {path.stem: open_model(path, count) for path in (*shipped().values(), *peer)}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds + 5):
            for name, (session, inputs) in models.items():
                started = time.perf_counter()
                session.run(None, inputs)
                times[name].append(1e3 * (time.perf_counter() - started))
        for name, all_times in times.items():
            results.setdefault(name, {})[f"ms_{count}"] = round(statistics.median(all_times[5:]), 2)
    for name, figures in results.items():
        print(f"{name:20s} " + "  ".join(f"{key} {value:7.2f}" for key, value in figures.items()))
    print(json.dumps({**machine.about(), "precision": "fp32", "rounds": rounds, "median_ms": results}))


if __name__ == "__main__":
    tyro.cli(main)
