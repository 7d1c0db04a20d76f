"""Ray Data for ``slimpose bulk``: workers on this machine, or on a cluster."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is reported by us
os.environ.setdefault("RAY_worker_niceness", "0")  # workers are as nice as the command, not 15 more

import numpy as np
import ray
import ray.data

from slimpose.bulk.settings import BulkSettings
from slimpose.bulk.units import Outcome, Unit
from slimpose.bulk.worker import UnitWorker

_OBJECT_STORE_BYTES = 100 << 20
"""Of an embedded Ray: only names and counts go through it, images and results do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
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
            with _silent_stderr():
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
            )
            for batch in outcomes.iter_batches(batch_size=None, prefetch_batches=0):
                for text in batch["outcome"]:
                    yield Outcome(**json.loads(text))


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what the C++ part of Ray prints when it starts; its errors are exceptions."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


class _RayWorker:
    """``UnitWorker`` for ``map_batches``."""

    def __init__(self, settings: BulkSettings, out: str) -> None:
        self._worker = UnitWorker(settings, out)

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for text in batch["unit"]:
            for outcome in self._worker.process(Unit.from_json(str(text))):
                yield {"outcome": np.array([json.dumps(asdict(outcome))])}
