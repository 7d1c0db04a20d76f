"""Communication between the processes of one run; with one process nothing is sent.

torchrun starts the processes; ``devices.open_devices`` joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch.distributed as dist
from torch import Tensor, nn

_Item = TypeVar("_Item")


class Shard(NamedTuple):
    """One of ``of`` equal parts of a step's batch."""

    number: int = 0
    of: int = 1

    def span(self, step: int, batch: int) -> tuple[int, int]:
        """Return the part's first position, counted from the run's start, and its length.

        >>> Shard(number=1, of=4).span(step=3, batch=8)
        (26, 2)
        """
        count = batch // self.of
        return step * batch + self.number * count, count


WHOLE_BATCH = Shard()


def rank() -> int:
    """Return this process's number; process 0 writes the files."""
    return dist.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """Return the number of processes on all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def all_reduce_mean(value: Tensor) -> Tensor:
    """Return the mean of every process's tensor, without gradient.

    A loss's normalizer is averaged this way: the mean gradient is then that of the whole batch's
    loss, however unevenly the labels are spread over the parts.
    """
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def local_items(items: Sequence[_Item]) -> list[_Item]:
    """Return this process's share of the items; each item belongs to exactly one process."""
    return list(items[rank() :: world_size()])


def all_gather(items: list[_Item]) -> list[_Item]:
    """Return the items of all processes, in every process."""
    if world_size() == 1:
        return items
    shares: list[list[_Item]] = [[] for _ in range(world_size())]
    dist.all_gather_object(shares, items)
    return [item for share in shares for item in share]


def broadcast(value: _Item) -> _Item:
    """Return process 0's value in every process; for decisions that depend on the clock."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def broadcast_buffers(module: nn.Module) -> None:
    """Replace a module's buffers (running statistics) by those of process 0, which saves them."""
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
