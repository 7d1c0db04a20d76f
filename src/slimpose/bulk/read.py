"""Reads the results of ``slimpose bulk`` back as poses.

For questions over many sources, DuckDB and pyarrow read the Parquet files themselves (docs: bulk).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from slimpose.bulk.ledger import Ledger
from slimpose.bulk.storage import Storage
from slimpose.bulk.table import LedgerEntry, frames_of_table, read_table
from slimpose.messages import quoted
from slimpose.poses import Poses
from slimpose.skeleton import Skeleton

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceResults:
    """The results of one source.

    Attributes:
        entry: Its entry in the ledger: number of frames, whether it is a video.
        skeleton: Its skeleton.
        storage: The output folder.
        files: The Parquet files that hold its rows, in the order of time.
    """

    entry: LedgerEntry
    skeleton: Skeleton
    storage: Storage
    files: list[str]

    def frames(self) -> Iterator[tuple[int, float, Poses]]:
        """Yield number, time in seconds and people of each frame that has people, in order."""
        for name in self.files:
            table = read_table(self.storage, name)
            for source, frame, time_s, poses in frames_of_table(table, self.skeleton):
                if source == self.entry.source:
                    yield frame, time_s, poses


def open_source(out: str, source: str) -> SourceResults:
    """Return the results of a source in an output folder of ``slimpose bulk``.

    Args:
        out: The output folder or its address.
        source: The source's name, as in the column ``source``.

    Raises:
        ValueError: If it is not done.
    """
    storage = Storage(out)
    ledger = Ledger.read(storage)
    for name, facts in ledger.files.items():
        for entry in facts.entries:
            if entry.source == source:
                folder = name.rpartition("/")[0]
                return SourceResults(
                    entry=entry,
                    skeleton=Skeleton.from_json(facts.skeleton, name),
                    storage=storage,
                    files=[one for one in sorted(ledger.files) if one.rpartition("/")[0] == folder],
                )
    known = sorted(ledger.entries)
    names = ", ".join(known[:_SHOWN]) + (" ..." if len(known) > _SHOWN else "")
    raise ValueError(
        f"{out} has no results of {quoted(source)}; expected one of {len(known)} sources "
        f"({names or 'none is done: is it an output folder of slimpose bulk?'})"
    )
