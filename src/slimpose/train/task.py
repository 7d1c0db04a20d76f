"""What pose training and detector training give to the one loop that runs both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.train.processes import ALL, Shard


class BatchAt(Protocol):
    """Makes the batch of a step, or a part of it: a pure function of both."""

    def __call__(self, step: int, part: Shard = ALL) -> Any:
        """Return it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A model and what it learns.

    Attributes:
        model: Its ``encoder``, where it has one, is what a trunk is loaded into.
        batch_at: The batch of a step, or a part of it.
        pictures_of: A batch's pictures, for giving a folded trunk its statistics.
        loss_of: The loss of a batch; of a part, so that the mean over processes is the batch's.
        evaluate: The given model's figures on the validation set at a step's input size, each
            process having looked at its share; "AP" decides what is best.
    """

    model: nn.Module
    batch_at: BatchAt
    pictures_of: Callable[[Any], Crops]
    loss_of: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module, int], dict[str, float]]


def to_device(array: np.ndarray, model: nn.Module) -> Tensor:
    """Return an array as a tensor where the model is."""
    return torch.from_numpy(array).to(next(model.parameters()).device)
