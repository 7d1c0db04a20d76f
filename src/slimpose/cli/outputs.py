"""What ``predict`` and ``live`` write in text: any of the formats at once, record by record while they run."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from slimpose.cli.output_paths import redirect_closed_stdout
from slimpose.formats import csv, json_lines, openpose, results
from slimpose.formats.files import write_json
from slimpose.formats.openpose import Order
from slimpose.formats.partial_file import PartialFile
from slimpose.poses import Poses

STANDARD_OUTPUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The people of one picture.

    Attributes:
        source: What the records call the picture's source.
        stem: The same as the start of file names: unlike that of every other source.
        camera: The source's number.
        frame: The picture's number.
        timestamp_s: When it was taken.
        poses: The people.
        image_id: The picture's number in COCO, if it has one.
    """

    source: str
    stem: str
    camera: int
    frame: int
    timestamp_s: float
    poses: Poses
    image_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where to write; None is nowhere.

    Attributes:
        json: A file for COCO results.
        csv: A file for tidy CSV.
        jsonl: A file for JSON lines, or "-": standard output.
        openpose: A folder for OpenPose's JSON, a file a frame.
        openpose_order: Its order of joints.

    Raises:
        ValueError: If an option says nothing without another, or "-" is given where only a file can
            be written.
    """

    json: Path | None = None
    csv: Path | None = None
    jsonl: str | None = None
    openpose: Path | None = None
    openpose_order: Order = "BODY_25"

    def __post_init__(self) -> None:
        if self.openpose is None and self.openpose_order != "BODY_25":
            raise ValueError(
                f"--openpose-order {self.openpose_order} is about --openpose; expected both"
            )
        for option, path in (("--json", self.json), ("--csv", self.csv)):
            if str(path) == STANDARD_OUTPUT:
                raise ValueError(f"{option} is -; expected a file (--jsonl - is standard output)")

    def files(self) -> dict[str, Path]:
        """The files by the option that names them."""
        jsonl = Path(self.jsonl) if self.jsonl not in (None, STANDARD_OUTPUT) else None
        named = {"--json": self.json, "--csv": self.csv, "--jsonl": jsonl}
        return {option: path for option, path in named.items() if path is not None}

    def folders(self) -> dict[str, Path]:
        """The folders by the option that names them."""
        return {"--openpose": self.openpose} if self.openpose is not None else {}


class RecordWriter(Protocol):
    """One output."""

    place: str

    def write(self, found: Found) -> None:
        """Write one picture's people."""
        ...

    def mark(self) -> int:
        """Return the place after the last record."""
        ...

    def roll_back(self, mark: int) -> None:
        """Take back what came after the mark."""
        ...

    def finish(self) -> None:
        """Give it its name."""
        ...

    def close(self) -> None:
        """Leave it under its partial name."""
        ...

    def discard(self) -> None:
        """Remove it."""
        ...


class RecordWriters:
    """The text outputs of a run; made when it starts, so that what cannot be written is known before the work.

    Raises:
        RuntimeError: If something cannot be written.
    """

    def __init__(self, targets: OutputOptions) -> None:
        self._sinks: list[RecordWriter] = []
        self._piped = _Piped() if targets.jsonl == STANDARD_OUTPUT else None
        try:
            if targets.json is not None:
                self._sinks.append(
                    _FileSink(targets.json, _coco, head=b"[\n", between=b",\n", tail=b"\n]\n")
                )
            if targets.csv is not None:
                self._sinks.append(_FileSink(targets.csv, _tidy, head=csv.header()))
            if self._piped is not None:
                self._sinks.append(self._piped)
            elif targets.jsonl is not None:
                self._sinks.append(_FileSink(Path(targets.jsonl), _line))
            if targets.openpose is not None:
                self._sinks.append(_OpenPoseFolder(targets.openpose, targets.openpose_order))
        except BaseException:
            self.discard()
            raise

    @property
    def places(self) -> list[str]:
        """Where they go, for the summary."""
        return [sink.place for sink in self._sinks if sink.place]

    def write(self, found: Found) -> None:
        """Write one picture's people everywhere."""
        for sink in self._sinks:
            sink.write(found)

    @property
    def all_readers_gone(self) -> bool:
        """Whether standard output is all there is, and was closed."""
        return self._piped is not None and self._piped.is_closed and len(self._sinks) == 1

    def check_readers(self) -> None:
        """Raise RuntimeError if standard output was closed; the other outputs are not touched by that."""
        if self._piped is not None and self._piped.is_closed:
            raise RuntimeError("standard output was closed by the program that read it")

    def mark(self) -> list[int]:
        """Return the place after the last record, for ``roll_back``."""
        return [sink.mark() for sink in self._sinks]

    def roll_back(self, mark: list[int]) -> None:
        """Take back every record after the mark, except from standard output."""
        for sink, place in zip(self._sinks, mark, strict=True):
            sink.roll_back(place)

    def finish(self) -> None:
        """Give the files their names."""
        for sink in self._sinks:
            sink.finish()

    def close(self) -> None:
        """Leave the files under their partial names."""
        for sink in self._sinks:
            sink.close()

    def discard(self) -> None:
        """Remove the files."""
        for sink in self._sinks:
            sink.discard()


