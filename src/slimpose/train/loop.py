"""The training loop: a generator that yields every step; the caller evaluates, saves and stops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder
from slimpose.network.high_resolution import HighResolutionNet
from slimpose.network.pyramid_detector import PyramidDetector
from slimpose.train.devices import Devices, open_devices
from slimpose.train.processes import all_reduce_mean
from slimpose.train.recipe import Recipe
from slimpose.train.relative_adam import RelativeAdam

_Batch = TypeVar("_Batch")
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step: its number (from 0), its loss, and the learning rate used."""

    number: int
    loss: float
    learning_rate: float


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW with the recipe's rates; norms and biases do not decay.

    Frozen stages are excluded, and marked as needing no gradient. With ``relative_rate`` it is
    ``RelativeAdam``.
    """
    for stage in _frozen_stages(model, recipe):
        stage.requires_grad_(False)
    parameters = [pair for pair in model.named_parameters() if pair[1].requires_grad]
    groups = []
    for is_encoder in (False, True):
        for decays in (True, False):
            members = [
                parameter
                for name, parameter in parameters
                if name.startswith("encoder.") == is_encoder and (parameter.ndim > 1) == decays
            ]
            rate = recipe.learning_rate * (recipe.encoder_rate if is_encoder else 1.0)
            decay = recipe.weight_decay if decays else 0.0
            groups.append({"params": members, "lr": rate, "peak": rate, "weight_decay": decay})
    if recipe.relative_rate:
        return RelativeAdam(groups, recipe.learning_rate)
    return torch.optim.AdamW(groups)


def _frozen_stages(model: nn.Module, recipe: Recipe) -> list[nn.Module]:
    if not recipe.frozen_stages:
        return []
    if isinstance(model, (HighResolutionNet, PyramidDetector)):
        return model.stages_before(recipe.frozen_stages)
    encoder = getattr(model, "encoder", None)
    return encoder.stages(recipe.frozen_stages) if isinstance(encoder, Encoder) else []


@torch.no_grad()
def update_ema(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; integer buffers are copied."""
    average, current = averaged.state_dict(), model.state_dict()
    floating = [name for name, tensor in average.items() if tensor.is_floating_point()]
    torch._foreach_lerp_(
        [average[name] for name in floating], [current[name] for name in floating], 1 - decay
    )
    for name in average.keys() - set(floating):
        average[name].copy_(current[name])


def train(
    *,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    batches: Iterable[_Batch],
    loss: Callable[[nn.Module, _Batch], Tensor],
    start_step: int = 0,
    devices: Devices | None = None,
) -> Iterator[Step]:
    """Run the recipe's steps from ``start_step`` on, yielding after each.

    ``model`` is trained in place; ``averaged``, a copy, follows it as an exponential moving average
    whose decay grows over the first steps, so that it is usable early. ``batches`` start at
    ``start_step``: of each batch this process's parts, one after another; ``loss`` is that of a
    part. With several processes gradients are averaged, so all keep the same weights. By default it
    is one process in FP32.

    Raises:
        FloatingPointError: If the loss is not finite.
    """
    model.train()
    for stage in _frozen_stages(model, recipe):
        stage.eval()
    devices = devices or open_devices()
    accelerator, parts = devices.accelerator, devices.accumulate
    parallel, stepper = devices.prepare(model, optimizer)
    remaining = iter(batches)
    for number in range(start_step, recipe.steps):
        factor = recipe.rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        for part in range(parts):
            with nullcontext() if part == parts - 1 else accelerator.no_sync(parallel):
                part_loss = loss(parallel, next(remaining)) / parts
                accelerator.backward(part_loss)
            losses.append(part_loss.detach())
        value = float(all_reduce_mean(torch.stack(losses).sum()))
        if not math.isfinite(value):
            raise FloatingPointError(
                f"loss is {value} at step {number}; the learning rate may be too high"
            )
        accelerator.clip_grad_norm_(parallel.parameters(), _MAX_GRADIENT_NORM)
        stepper.step()
        update_ema(averaged, model, min(recipe.ema, (1 + number) / (10 + number)))
        yield Step(number=number, loss=value, learning_rate=recipe.learning_rate * factor)
