"""What the processes of one run say to each other; a run of one process says nothing, and pays nothing.

torchrun starts the processes; ``devices.open_devices`` joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch.distributed as dist
from torch import Tensor

_Item = TypeVar("_Item")


class Shard(NamedTuple):
    """One of equal parts of a step's batch."""

    number: int = 0
    of: int = 1

    def span(self, step: int, batch: int) -> tuple[int, int]:
        """Return the part's first position, counted from the run's start, and how many it has."""
        count = batch // self.of
        return step * batch + self.number * count, count


ALL = Shard()


def rank() -> int:
    """Return this process's number, 0 being the one that writes files."""
    return dist.get_rank() if _are_several() else 0


def world_size() -> int:
    """Return how many processes there are, on all machines together."""
    return dist.get_world_size() if _are_several() else 1


def _are_several() -> bool:
    return dist.is_available() and dist.is_initialized()


def mean_of_all(value: Tensor) -> Tensor:
    """Return the mean over processes of a tensor each has, without gradient.

    What a loss is divided by goes through here: the gradients' mean is then that of the whole
    batch's loss, however unevenly the labels fall on the parts.
    """
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def local_items(items: Sequence[_Item]) -> list[_Item]:
    """Return this process's items: every one is some process's, none is two's."""
    return list(items[rank() :: world_size()])


def gathered(items: list[_Item]) -> list[_Item]:
    """Return all processes' items, to each of them."""
    if world_size() == 1:
        return items
    shares: list[list[_Item]] = [[] for _ in range(world_size())]
    dist.all_gather_object(shares, items)
    return [item for share in shares for item in share]


def broadcast_from_first(value: _Item) -> _Item:
    """Return process 0's value, to all: for decisions by the clock."""
    if world_size() == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]
