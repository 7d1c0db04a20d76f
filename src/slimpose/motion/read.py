"""Reading motions from what ``predict`` and ``live`` write: CSV, COCO results, JSON lines."""

from __future__ import annotations

import contextlib
import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slimpose import fields
from slimpose.fields import Fields
from slimpose.formats.csv import COLUMNS
from slimpose.formats.files import read_json
from slimpose.messages import quoted, short_name
from slimpose.motion.trajectory import Motion, MotionCollector
from slimpose.poses import NOT_TRACKED
from slimpose.skeleton import COCO17, Skeleton

SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")
_MAX_PX = 1e6
_NUMBERS: dict[str, tuple[float, float]] = {
    "x": (-_MAX_PX, _MAX_PX),
    "y": (-_MAX_PX, _MAX_PX),
    "score": (0.0, 1e3),
    "variance_x": (0.0, _MAX_PX**2),
    "variance_y": (0.0, _MAX_PX**2),
    "covariance_xy": (-(_MAX_PX**2), _MAX_PX**2),
}
"""The numbers of a row of CSV and their limits."""
_MIN_VARIANCE = 1e-3
"""Square pixels; in CSV a variance of 0 is one that was rounded."""


def read_motions(
    path: Path, *, skeleton: Skeleton | None = None, fps: float | None = None
) -> list[Motion]:
    """Read the people of a file; its suffix says which kind of file it is.

    Args:
        path: .csv of ``predict --csv``, .json of ``--json`` (COCO results), .jsonl of ``--jsonl``,
            or .parquet of ``bulk``.
        skeleton: The keypoints of .json and .jsonl files, which do not name them; by default COCO's
            17. CSV and Parquet files name them.
        fps: Frames per second of .json files, which have no times.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, has no people, or an entry is invalid.
        ModuleNotFoundError: If it is Parquet, and pyarrow is not installed.
    """
    readers: dict[str, Callable[[], list[Motion]]] = {
        ".csv": lambda: _read_csv(path),
        ".json": lambda: _read_coco(path, skeleton or COCO17, fps),
        ".jsonl": lambda: _read_json_lines(path, skeleton or COCO17),
        ".parquet": lambda: _read_parquet(path, skeleton),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{path} is of another kind; expected one of {', '.join(SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"no file of people {short_name(str(path))}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file")
    if suffix == ".json" and not (fps is not None and 0 < fps < math.inf):
        got = "not given" if fps is None else f"{fps:g}"
        raise ValueError(
            f"the frame rate of {path} is {got}: COCO results have no times; expected --fps, over "
            "0 (or a file of --csv or --jsonl)"
        )
    motions = readers[suffix]()
    if not motions:
        raise ValueError(f"{path} has no people; expected at least one")
    return motions


def _read_csv(path: Path) -> list[Motion]:
    """Read what ``predict --csv`` wrote: the rows of a person's keypoints follow one another."""
    collector: MotionCollector | None = None
    frame: tuple[str, ...] = ()
    for line, person, joints, values in _csv_people(path):
        if collector is None:
            collector = MotionCollector(joints)
        if joints != collector.joints:
            raise ValueError(
                f"{path}: line {line}: a person has the keypoints {quoted(joints)}; expected "
                f"{quoted(collector.joints)}, as the first one (truncated, or two models?)"
            )
        source, camera, number, time, _, track = person
        what = f"{path}: line {line}"
        try:
            if (source, camera, number) != frame:
                collector.start_frame(source, _csv_number(time, f"{what}: timestamp_s"))
                frame = (source, camera, number)
            track_id = fields.integer(track, f"{what}: track_id", low=0) if track else NOT_TRACKED
            covariances = _covariances(values[:, 3:])
            collector.add(source, track_id, values[:, :2], values[:, 2], covariances)
        except ValueError as error:
            raise _at(error, what) from None
    return [] if collector is None else collector.motions()


def _csv_people(
    path: Path,
) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...], np.ndarray]]:
    """Yield a person's last line, their first six columns, joints and numbers (joints, 6)."""
    person: tuple[str, ...] | None = None
    joints: list[str] = []
    values: list[list[float]] = []
    line = 1
    for next_line, row in _csv_rows(path):
        if person is not None and (row[:6] != person or row[6] == joints[0]):
            yield line, person, tuple(joints), np.array(values)
            person = None
        line = next_line
        if person is None:
            person, joints, values = row[:6], [], []
        if row[6] in joints:
            raise ValueError(
                f"{path}: line {line}: keypoint {quoted(row[6])} occurs twice in a person; "
                "expected each once"
            )
        joints.append(row[6])
        what = f"{path}: line {line}"
        numbers = [
            _csv_number(text, f"{what}: {name}", limits)
            for (name, limits), text in zip(_NUMBERS.items(), row[7:], strict=True)
        ]
        numbers[3:5] = [max(value, _MIN_VARIANCE) for value in numbers[3:5]]
        values.append(numbers)
    if person is not None:
        yield line, person, tuple(joints), np.array(values)


