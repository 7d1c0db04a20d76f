"""The interface between the training loop and what it trains: a pose network or a detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.formats import coco
from slimpose.train.processes import WHOLE_BATCH, Shard
from slimpose.train.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """COCO annotations and image folders to train and to validate on."""

    train: coco.CocoFile
    train_images: Path
    val: coco.CocoFile
    val_images: Path


class Task(Protocol):
    """A model and what it learns.

    A trunk is loaded into the model's ``encoder``, if it has one.
    """

    @property
    def model(self) -> nn.Module:
        """The model to train."""
        ...

    def batch_at(self, step: int, part: Shard = WHOLE_BATCH) -> Any:
        """Return the batch of a step, or a part of it: a pure function of both."""

    def images_of(self, batch: Any) -> Crops:
        """Return a batch's images, from which a folded trunk gets its batch norm statistics."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the loss of a batch; of a part, such that the mean over processes is the batch's.

        ``model`` is the task's own, perhaps wrapped for several processes.
        """
        ...

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        """Return a model's figures on the validation set at a step's input size.

        Processes share the images. "AP" decides which weights are best.
        """
        ...


def check_distillation(recipe: Recipe, *, has_teacher: bool) -> None:
    """Raise ValueError unless there is a teacher exactly if the recipe distills."""
    if has_teacher != (recipe.distillation_weight > 0):
        state = "was given" if has_teacher else "is missing"
        raise ValueError(
            f"a teacher {state}, and the recipe's distillation_weight is"
            f" {recipe.distillation_weight:g}; expected both or neither"
        )


def to_device(array: np.ndarray, model: nn.Module) -> Tensor:
    """Return an array as a tensor on the model's device."""
    return torch.from_numpy(array).to(next(model.parameters()).device)
