"""The ledger of ``slimpose bulk``: which sources are done, by the footers of the results.

A Parquet file and the statement that its sources are done are one file, which appears at once. So
a run that is killed loses nothing that the ledger has, and nothing is there twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slimpose.bulk.inputs import BulkInput
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.storage import Storage
from slimpose.bulk.table import FileFacts, LedgerEntry, read_facts, read_table, write_table
from slimpose.bulk.units import PIECES, POSES, STATES, Outcome, Unit, video_name
from slimpose.formats.files import as_utf8

SETTINGS, LEDGER, FAILED = "settings.json", "ledger.parquet", "failed.csv"
_READERS = 32
"""Footers that are read at once: object stores answer slowly, but many at a time."""


@dataclass(slots=True)
class Ledger:
    """What the output folder holds.

    Attributes:
        storage: The folder.
        files: The facts of each Parquet file.
    """

    storage: Storage
    files: dict[str, FileFacts]

    @classmethod
    def read(cls, storage: Storage) -> Ledger:
        """Read the footers of all results; a file that is none of ours is left alone."""
        names = [name for name in storage.names(POSES) if name.endswith(".parquet")]
        with ThreadPoolExecutor(_READERS) as pool:
            facts = pool.map(lambda name: read_facts(storage, name), names)
            files = {name: one for name, one in zip(names, facts, strict=True) if one is not None}
        return cls(storage, files)

    @property
    def entries(self) -> dict[str, LedgerEntry]:
        """The sources that are done, by name."""
        return {entry.source: entry for facts in self.files.values() for entry in facts.entries}

    def missing(self, inputs: Sequence[BulkInput]) -> list[BulkInput]:
        """Return the inputs that are not done, or have changed since."""
        done = self.entries
        return [
            one
            for one in inputs
            if one.source not in done or done[one.source].identity != one.identity
        ]

    def remove_rows(self, sources: set[str]) -> None:
        """Remove all that is there of these sources: they will be processed again."""
        for name, facts in list(self.files.items()):
            kept = [entry for entry in facts.entries if entry.source not in sources]
            if len(kept) == len(facts.entries):
                continue
            if kept:
                self._rewrite(name, replace(facts, entries=kept))
            else:
                self._remove_unit(name)

    def remove_duplicates(self) -> None:
        """Keep each source once, where a run that was believed dead has written one too."""
        known: set[str] = set()
        for name, facts in list(self.files.items()):
            kept = [entry for entry in facts.entries if entry.source not in known]
            known |= {entry.source for entry in facts.entries}
            if len(kept) < len(facts.entries):
                self._rewrite(name, replace(facts, entries=kept))

    def remove_abandoned(self, missing: Sequence[BulkInput], settings: str) -> None:
        """Remove parts, states and pieces of videos that no unit will go on with."""
        units = [Unit(kind="video", name=video_name(one.source), inputs=[one]) for one in missing]
        saved = {unit.saved(folder, settings) for unit in units for folder in (STATES, PIECES)}
        for folder in (STATES, PIECES):
            for name in self.storage.names(folder):
                if name.removesuffix(".pickle") not in saved and _parent(name) not in saved:
                    self.storage.remove(name)
        states = {name.removesuffix(".pickle") for name in self.storage.names(STATES)}
        going_on = {unit.name for unit in units if unit.saved(STATES, settings) in states}
        done = {_parent(name) for name, facts in self.files.items() if facts.entries}
        for name in list(self.files):
            folder = _parent(name)
            if folder not in done and PurePosixPath(folder).name not in going_on:
                self.storage.remove(name)
                del self.files[name]

    def write(self, failed: Sequence[Outcome]) -> None:
        """Write the tables of all sources, and of those that failed, for reading."""
        rows: list[dict[str, Any]] = [
            {**asdict(entry), "is_done": True} for entry in self.entries.values()
        ]
        rows += [
            {
                "source": one.source,
                "identity": "",
                "is_video": False,
                "frames": 0,
                "people": 0,
                "error": one.reason,
                "is_done": False,
            }
            for one in failed
        ]
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["source"]))
        with self.storage.writing(LEDGER) as partial:
            pq.write_table(table, partial)
        problems = [row for row in rows if row["error"]]
        lines = [("source", "frames_kept", "reason")]
        lines += [(row["source"], str(row["frames"]), row["error"]) for row in problems]
        text = "".join(",".join(map(_quoted, line)) + "\n" for line in lines)
        self.storage.write(FAILED, as_utf8(text))

    def _remove_unit(self, name: str) -> None:
        """Remove a video or a group, the file that says it is done first."""
        self.storage.remove(name)
        del self.files[name]
        for other in [one for one in self.files if _parent(one) == _parent(name)]:
            self.storage.remove(other)
            del self.files[other]

    def _rewrite(self, name: str, facts: FileFacts) -> None:
        """Write a file again with the rows of its entries only."""
        if not facts.entries:
            self._remove_unit(name)
            return
        table = read_table(self.storage, name)
        kept = table.filter(pc.field("source").isin([entry.source for entry in facts.entries]))
        write_table(self.storage, name, kept, facts)
        self.files[name] = facts


def check_settings(storage: Storage, settings: BulkSettings, *, overwrite: bool) -> None:
    """Compare the settings with those of what the folder holds; remember them.

    Raises:
        FileExistsError: If they differ and what is there may not be replaced.
    """
    document = settings.as_json()
    before = storage.read(SETTINGS)
    if before is not None and (old := json.loads(before)) != document:
        changed = sorted(key for key in document if old.get(key) != document[key])
        if not overwrite:
            changes = ", ".join(
                f"{key} {old.get(key)} instead of {document[key]}" for key in changed
            )
            raise FileExistsError(
                f"{storage.address} holds results of other options ({changes}); expected the same, "
                "or another folder; --overwrite replaces them"
            )
        ours = [*storage.names(STATES), *storage.names(PIECES), *sorted(Ledger.read(storage).files)]
        for name in reversed(ours):  # the last part of a video, which says that it is done, first
            storage.remove(name)
    storage.write(SETTINGS, json.dumps(document, indent=1).encode())


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set('",\n') & set(text) else text
