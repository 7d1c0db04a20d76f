"""Where a run computes: on one device or several, and in which precision. accelerate does the work.

    torchrun --standalone --nproc-per-node 4 --no-python -- slimpose train paper-b1 --batch 256
    --coco COCO --out RUN

runs on four GPUs of one machine (on CPU processes where there is no GPU). On several machines the
same command runs on each, with ``--nnodes 2 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500
--rdzv-id any-word`` in place of ``--standalone``, and RUN on a disk that all of them see. (Without
``--`` torchrun takes ``--start`` for its own.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from slimpose.train.processes import Shard, rank, world_size
from slimpose.train.recipe import Recipe
from slimpose.train.synced_norm import synchronize_norms

Precision = Literal["fp32", "bf16", "fp16"]
_AUTOCAST = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """This process's device, and how a step's batch is cut.

    Attributes:
        accelerator: Places, averages gradients, scales losses.
        accumulate: Parts that a process computes one after another, to fit its memory, before
            weights move. Batch norm's statistics are then each part's own, and so is what a loss is
            divided by: the number of its labels.
        workers: Threads that make batches.
    """

    accelerator: Accelerator
    accumulate: int = 1
    workers: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return rank() == 0

    def check(self, recipe: Recipe) -> None:
        """Raise ValueError unless the recipe's batch can be cut into equal parts of some samples."""
        parts = world_size() * self.accumulate
        if recipe.batch % parts:
            raise ValueError(
                f"batch {recipe.batch} for {world_size()} processes and {self.accumulate} parts each; "
                f"expected a multiple of {parts}"
            )

    def part(self, number: int) -> Shard:
        """Return which part of the step's batch this process computes as its ``number``-th."""
        return Shard(rank() * self.accumulate + number, world_size() * self.accumulate)

    def prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return what to call in their stead; the model's weights stay where they are, in the model."""
        if world_size() > 1:
            synchronize_norms(model, self.accelerator.device)
        return self.accelerator.prepare(model, optimizer, device_placement=[True, False])


def open_devices(
    *, precision: Precision = "fp32", accumulate: int = 1, workers: int = 1
) -> Devices:
    """Join the processes that torchrun started, if it did; take its GPU, or the CPU where there is none.

    Raises:
        ValueError: If the device cannot compute in that precision.
    """
    has_gpu = torch.cuda.is_available()
    if precision == "fp16" and not has_gpu:
        raise ValueError("fp16 needs a GPU, and there is none here; expected fp32, or bf16")
    accelerator = Accelerator(cpu=not has_gpu, mixed_precision=_AUTOCAST[precision])
    if has_gpu:
        torch.backends.cudnn.deterministic = (
            True  # a resumed run is to repeat what an uninterrupted one does
        )
    return Devices(accelerator=accelerator, accumulate=accumulate, workers=workers)
