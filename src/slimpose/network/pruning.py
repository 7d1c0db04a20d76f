"""Prune a trained network: remove hidden channels of its blocks and refit the rest.

A block's last convolution mixes its hidden channels linearly, so the best output without some of
them is a least-squares problem with one solution. Channels are removed one by one, each time the
one that the others can replace best. How many each block loses minimizes the sum of the blocks'
relative errors for the multiply-adds saved. Finally the blocks are refitted one after another, each
on the outputs of the refitted blocks before it. Training then continues from the result.

Source:
    Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon",
    NeurIPS 1992 (the order; exact here, as the problem is quadratic).
    He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017 (the
    refit, block by block, to the unpruned network's maps).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.network.channel_selection import center, fit_mix, removal_order, sample_values
from slimpose.network.cost import cost_of_spec
from slimpose.network.narrowing import HiddenLayer, hidden_layers
from slimpose.network.pose_net import PoseNet

_ROUND_TO = 8
_MACS_PER_VALUE = 12
"""Multiply-adds that take as long as writing and reading one hidden value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Losses:
    """What a block loses with its channels.

    Attributes:
        errors: The share of its output's variance that is lost, by number of removed channels.
        macs: Multiply-adds per channel.
        cost: ``macs`` plus the memory traffic, in multiply-adds.
    """

    errors: Float64[np.ndarray, " widths"]
    macs: int
    cost: int

    def width_at(self, price: float) -> int:
        """Return the number of channels that minimizes error plus price times cost."""
        full = len(self.errors)
        widths = np.unique(np.append(np.arange(_ROUND_TO, full, _ROUND_TO), full))
        return int(widths[np.argmin(self.errors[full - widths] + price * self.cost * widths)])


@torch.no_grad()
def prune(
    net: PoseNet,
    images: Sequence[Crops],
    *,
    gmac: float,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PoseNet:
    """Return a smaller copy of a trained network; its spec has the remaining ``inner_widths``.

    Args:
        net: Trained.
        images: uint8 batches (n, H, W, 3) of its size, a few hundred images in total; about 3 MB
            of memory each.
        gmac: Largest number of true multiply-adds at the network's own size, in 1e9.
        on_progress: Called with the number of refitted blocks and of all blocks.

    Raises:
        ValueError: If the encoder's blocks are not plain inverted residuals, or ``gmac`` is too
            small for the network or not smaller than its own.
    """
    net = copy.deepcopy(net).eval()
    blocks = hidden_layers(net.encoder.body)
    costs = _costs(net, images[0], blocks)
    fixed_macs = cost_of_spec(net.spec).macs - sum(
        block.width * macs for block, (macs, _) in zip(blocks, costs, strict=True)
    )
    _check_gmac(blocks, costs, fixed_macs=fixed_macs, gmac=gmac)
    samples = sample_values(
        net,
        images,
        [(block.project, True) for block in blocks] + [(block.block, False) for block in blocks],
    )
    hidden, outputs = samples[: len(blocks)], samples[len(blocks) :]
    losses = [
        _losses(block, values, output, macs, cost)
        for block, values, output, (macs, cost) in zip(blocks, hidden, outputs, costs, strict=True)
    ]
    del samples, hidden  # most of the memory
    widths = _widths(losses, fixed_macs=fixed_macs, gmac=gmac)
    for index, (block, width) in enumerate(zip(blocks, widths, strict=True)):
        _refit(net, images, block, outputs[index], width)
        on_progress(index + 1, len(blocks))
    net.spec = dataclasses.replace(net.spec, inner_widths=tuple(widths))
    return net


def _costs(net: nn.Module, images: Crops, blocks: Sequence[HiddenLayer]) -> list[tuple[int, int]]:
    """Return multiply-adds per hidden channel of each block, without and with memory traffic."""
    pixels: dict[nn.Module, int] = {}

    def measure(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        pixels[module] = output[0, 0].numel()

    hooks = [
        layer.register_forward_hook(measure)
        for block in blocks
        for layer in (block.expand, block.depthwise, block.project)
    ]
    net(torch.from_numpy(images[:1]))
    for hook in hooks:
        hook.remove()
    costs: list[tuple[int, int]] = []
    for block in blocks:
        expanded, filtered = pixels[block.expand], pixels[block.depthwise]
        macs = (
            expanded * block.expand.weight[0].numel()
            + filtered * block.depthwise.weight[0].numel()
            + pixels[block.project] * block.project.out_channels
        )
        costs.append((macs, macs + _MACS_PER_VALUE * (expanded + filtered)))
    return costs


def _losses(block: HiddenLayer, hidden: Tensor, output: Tensor, macs: int, cost: int) -> _Losses:
    norm = block.project_norm
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    _, errors = removal_order(hidden, hidden @ block.project.weight[:, :, 0, 0].T * scale)
    variance = float(center(output)[0].square().sum(1).mean())
    shares = np.array([0.0, *errors[:-1]]) / max(variance, 1e-12)
    return _Losses(errors=shares, macs=macs, cost=cost)


def _check_gmac(
    blocks: Sequence[HiddenLayer], costs: Sequence[tuple[int, int]], *, fixed_macs: int, gmac: float
) -> None:
    """Raise ValueError unless pruning the blocks can reach ``gmac``; ``fixed_macs`` is the rest."""
    pairs = [(block.width, macs) for block, (macs, _) in zip(blocks, costs, strict=True)]
    full = (fixed_macs + sum(width * macs for width, macs in pairs)) / 1e9
    least = (fixed_macs + sum(min(width, _ROUND_TO) * macs for width, macs in pairs)) / 1e9
    if not least < gmac < full:
        raise ValueError(
            f"gmac is {gmac:g}; this network has {full:.3f} and can be pruned to {least:.3f}: "
            "expected a number between"
        )


def _widths(losses: Sequence[_Losses], *, fixed_macs: int, gmac: float) -> list[int]:
    """Return each block's width: bisect the price of a channel until ``gmac`` is reached."""

    def gmac_at(price: float) -> float:
        return (fixed_macs + sum(block.width_at(price) * block.macs for block in losses)) / 1e9

    low, high = 1e-16, 1.0
    for _ in range(100):
        price = (low * high) ** 0.5
        if gmac_at(price) > gmac:
            low = price
        else:
            high = price
    return [block.width_at(high) for block in losses]


def _refit(
    net: nn.Module, images: Sequence[Crops], block: HiddenLayer, output: Tensor, width: int
) -> None:
    """Reduce a block to a width, then refit it to the unpruned output from its current input."""
    hidden, block_input = sample_values(net, images, [(block.project, True), (block.block, True)])
    target = output - block_input if block.is_residual else output
    kept = torch.tensor(sorted(removal_order(hidden, target)[0][block.width - width :]))
    block.keep(kept)
    weights, mean = fit_mix(hidden[:, kept], target)
    mixed = hidden[:, kept].double() @ weights
    norm = block.project_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    block.project.weight.copy_(weights.T[:, :, None, None])
    norm.running_mean.copy_(mixed.mean(0))
    norm.running_var.copy_(mixed.var(0))
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(mean)