def _csv_rows(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield line number and cells of each row, with the columns in their usual order."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if missing := [name for name in COLUMNS if name not in header]:
                raise ValueError(
                    f"{path} has no column {quoted(missing[0])}; expected the header of slimpose "
                    f"predict --csv: {','.join(COLUMNS)}"
                )
            order = [header.index(name) for name in COLUMNS]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{path}: line {reader.line_num} has {len(row)} cells; expected "
                        f"{len(header)} (truncated?)"
                    )
                yield reader.line_num, tuple(row[column] for column in order)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not CSV: byte {error.start} is {error.object[error.start]:#04x}; expected "
            "UTF-8 text"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV: {error}") from error


def _csv_number(text: str, what: str, limits: tuple[float, float] = (-math.inf, math.inf)) -> float:
    value: float | str = text
    with contextlib.suppress(ValueError):
        value = float(text)
    return fields.number(value, what, low=limits[0], high=limits[1])


def _read_coco(path: Path, skeleton: Skeleton, fps: float | None) -> list[Motion]:
    """Read COCO results with ``frame``, and ``track_id`` where people were tracked."""
    assert fps is not None
    document = read_json(path, kind="list of COCO keypoint results")
    expected = "a list of results, as slimpose predict --json writes it"
    collector = MotionCollector(skeleton.joints)
    frame: tuple[str, int] | None = None
    for index, value in enumerate(fields.items(document, str(path), expected)):
        entry = fields.table(value, f"{path}: result {index}")
        key = entry.text("file_name"), entry.integer("frame", low=0)
        try:
            if key != frame:
                collector.start_frame(key[0], key[1] / fps)
                frame = key
            _add_record(collector, key[0], entry, skeleton)
        except ValueError as error:
            raise _at(error, entry.where) from None
    return collector.motions()


def _read_json_lines(path: Path, skeleton: Skeleton) -> list[Motion]:
    """Read JSON lines: an object for each frame."""
    collector = MotionCollector(skeleton.joints)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        what = f"{path}: line {number}"
        if not line.strip():
            continue
        try:
            document = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise ValueError(
                f"{what} is not JSON: {reason}; expected one frame of slimpose predict --jsonl "
                "(truncated?)"
            ) from error
        entry = fields.table(document, what)
        source = entry.text("source")
        try:
            collector.start_frame(source, entry.number("timestamp_s"))
            for index, value in enumerate(entry.items("people")):
                person = fields.table(value, f"{what}: people[{index}]")
                _add_record(collector, source, person, skeleton)
        except ValueError as error:
            raise _at(error, what) from None
    return collector.motions()


def _at(error: ValueError, where: str) -> ValueError:
    """The error with its place, unless it names that itself."""
    message = str(error)
    return ValueError(message if message.startswith(where) else f"{where}: {message}")


def _add_record(collector: MotionCollector, source: str, entry: Fields, skeleton: Skeleton) -> None:
    """Add a record of one person; without covariances all keypoints count the same."""
    count = len(skeleton.joints)
    keypoints = entry.items("keypoints")
    if len(keypoints) != 3 * count:
        raise ValueError(
            f"{entry.what('keypoints')} has {len(keypoints)} numbers; expected {3 * count}: x, y, "
            f"score of the {count} keypoints of {skeleton.name} (another model? --skeleton)"
        )
    triples = entry.numbers("keypoints", count=3 * count, expected="x, y, score of each keypoint")
    triples = triples.reshape(count, 3).astype(np.float64)
    if np.abs(triples[:, :2]).max() > _MAX_PX or triples[:, 2].min() < 0:
        raise fields.fail(
            entry.what("keypoints"),
            keypoints,
            "x, y in pixels of an image and a score of 0 or more",
        )
    covariances = np.tile(np.eye(2), (count, 1, 1))
    if entry.has("covariances"):
        expected = "variance of x, of y, and covariance of each keypoint"
        numbers = entry.numbers("covariances", count=3 * count, expected=expected)
        covariances = _covariances(numbers.reshape(count, 3).astype(np.float64))
    track_id = entry.integer("track_id", low=0) if entry.has("track_id") else NOT_TRACKED
    collector.add(source, track_id, triples[:, :2], triples[:, 2], covariances)


def _covariances(values: np.ndarray) -> np.ndarray:
    """Return matrices (joints, 2, 2) from variance of x, of y, and covariance (joints, 3)."""
    xx, yy, xy = values.T
    return np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)


def _read_parquet(path: Path, skeleton: Skeleton | None) -> list[Motion]:
    """Read a file of ``slimpose bulk``: a row per person and frame; its footer has the skeleton."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not Parquet: {reason}; expected a file of bulk") from error
    names = ["source", "frame", "time_s", "track_id", "keypoints", "covariances"]
    if missing := [name for name in names if name not in table.column_names]:
        raise ValueError(
            f"{path} has no column {quoted(missing[0])}; expected those of slimpose bulk: "
            f"{', '.join(names)}"
        )
    footer = (table.schema.metadata or {}).get(b"slimpose")
    if skeleton is None and footer is not None:
        facts = fields.table(
            fields.from_json(footer.decode(), f"{path}: footer"), f"{path}: footer"
        )
        skeleton = Skeleton.from_json(facts.text("skeleton"), f"{path}: skeleton")
    skeleton = skeleton or COCO17
    order = [(name, "ascending") for name in ("source", "frame", "track_id")]
    collector = MotionCollector(skeleton.joints)
    frame: tuple[Any, Any] | None = None
    for index, row in enumerate(table.select(names).sort_by(order).to_pylist()):
        what = f"{path}: row {index}"
        try:
            source = fields.text(row["source"], "source")
            if (source, row["frame"]) != frame:
                collector.start_frame(source, fields.number(row["time_s"], "time_s"))
                frame = (source, row["frame"])
            flat = {name: np.ravel(row[name]).tolist() for name in ("keypoints", "covariances")}
            _add_record(collector, source, Fields({**row, **flat}, what), skeleton)
        except ValueError as error:
            raise _at(error, what) from None
    return collector.motions()
