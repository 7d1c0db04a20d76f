"""A run of ``slimpose bulk``: what is missing is processed, and the ledger is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from slimpose.bulk.attempts import forget_all
from slimpose.bulk.inputs import BulkInput
from slimpose.bulk.ledger import Ledger, check_settings
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.stitch import piece_file
from slimpose.bulk.storage import OutputError, Storage
from slimpose.bulk.table import read_facts
from slimpose.bulk.units import Outcome, Unit, pieces_of, units_of, video_name


class Engine(Protocol):
    """Where the work is done: ``RayEngine``."""

    @property
    def workers(self) -> int:
        """Return the number of workers."""
        ...

    def started(self) -> AbstractContextManager[None]:
        """Start the workers, and end them after the run."""
        ...

    def process(self, units: Sequence[Unit], settings: BulkSettings, out: str) -> Iterator[Outcome]:
        """Process units; yield what comes of them, in any order."""
        ...


@dataclass(slots=True)
class BulkRun:
    """Processes what is missing in the output folder.

    Attributes:
        inputs: All inputs.
        settings: What determines the results.
        out: Path or address of the output folder.
        engine: Where the work is done.
        overwrite: Whether results of other settings are replaced.
        report: Called with each outcome.
        failed: The inputs that failed, after the run.
    """

    inputs: Sequence[BulkInput]
    settings: BulkSettings
    out: str
    engine: Engine
    overwrite: bool = False
    report: Callable[[Outcome], None] = lambda outcome: None
    failed: list[Outcome] = field(default_factory=list)

    def prepare(self) -> list[BulkInput]:
        """Check the output folder, tidy it up, and return the inputs that are to be processed.

        Raises:
            OutputError: If it cannot be written to.
            FileExistsError: If it holds results of other settings.
        """
        storage = Storage(self.out)
        check_settings(storage, self.settings, overwrite=self.overwrite)
        storage.remove_temporary()
        forget_all(storage)
        ledger = Ledger.read(storage)
        ledger.remove_duplicates()
        missing = ledger.missing([one for one in self.inputs if not one.error])
        ledger.remove_rows({one.source for one in missing})
        ledger.remove_abandoned(missing, self.settings.digest())
        return missing

    def process(self, missing: Sequence[BulkInput]) -> None:
        """Process inputs and write the ledger.

        Raises:
            OutputError: If the output folder cannot be written to any more.
        """
        self.failed = [
            Outcome(kind="failed", source=one.source, reason=one.error)
            for one in self.inputs
            if one.error
        ]
        for outcome in self.failed:
            self.report(outcome)
        storage = Storage(self.out)
        if missing:
            with self.engine.started():
                self._process_units(missing, storage)
        ledger = Ledger.read(storage)
        ledger.remove_duplicates()
        ledger.write(self.failed)

    def _process_units(self, missing: Sequence[BulkInput], storage: Storage) -> None:
        by_source = {one.source: one for one in missing}
        unfinished = set(by_source)
        cut: dict[str, int] = {}
        for outcome in self._outcomes(units_of(list(missing), workers=self.engine.workers)):
            if outcome.kind == "cut":
                cut[outcome.source] = outcome.pieces
            elif outcome.kind != "part":
                unfinished.discard(outcome.source)
        pieces = [
            piece
            for source, count in cut.items()
            for piece in pieces_of(by_source[source], count)
            if read_facts(storage, piece_file(piece, self.settings.digest())) is None
        ]
        broken = {one.source for one in self._outcomes(pieces) if one.kind == "failed"}
        unfinished -= broken
        joined = [
            Unit(kind="stitch", name=video_name(source), inputs=[by_source[source]], pieces=count)
            for source, count in cut.items()
            if source not in broken
        ]
        for outcome in self._outcomes(joined):
            unfinished.discard(outcome.source)
        for source in sorted(unfinished):
            reason = "its worker failed; Ray's logs in /tmp/ray have the reason"
            self._note(Outcome(kind="failed", source=source, reason=reason))

    def _outcomes(self, units: Sequence[Unit]) -> Iterator[Outcome]:
        for outcome in self.engine.process(units, self.settings, self.out):
            if outcome.kind == "stopped":
                raise OutputError(outcome.reason)
            self._note(outcome)
            yield outcome

    def _note(self, outcome: Outcome) -> None:
        if outcome.kind == "failed":
            self.failed.append(outcome)
        self.report(outcome)
