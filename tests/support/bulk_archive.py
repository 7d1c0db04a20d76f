"""A small archive for the tests of ``slimpose bulk``, and what is in results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import cv2

from run_cli import write_dot, write_models, write_walk
from run_main import run_main
from slimpose.arrays import Size
from slimpose.bulk.inputs import find_inputs
from slimpose.bulk.ledger import Ledger
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.storage import Storage
from slimpose.bulk.table import read_table
from slimpose.bulk.units import Outcome, Unit, units_of
from slimpose.bulk.worker import UnitWorker
from synthetic_models import dot_image

SOURCES = ("a.avi", "deep/b.avi", "i0.png", "i1.png", "i2.png")
BROKEN = ("broken.mp4", "empty.jpg")


def write_archive(folder: Path) -> BulkSettings:
    """Write models, two videos, three images and two broken files; return settings for them."""
    options = write_models(folder / "models")
    (folder / "in" / "deep").mkdir(parents=True)
    write_walk(folder / "in" / "a.avi", 63, fps=10)
    write_walk(folder / "in" / "deep" / "b.avi", 35, fps=10)
    for number in range(3):
        write_dot(str(folder / "in" / f"i{number}.png"), x=30 + 9 * number)
    (folder / "in" / "broken.mp4").write_bytes(b"no video" * 999)
    (folder / "in" / "empty.jpg").write_bytes(b"")
    return BulkSettings(model=options[1], detector=options[3], piece_s=2.0)


def model_options(settings: BulkSettings) -> list[str]:
    return ["--model", settings.model, "--detector", settings.detector, "--threads", "1"]


def write_slow_walk(path: Path, frames: int) -> None:
    """Write a video, 10 frames a second, of one who moves a pixel every 8 frames."""
    size = Size(96, 96)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for number in range(frames):
        writer.write(dot_image(size, 40 + number // 8, 40))
    writer.release()


class HereEngine:
    """Processes units in this process, without Ray."""

    workers = 1

    def started(self) -> AbstractContextManager[None]:
        return nullcontext()

    def process(self, units: Sequence[Unit], settings: BulkSettings, out: str) -> Iterator[Outcome]:
        worker = UnitWorker(settings, out)
        for unit in units:
            yield from worker.process(unit)


def process_here(folder: Path, settings: BulkSettings, out: str | Path) -> list[Outcome]:
    """Process all inputs that are not done in this process, without Ray."""
    storage = Storage(str(out))
    inputs = Ledger.read(storage).missing(find_inputs(str(folder / "in")))
    worker = UnitWorker(settings, str(out))
    return [one for unit in units_of(inputs, workers=1) for one in worker.process(unit)]


def check_equals_predict(folder: Path, settings: BulkSettings, out: str | Path) -> None:
    """Compare each source's CSV and COCO JSON with those of ``slimpose predict``, byte by byte."""
    for number, source in enumerate(SOURCES):
        files = {}
        for command, place in (("predict", (folder / "in" / source,)), ("join", (out, source))):
            for suffix in ("csv", "json"):
                files[command, suffix] = folder / f"{command}-{number}.{suffix}"
            outputs = ["--csv", files[command, "csv"], "--json", files[command, "json"]]
            options = [*model_options(settings), "--no-draw"] if command == "predict" else []
            assert run_main(command, *place, *outputs, "--overwrite", *options) == 0
        for suffix in ("csv", "json"):
            joined = files["join", suffix].read_bytes()
            assert joined == files["predict", suffix].read_bytes(), (source, suffix)
            assert len(joined) > 200


def rows_of(out: str | Path) -> Counter[tuple[str, int, int]]:
    """Return how often each source, frame and person is in the results."""
    storage = Storage(str(out))
    rows: Counter[tuple[str, int, int]] = Counter()
    for name in Ledger.read(storage).files:
        table = read_table(storage, name).select(["source", "frame", "person"])
        rows.update(tuple(row.values()) for row in table.to_pylist())
    return rows
