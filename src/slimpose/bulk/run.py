"""Runs ``slimpose bulk`` on Ray Data: on this machine, or on a cluster."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent

import numpy as np
import ray
import ray.data

from slimpose.bulk.inputs import BulkInput
from slimpose.bulk.ledger import Ledger, check_settings
from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.stitch import piece_file
from slimpose.bulk.storage import OutputError, Storage
from slimpose.bulk.table import read_facts
from slimpose.bulk.units import Outcome, Unit, pieces_of, units_of, video_name
from slimpose.bulk.worker import UnitWorker

_OBJECT_STORE_BYTES = 100 << 20
"""Of an embedded Ray: only names and counts go through it, images and results do not."""
_RETRIES = 3
"""How often a unit is tried again whose worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Where the work is done.

    Attributes:
        workers: Number of workers.
        threads: CPUs that each of them takes.
        gpus: GPUs that each of them takes; a part such as 0.5 shares one.
        address: Address of a Ray cluster; None starts Ray on this machine.
    """

    workers: int
    threads: int = 1
    gpus: float = 0.0
    address: str | None = None

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start Ray, or connect to it, without a dashboard and without usage statistics."""
        if ray.is_initialized():  # a program of the user's, or a test
            yield
            return
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.address is not None:
            options["address"] = self.address
        else:
            options |= {
                "num_cpus": self.workers * self.threads,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
            }
            if self.gpus:
                options["num_gpus"] = max(1, round(self.workers * self.gpus))
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise RuntimeError(f"no Ray cluster at {self.address}: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()

    def process(self, units: Sequence[Unit], settings: BulkSettings, out: str) -> Iterator[Outcome]:
        """Process units on the workers; yield what comes of them, in any order."""
        if not units:
            return
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # a unit that kills its worker does not stop the rest
        context.target_max_block_size = 1  # each outcome is passed on at once
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        with ray.data.DataContext.current(context):
            rows = [{"unit": unit.to_json()} for unit in units]
            outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _RayWorker,
                fn_constructor_args=(settings, out),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    size=min(self.workers, len(units)), max_tasks_in_flight_per_actor=1
                ),
                num_cpus=self.threads,
                num_gpus=self.gpus or None,
                max_restarts=-1,
                max_task_retries=_RETRIES,
            )
            for batch in outcomes.iter_batches(batch_size=None, prefetch_batches=0):
                for text in batch["outcome"]:
                    yield Outcome(**json.loads(text))


class _RayWorker:
    """``UnitWorker`` for ``map_batches``."""

    def __init__(self, settings: BulkSettings, out: str) -> None:
        self._worker = UnitWorker(settings, out)

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for text in batch["unit"]:
            for outcome in self._worker.process(Unit.from_json(str(text))):
                yield {"outcome": np.array([json.dumps(asdict(outcome))])}


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
            reason = f"its worker died {_RETRIES + 1} times (out of memory?)"
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