def _coco(found: Found) -> Iterator[bytes]:
    for record in results.records(
        found.poses, file_name=found.source, frame=found.frame, image_id=found.image_id
    ):
        yield json_text.dumps(record).encode()


def _tidy(found: Found) -> Iterator[bytes]:
    if len(found.poses):
        yield csv.rows(
            found.poses,
            source=found.source,
            camera=found.camera,
            frame=found.frame,
            timestamp_s=found.timestamp_s,
        )


def _line(found: Found) -> Iterator[bytes]:
    yield json_lines.json_line(
        found.poses,
        source=found.source,
        camera=found.camera,
        frame=found.frame,
        timestamp_s=found.timestamp_s,
    )


class _FileSink:
    def __init__(
        self,
        target: Path,
        encode: Callable[[Found], Iterable[bytes]],
        *,
        head: bytes = b"",
        between: bytes = b"",
        tail: bytes = b"",
    ) -> None:
        self.place = str(target)
        self._encode = encode
        self._file = PartialFile(target, head=head, between=between, tail=tail)
        self.mark, self.roll_back = self._file.position, self._file.truncate
        self.finish, self.close, self.discard = (
            self._file.finish,
            self._file.close,
            self._file.discard,
        )

    def write(self, found: Found) -> None:
        for record in self._encode(found):
            self._file.append(record)


class _Piped:
    """JSON lines on standard output, each handed on at once, until its reader closes it."""

    place = ""

    def __init__(self) -> None:
        self.is_closed = False

    def write(self, found: Found) -> None:
        if self.is_closed:
            return
        try:
            for line in _line(found):
                sys.stdout.write(line.decode())
            sys.stdout.flush()
        except BrokenPipeError:
            self.is_closed = True
            redirect_closed_stdout()

    def mark(self) -> int:
        return 0

    def roll_back(self, mark: int) -> None:
        """What was handed on is gone."""

    def finish(self) -> None:
        """Nothing to finish: it is not ours to close."""

    close = discard = finish


class _OpenPoseFolder:
    def __init__(self, folder: Path, order: Order) -> None:
        self.place = str(folder)
        self._folder = folder
        self._order: Order = order
        self._since_mark: list[Path] | None = (
            None  # a run that never rolls back need not remember its files
        )

    def write(self, found: Found) -> None:
        path = self._folder / openpose.file_name(found.stem, found.frame)
        try:
            write_json(path, openpose.document(found.poses, self._order))
        except (ValueError, OSError) as error:
            raise RuntimeError(f"cannot write {path}: {error}") from error
        if self._since_mark is not None:
            self._since_mark.append(path)

    def mark(self) -> int:
        self._since_mark = []
        return 0

    def roll_back(self, mark: int) -> None:  # noqa: ARG002 (a folder has no places)
        for path in self._since_mark or []:
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Each file has its name already."""

    close = discard = finish


class UniqueStems:
    """Starts of file names: no two the same, whatever the sources are called."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, wanted: str) -> str:
        """Return the wanted one, or with a number behind it."""
        for number in count(1):
            stem = wanted if number == 1 else f"{wanted}-{number}"
            if stem.lower() not in self._taken:
                self._taken.add(stem.lower())
                return stem
        raise AssertionError("count ended")
