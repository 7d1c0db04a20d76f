"""How fast ``slimpose bulk`` is next to a plain loop, and what limits many workers.

    python benchmarks/bulk_rate.py VIDEO [--copies 8] [--workers 1 2] [--model mnv2]

Prints frames per second of the plain loop (``UnitWorker`` in one process, without Ray) and of Ray
with several workers, with and without its start; CPU time per frame of the parts of the work; CPU
time of the driver per input; the peak of the object store; and from these a model on paper for 10
to 1,000 workers. CPU times hold on a busy machine, frames per second do not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray
import ray.data

from slimpose.bulk.engine import RayEngine
from slimpose.bulk.inputs import find_inputs
from slimpose.bulk.run import BulkRun
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.units import units_of
from slimpose.bulk.worker import UnitWorker
from slimpose.media.sources import open_media
from slimpose.ray import PosePredictor

_STORE_BYTES = 100 << 20
_BLOCK_BYTES = 8 << 20
"""Blocks of Ray Data's default size, 128 MB, do not fit such a small store, and it stalls."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("video", type=Path)
    options.add_argument("--copies", type=int, default=8)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options.add_argument("--model", default="mnv2")
    options.add_argument("--part", choices=["rate", "driver", "store"], nargs="+")
    arguments = options.parse_args()
    parts = arguments.part or ["rate", "driver", "store"]
    settings = BulkSettings(model=arguments.model)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        if "rate" in parts:
            rate(root, arguments, settings)
        if "driver" in parts:
            driver(root, settings)
        if "store" in parts:
            store(root)
    sys.stdout.flush()


def rate(root: Path, arguments: argparse.Namespace, settings: BulkSettings) -> None:
    """Frames per second of the loop and of Ray; CPU time per frame."""
    inputs = root / "in"
    inputs.mkdir()
    for number in range(arguments.copies):
        shutil.copy(arguments.video, inputs / f"v{number}{arguments.video.suffix}")
    decode = timed(lambda: sum(1 for _ in open_media(arguments.video).frames))
    frames = sum(1 for _ in open_media(arguments.video).frames)
    total = frames * arguments.copies
    print(f"decoding: {1e3 * decode[1] / frames:.2f} ms of CPU per frame", flush=True)
    worker = UnitWorker(settings, str(root / "loop"))
    units = units_of(find_inputs(str(inputs)), workers=1)
    loop = timed(lambda: [list(worker.process(unit)) for unit in units])
    size = sum(file.stat().st_size for file in (root / "loop").rglob("*.parquet"))
    print(
        f"plain loop: {total / loop[0]:.1f} frames per second, "
        f"{1e3 * loop[1] / total:.1f} ms of CPU per frame; {size / total:.0f} bytes per frame",
        flush=True,
    )
    for workers in arguments.workers:
        run = BulkRun(
            find_inputs(str(inputs)),
            settings,
            str(root / f"ray{workers}"),
            RayEngine(workers=workers),
        )
        missing = run.prepare()
        times: list[float] = []
        run.report = lambda outcome, times=times: times.append(time.monotonic())
        started = time.monotonic()
        run.process(missing)
        ended = time.monotonic()
        steady = total * (len(times) - workers) / len(times) / (times[-1] - times[workers - 1])
        print(
            f"Ray, {workers} workers: {total / (ended - started):.1f} frames per second with its "
            f"start, {steady:.1f} after the first result of each worker",
            flush=True,
        )


def driver(root: Path, settings: BulkSettings) -> None:
    """CPU time of the driver per input: listing, the ledger, passing units."""
    inputs = root / "many"
    inputs.mkdir()
    for number in range(2000):
        (inputs / f"{number}.mp4").write_bytes(b"no video")
    listing = timed(lambda: find_inputs(str(inputs)))
    run = BulkRun(find_inputs(str(inputs)), settings, str(root / "out"), RayEngine(workers=1))
    missing = run.prepare()
    with RayEngine(workers=1).started(), store_peak() as peak:
        warm = BulkRun(missing[:1], settings, str(root / "out"), run.engine)
        warm.process(missing[:1])
        passing = timed(lambda: run.process(missing))
    print(
        f"driver: {1e6 * listing[1] / 2000:.0f} us of CPU per input for listing, "
        f"{1e3 * passing[1] / 2000:.2f} ms for passing it to a worker and its outcome back "
        f"({2000 / passing[0]:.0f} inputs per second); object store at most {peak():.2f} MB",
        flush=True,
    )


def store(root: Path) -> None:
    """The object store's peak where images go through it: ten times as large as it is."""
    images = root / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 8, 3), np.uint8).repeat(90, 0).repeat(160, 1)
    import cv2

    count = 10 * _STORE_BYTES // pixels.nbytes + 1
    for number in range(count):
        cv2.imwrite(str(images / f"{number}.jpg"), pixels)
    ray.data.DataContext.get_current().target_max_block_size = _BLOCK_BYTES
    with RayEngine(workers=3).started(), store_peak() as peak:
        people = (
            ray.data.read_images(str(images))
            .map_batches(
                PosePredictor,
                fn_constructor_kwargs={"model": "mnv2"},
                compute=ray.data.ActorPoolStrategy(size=1),
                batch_size=8,
            )
            .count()
        )
    print(
        f"PosePredictor on {count} images ({count * pixels.nbytes / 2**20:.0f} MB decoded, "
        f"{people} people): object store at most {peak():.0f} of {_STORE_BYTES >> 20} MB",
        flush=True,
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def store_peak():
    """Yield a function that returns the most that was in the object store, in MB."""
    total = ray.cluster_resources()["object_store_memory"]
    least, stop = [total], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            least[0] = min(least[0], ray.available_resources().get("object_store_memory", 0.0))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: (total - least[0]) / 2**20
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
