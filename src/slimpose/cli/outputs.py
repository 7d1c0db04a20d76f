"""Text outputs of ``predict`` and ``live``: any of the formats at once, written during the run."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from slimpose.cli.options import STANDARD_OUTPUT, OutputOptions
from slimpose.cli.standard_streams import redirect_to_null
from slimpose.formats import csv, openpose, results
from slimpose.formats.files import write_json
from slimpose.formats.openpose import Order
from slimpose.formats.partial_file import PartialFile
from slimpose.media.addresses import plain_reason
from slimpose.runtime.frame_result import FrameResult


class RecordWriter:
    """One text output; without files of its own, all but ``write`` does nothing.

    Attributes:
        path: Where it is written, for the summary; empty for standard output.
    """

    path = ""

    def write(self, result: FrameResult) -> None:
        """Write the people of one frame."""
        raise NotImplementedError

    def position(self) -> int:
        """Return the position after the last record."""
        return 0

    def truncate(self, position: int) -> None:
        """Remove the records after a position."""

    def notes(self) -> list[str]:
        """Return lines about the output for the end of the run."""
        return []

    def finish(self) -> None:
        """Rename the partial file to its final name."""

    def close(self) -> None:
        """Close the file and keep it under its partial name."""

    def discard(self) -> None:
        """Remove the file."""


class RecordWriters:
    """All text outputs of a run; opened at its start, so that errors occur before the work.

    Args:
        options: Which.
        stems: The starts of the names of the sources' files.

    Raises:
        RuntimeError: If something cannot be written.
        FileExistsError: If there are OpenPose files of these sources, and none may be replaced.
    """

    def __init__(self, options: OutputOptions, stems: Collection[str]) -> None:
        self._writers: list[RecordWriter] = []
        self._stdout = _StdoutWriter() if options.jsonl == STANDARD_OUTPUT else None
        try:
            if options.json is not None:
                self._writers.append(
                    _FileWriter(
                        options.json, _coco_records, head=b"[\n", between=b",\n", tail=b"\n]\n"
                    )
                )
            if options.csv is not None:
                self._writers.append(_FileWriter(options.csv, _csv_rows, head=csv.header()))
            if self._stdout is not None:
                self._writers.append(self._stdout)
            elif options.jsonl is not None:
                self._writers.append(_FileWriter(Path(options.jsonl), _json_lines))
            if options.openpose is not None:
                self._writers.append(_OpenPoseWriter(options, stems))
        except BaseException:
            self.discard()
            raise

    @property
    def paths(self) -> list[str]:
        """Where the outputs are written, for the summary."""
        return [writer.path for writer in self._writers if writer.path]

    def notes(self) -> list[str]:
        """Return lines about the outputs for the end of the run."""
        return [note for writer in self._writers for note in writer.notes()]

    def write(self, result: FrameResult) -> None:
        """Write the people of one frame to every output."""
        for writer in self._writers:
            writer.write(result)

    @property
    def all_readers_gone(self) -> bool:
        """Whether standard output is the only output and its reader has closed it."""
        return self._stdout is not None and self._stdout.is_closed and len(self._writers) == 1

    def check_readers(self) -> None:
        """Raise RuntimeError if standard output was closed by its reader; the files stay intact."""
        if self._stdout is not None and self._stdout.is_closed:
            raise RuntimeError("standard output was closed by the program that read it")

    def positions(self) -> list[int]:
        """Return the positions after the last record, for ``truncate``."""
        return [writer.position() for writer in self._writers]

    def truncate(self, positions: list[int]) -> None:
        """Remove every record after the positions, except from standard output."""
        for writer, position in zip(self._writers, positions, strict=True):
            writer.truncate(position)

    def finish(self) -> None:
        """Rename the files to their final names."""
        for writer in self._writers:
            writer.finish()

    def close(self) -> None:
        """Close the files and keep them under their partial names."""
        for writer in self._writers:
            writer.close()

    def discard(self) -> None:
        """Remove the files."""
        for writer in self._writers:
            writer.discard()


def _coco_records(result: FrameResult) -> Iterator[bytes]:
    for record in results.records(
        result.poses, file_name=result.source, frame=result.frame_index, image_id=result.image_id
    ):
        yield json_text.dumps(record).encode()


def _csv_rows(result: FrameResult) -> Iterator[bytes]:
    if len(result.poses):
        yield csv.rows(
            result.poses,
            source=result.source,
            camera=result.camera,
            frame=result.frame_index,
            timestamp_s=result.timestamp_s,
        )


def _json_lines(result: FrameResult) -> Iterator[bytes]:
    yield results.json_line(
        result.poses,
        source=result.source,
        camera=result.camera,
        frame=result.frame_index,
        timestamp_s=result.timestamp_s,
    )


class _FileWriter(PartialFile, RecordWriter):
    """A file of records in one format."""

    def __init__(
        self,
        path: Path,
        encode: Callable[[FrameResult], Iterable[bytes]],
        *,
        head: bytes = b"",
        between: bytes = b"",
        tail: bytes = b"",
    ) -> None:
        super().__init__(path, head=head, between=between, tail=tail)
        self.path, self._encode = str(path), encode

    def write(self, result: FrameResult) -> None:
        for record in self._encode(result):
            self.append(record)


class _StdoutWriter(RecordWriter):
    """JSON lines on standard output, each flushed at once, until its reader closes it."""

    def __init__(self) -> None:
        if sys.__stdout__ is None:
            raise RuntimeError("--jsonl is -, but standard output is closed; expected a file")
        self.is_closed = False

    def write(self, result: FrameResult) -> None:
        if self.is_closed:
            return
        try:
            for line in _json_lines(result):
                sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self.is_closed = True
            redirect_to_null(sys.stdout.fileno())
        except OSError as error:
            raise RuntimeError(
                f"cannot write to standard output: {error.strerror or error}"
            ) from error


class _OpenPoseWriter(RecordWriter):
    """A folder of OpenPose files, one per frame."""

    def __init__(self, options: OutputOptions, stems: Collection[str]) -> None:
        assert options.openpose is not None
        self.path = str(options.openpose)
        self._folder = options.openpose
        self._order: Order = options.openpose_order
        self._earlier = openpose.files_of(self._folder, stems)
        if self._earlier and not options.overwrite:
            raise FileExistsError(
                f"--openpose {self._folder} holds {len(self._earlier)} files of these sources, "
                f"such as {min(self._earlier)}; --overwrite replaces them"
            )
        # None: a run that never truncates does not remember its files
        self._files_since_position: list[Path] | None = None

    def write(self, result: FrameResult) -> None:
        file = self._folder / openpose.file_name(result.stem, result.frame_index)
        self._earlier.discard(file.name)
        try:
            write_json(file, openpose.document(result.poses, self._order))
        except ValueError as error:  # it names the path
            raise RuntimeError(str(error)) from error
        except OSError as error:
            raise RuntimeError(f"cannot write {file}: {plain_reason(error)}") from error
        if self._files_since_position is not None:
            self._files_since_position.append(file)

    def position(self) -> int:
        self._files_since_position = []
        return 0

    def notes(self) -> list[str]:
        if not self._earlier:
            return []
        return [
            f"NOTE: {self._folder} still holds {len(self._earlier)} files of an earlier, longer "
            f"run, such as {min(self._earlier)}"
        ]

    def truncate(self, position: int) -> None:  # noqa: ARG002 (a folder has no positions)
        for file in self._files_since_position or []:
            file.unlink(missing_ok=True)
