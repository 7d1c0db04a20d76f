"""The order of training samples: a pure function of seed and position, for exact resuming."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int64

_Batch = TypeVar("_Batch")


class SampleOrder:
    """An endless shuffled order of samples, sample i drawn ``repeats[i]`` times per epoch.

    The fractional part of a repeat is drawn at random.

    >>> order = SampleOrder(np.array([1.0, 2.0]), seed=0)
    >>> sorted(order.at(position) for position in range(order.epoch_length))
    [0, 1, 1]
    """

    def __init__(self, repeats: Float[np.ndarray, " n"], *, seed: int) -> None:
        if not (repeats >= 0).all() or repeats.sum() < 1:
            raise ValueError(
                f"sampling weights sum to {repeats.sum():g}; expected none negative, and a sum of"
                " at least 1"
            )
        self._repeats = repeats
        self._seed = seed
        self.epoch_length = round(float(repeats.sum()))
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> Int64[np.ndarray, " epoch_length"]:
        rng = np.random.default_rng((self._seed, epoch))
        whole = np.floor(self._repeats).astype(np.int64)
        chosen = np.repeat(np.arange(len(whole)), whole)
        missing = self.epoch_length - len(chosen)
        if missing > 0:
            fraction = self._repeats - whole
            extra = rng.choice(len(whole), missing, replace=False, p=fraction / fraction.sum())
            chosen = np.concatenate([chosen, extra])
        return rng.permutation(chosen)[: self.epoch_length]

    def at(self, position: int) -> int:
        """Return the sample at a position counted from the run's start."""
        epoch, offset = divmod(position, self.epoch_length)
        return int(self._epoch(epoch)[offset])


def prefetch(
    batch_at: Callable[[int], _Batch], start: int, *, ahead: int = 3, workers: int = 1
) -> Generator[_Batch, None, None]:
    """Yield ``batch_at(start)``, ``batch_at(start + 1)``, ..., computed ahead by threads."""
    ahead = max(ahead, 2 * workers)
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(batch_at, start + i) for i in range(ahead)]
        try:
            for step in count(start + ahead):
                ready = pending.pop(0)
                pending.append(pool.submit(batch_at, step))
                yield ready.result()
        finally:
            for future in pending:
                future.cancel()
