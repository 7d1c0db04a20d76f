"""What pose training and detector training give to the one loop that runs both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from slimpose.arrays import Crops


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A model and what it learns.

    Attributes:
        model: Its ``encoder`` is what a trunk is loaded into.
        batch_at: The batch of a step.
        pictures_of: A batch's pictures, for giving a folded trunk its statistics.
        loss_of: The loss of a batch.
        evaluate: The given model's figures on the validation set at a step's input size; "AP" decides what is
            best.
    """

    model: nn.Module
    batch_at: Callable[[int], Any]
    pictures_of: Callable[[Any], Crops]
    loss_of: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module, int], dict[str, float]]
