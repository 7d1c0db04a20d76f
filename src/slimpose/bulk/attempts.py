"""Finds inputs that kill their worker: a decoder that crashes, more memory than there is.

Ray starts a worker that died again, with the same unit. From the second start of a unit on, the
input that is being processed is noted; one with which the worker died twice is left out.
"""

from __future__ import annotations

import json
from collections import Counter

from slimpose.bulk.storage import Storage
from slimpose.bulk.units import Unit

ATTEMPTS = "_attempts"
_MAX_DEATHS = 2


class Attempts:
    """The starts of a unit in this run; made when it is started.

    Raises:
        OutputError: If the output folder cannot be written to.
    """

    def __init__(self, storage: Storage, unit: Unit) -> None:
        self._storage = storage
        self._name = f"{ATTEMPTS}/{unit.kind}-{unit.piece}-{unit.name}.json"
        before = storage.read(self._name)
        self._is_again = before is not None
        self._deaths: Counter[str] = Counter()
        if before is not None:
            document = json.loads(before)
            self._deaths.update(document["deaths"])
            self._deaths.update(filter(None, [document["current"]]))
        self._write("")

    def are_over(self, source: str) -> bool:
        """Return whether an input is to be left out."""
        return self._deaths[source] >= _MAX_DEATHS

    def start(self, source: str) -> None:
        """Note that an input is being processed."""
        if self._is_again:
            self._write(source)

    def went_on(self, source: str) -> None:
        """Note that a part of an input is done: what kills workers does so at one place."""
        if self._is_again:
            del self._deaths[source]
            self._write(source)

    def end(self) -> None:
        """Forget the unit, which is done or has failed."""
        self._storage.remove(self._name)

    def _write(self, current: str) -> None:
        document = {"deaths": self._deaths, "current": current}
        self._storage.write(self._name, json.dumps(document).encode())


def forget_all(storage: Storage) -> None:
    """Forget the attempts of an earlier run: who killed that is not known."""
    for name in storage.names(ATTEMPTS):
        storage.remove(name)
