"""Choose the channels of a map that a linear mix needs least, by sampled values of the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from slimpose.arrays import Crops

_SAMPLES = 48
"""Positions of a map that are sampled per image."""
_RIDGE = 1e-4


def sample_values(
    net: nn.Module, images: Sequence[Crops], modules: Sequence[tuple[nn.Module, bool]]
) -> list[Tensor]:
    """Return the values (samples, channels) of modules at the same random positions per image.

    Of each module, the input is sampled if its flag is true, otherwise the output.
    """
    samples: list[list[Tensor]] = [[] for _ in modules]

    def record(index: int, values: Tensor) -> None:
        rng = torch.Generator().manual_seed(len(samples[index]))
        maps = values.flatten(2)
        positions = torch.stack(
            [torch.randperm(maps.shape[2], generator=rng)[:_SAMPLES] for _ in maps]
        )
        chosen = maps.gather(2, positions[:, None].expand(-1, maps.shape[1], -1))
        samples[index].append(chosen.transpose(1, 2).flatten(0, 1))

    def hook(index: int, is_input: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: record(index, inputs[0] if is_input else output)

    hooks = [
        module.register_forward_hook(hook(index, is_input))
        for index, (module, is_input) in enumerate(modules)
    ]
    for batch in images:
        net(torch.from_numpy(batch))
    for registered in hooks:
        registered.remove()
    return [torch.cat(values) for values in samples]


def center(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (samples, channels) in double precision minus their mean, and the mean."""
    values = values.double()
    mean = values.mean(0)
    return values - mean, mean


def _covariance(centered: Tensor) -> Tensor:
    covariance = centered.T @ centered / len(centered)
    ridge = _RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
    return covariance + ridge * torch.eye(len(covariance)).double()


def removal_order(hidden: Tensor, target: Tensor) -> tuple[list[int], list[float]]:
    """Return the channels in the order of removal, and the squared error per sample after each.

    The target (samples, outputs) is mixed linearly from the hidden values (samples, channels).
    """
    hidden, target = center(hidden)[0], center(target)[0]
    inverse = torch.linalg.inv(_covariance(hidden))
    weights = inverse @ (hidden.T @ target / len(hidden))
    order: list[int] = []
    errors: list[float] = []
    error = 0.0
    for _ in range(len(weights)):
        losses = weights.square().sum(1) / inverse.diagonal()
        losses[order] = float("inf")  # 0 / 0 for removed channels
        removed = int(losses.argmin())
        error += float(losses[removed])
        column = inverse[:, removed] / inverse[removed, removed]
        weights = weights - torch.outer(column, weights[removed])
        inverse = inverse - torch.outer(column, inverse[removed])
        order.append(removed)
        errors.append(error)
    return order, errors


def fit_mix(hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights (channels, outputs) that mix hidden values into the target, and its mean.

    Both in double precision, fitted by least squares to values minus their means.
    """
    channels, _ = center(hidden)
    centered, mean = center(target)
    covariance = _covariance(channels)
    return torch.linalg.solve(covariance, channels.T @ centered / len(channels)), mean
