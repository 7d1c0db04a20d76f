r"""Devices of a run: one or several, and their precision; built on accelerate.

    torchrun --standalone --nproc-per-node 4 --no-python -- slimpose train paper-b1 --batch 256 \
        --coco COCO --out RUN

runs on four GPUs of one machine (on CPU processes if there is no GPU). On several machines the same
command runs on each, with ``--nnodes 2 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500
--rdzv-id any-word`` instead of ``--standalone``, and RUN on a disk that all of them can access.
(Without ``--`` torchrun takes ``--start`` for its own option.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from timm.layers import convert_sync_batchnorm
from torch import nn

from slimpose.train.options import ExperimentLog, Precision
from slimpose.train.processes import Shard, rank, world_size
from slimpose.train.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """This process's device, and how a step's batch is divided.

    Attributes:
        accelerator: Places tensors, averages gradients, scales losses.
        accumulate: Number of parts of a process's batch, computed one after another to fit into
            memory, before the weights are updated. Batch norm's statistics, and a loss's normalizer
            (its number of labels), are then of each part.
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
        """Raise ValueError unless the recipe's batch can be divided into equal parts."""
        parts = world_size() * self.accumulate
        if recipe.batch % parts:
            raise ValueError(
                f"batch {recipe.batch} for {world_size()} processes and {self.accumulate} parts"
                f" each; expected a multiple of {parts}"
            )

    def part(self, number: int) -> Shard:
        """Return the part of the step's batch that this process computes as its ``number``-th."""
        return Shard(rank() * self.accumulate + number, world_size() * self.accumulate)

    def prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return wrapped versions to call; the weights stay in ``model``."""
        if world_size() > 1:
            synchronize_norms(model, self.accelerator.device)
        return self.accelerator.prepare(model, optimizer, device_placement=[True, False])


def synchronize_norms(model: nn.Module, device: torch.device) -> None:
    """Let batch norms use the statistics of all processes on GPUs (not run here, for want of GPUs).

    Names and values of weights stay. PyTorch has no such norm for CPUs: there each process
    normalizes by its own part of the batch, and process 0's running statistics are kept.
    """
    if device.type == "cuda":
        convert_sync_batchnorm(model)


def open_devices(
    *,
    precision: Precision = "fp32",
    accumulate: int = 1,
    workers: int = 1,
    log_with: ExperimentLog | None = None,
    log_folder: Path | None = None,
) -> Devices:
    """Join the processes that torchrun started, if any; use this process's GPU, or else the CPU.

    ``log_with`` logs into ``log_folder``, see ``experiment_log.py``.

    Raises:
        ValueError: If the device cannot compute in that precision.
    """
    has_gpu = torch.cuda.is_available()
    if precision == "fp16" and not has_gpu:
        raise ValueError("fp16 needs a GPU, and there is none here; expected fp32, or bf16")
    autocast = "no" if precision == "fp32" else precision
    accelerator = Accelerator(
        cpu=not has_gpu, mixed_precision=autocast, log_with=log_with, project_dir=log_folder
    )
    if has_gpu:
        # A resumed run must repeat what an uninterrupted one does.
        torch.backends.cudnn.deterministic = True
    return Devices(accelerator=accelerator, accumulate=accumulate, workers=workers)
