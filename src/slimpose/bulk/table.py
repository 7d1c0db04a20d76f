"""The Parquet files of ``slimpose bulk``: one row per person and frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from slimpose.bulk.storage import Storage
from slimpose.formats.people_columns import people_columns, poses_from_columns
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton

_KEY = b"slimpose"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A source that is done.

    Attributes:
        source: Its name.
        identity: Its size and time of change when it was read.
        is_video: Whether it is a video.
        frames: Number of frames that were processed.
        people: Number of rows.
        error: What is wrong with it although it was processed: frames that are missing or damaged.
    """

    source: str
    identity: str
    is_video: bool
    frames: int
    people: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What a Parquet file says about itself in its footer.

    Attributes:
        settings: Digest of the settings; see ``BulkSettings``.
        skeleton: The skeleton as JSON, see ``Skeleton.to_json``.
        entries: The sources that are done with this file. All parts of a video but the last one
            have none: a video is done when its last part is there.
    """

    settings: str
    skeleton: str
    entries: list[LedgerEntry] = field(default_factory=list)


class PeopleRows:
    """Collects rows in memory.

    Attributes:
        count: Number of rows.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self._parts: list[tuple[str, int, float, Poses]] = []
        self.count = 0

    def add(self, poses: Poses, *, source: str, frame: int, time_s: float) -> None:
        """Add the people of a frame."""
        if len(poses):
            self._parts.append((source, frame, time_s, poses))
            self.count += len(poses)

    def extend(self, other: PeopleRows) -> None:
        """Add the rows of another collection behind these."""
        self._parts += other._parts
        self.count += other.count

    def table(self) -> pa.Table:
        """Return the rows as a table."""
        joints = len(self.skeleton.joints)
        columns = [people_columns(poses) for *_, poses in self._parts]
        columns.append(people_columns(Poses.empty(self.skeleton)))  # for the types
        counts = [len(poses) for *_, poses in self._parts]
        sources, frames, times = ([part[axis] for part in self._parts] for axis in range(3))
        people = {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
        return pa.table(
            {
                "source": pa.array(np.repeat(np.array(sources, object), counts), pa.string()),
                "frame": np.repeat(np.array(frames, np.int64), counts),
                "time_s": np.repeat(np.array(times, np.float64), counts),
                "person": people["person"],
                "track_id": pa.array(people["track_id"], mask=people["track_id"] < 0),
                "score": people["score"],
                "box": _nested(people["box"], 4),
                "keypoints": _nested(people["keypoints"], joints, 3),
                "covariances": _nested(people["covariances"], joints, 3),
            }
        )


def _nested(values: np.ndarray, *sizes: int) -> pa.Array:
    array = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    for size in reversed(sizes):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def write_table(storage: Storage, name: str, table: pa.Table, facts: FileFacts) -> None:
    """Write a Parquet file with its facts.

    Raises:
        OutputError: If it cannot be written.
    """
    metadata = {_KEY: json.dumps(asdict(facts)).encode()}
    with storage.writing(name) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")


def read_facts(storage: Storage, name: str) -> FileFacts | None:
    """Return what a file says about itself; None if there is none of ``slimpose bulk``."""
    try:
        with storage.fs.open(storage.path(name), "rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowInvalid, FileNotFoundError):
        return None
    if _KEY not in metadata:
        return None
    document: dict[str, Any] = json.loads(metadata[_KEY])
    document["entries"] = [LedgerEntry(**entry) for entry in document["entries"]]
    return FileFacts(**document)


def read_table(storage: Storage, name: str) -> pa.Table:
    """Return the rows of a Parquet file.

    On this thread only: one of pyarrow's that lets go of the file, an object of Python, when the
    interpreter has ended aborts the process (134).
    """
    with storage.fs.open(storage.path(name), "rb") as file:
        return pq.ParquetFile(file, pre_buffer=False).read(use_threads=False)


def frames_of_table(table: pa.Table, skeleton: Skeleton) -> Iterator[tuple[str, int, float, Poses]]:
    """Yield source, frame, time and people of each frame that has people, in the table's order."""
    count, joints = len(table), len(skeleton.joints)
    if not count:
        return
    columns = {
        "score": table["score"].to_numpy(),
        "track_id": table["track_id"].fill_null(-1).to_numpy(),
        "box": _flat(table["box"]).reshape(count, 4),
        "keypoints": _flat(table["keypoints"]).reshape(count, joints, 3),
        "covariances": _flat(table["covariances"]).reshape(count, joints, 3),
    }
    sources = table["source"].to_pylist()
    frames, times = table["frame"].to_numpy(), table["time_s"].to_numpy()
    starts = [
        row
        for row in range(count)
        if row == 0 or (sources[row], frames[row]) != (sources[row - 1], frames[row - 1])
    ]
    for start, end in zip(starts, [*starts[1:], count], strict=True):
        part = {name: values[start:end] for name, values in columns.items()}
        yield (
            sources[start],
            int(frames[start]),
            float(times[start]),
            poses_from_columns(part, skeleton),
        )


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    while isinstance(array, pa.FixedSizeListArray | pa.ListArray):
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False)
