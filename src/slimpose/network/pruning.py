"""A smaller net out of a trained one: inner channels of its blocks go, and what is left is refitted to give the same.

A block's last convolution mixes its inner channels linearly, so what the block can still give
without some of them is a least-squares problem with one answer. Channels go one by one, each time
the one whose loss the others make good best. Which block gives how many: so that for the
multiply-adds saved the sum of the blocks' relative errors is least. At last the blocks are refitted
one after another, each on what those before it now give. Training goes on from there.

Source:
    Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon",
    NeurIPS 1992 (the order; exact here, as the problem is quadratic).
    He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017 (the
    refit, block by block, to the unpruned net's maps).
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
from slimpose.network.cost import cost_of_spec
from slimpose.network.narrowing import HiddenLayer, hidden_layers
from slimpose.network.pose_net import PoseNet

_ROUND_TO = 8
_TOUCHED = 12
"""Multiply-adds that take as long as writing and reading one inner value: what makes wide early blocks slow."""
_SAMPLES = 48
"""Places of a map that are looked at in each picture."""
_RIDGE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Losses:
    """What a block loses with its channels.

    Attributes:
        errors: The share of its output's variance that is lost once so many of them are gone; 0 for
            none.
        macs: Multiply-adds a channel.
        cost: The same and its memory traffic.
    """

    errors: Float64[np.ndarray, " widths"]
    macs: int
    cost: int

    def width_at(self, price: float) -> int:
        """Return the number of channels at which error and price times cost are least together."""
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
    """Return a copy with at most so many multiply-adds at the net's own size; its spec says which widths are left.

    Args:
        net: Trained.
        pictures: uint8 batches (n, H, W, 3) of its size, a few hundred pictures together; about 3
            MB each in memory.
        gmac: True multiply-adds, in 1e9.
        on_progress: Told how many blocks are refitted, of how many.

    Raises:
        ValueError: If the encoder's blocks are not plain inverted residuals, or the net cannot
            become so small, or is so already.
    """
    net = copy.deepcopy(net).eval()
    blocks = hidden_layers(net.encoder.body)
    costs = _costs(net, images[0], blocks)
    rest = cost_of_spec(net.spec).macs - sum(
        inner.width * macs for inner, (macs, _) in zip(blocks, costs, strict=True)
    )
    _check(blocks, costs, rest=rest, gmac=gmac)
    places = [(inner.project, True) for inner in blocks] + [
        (inner.block, False) for inner in blocks
    ]
    seen = _gather(net, images, places)
    seen, given = seen[: len(blocks)], seen[len(blocks) :]
    losses = [
        _losses(inner, inside, output, macs, cost)
        for inner, inside, output, (macs, cost) in zip(blocks, seen, given, costs, strict=True)
    ]
    del seen
    widths = _widths(losses, rest=rest, gmac=gmac)
    for place, (inner, width) in enumerate(zip(blocks, widths, strict=True)):
        _refit(net, images, inner, given[place], width)
        on_progress(place + 1, len(blocks))
    net.spec = dataclasses.replace(net.spec, inner_widths=tuple(widths))
    return net


def _gather(
    net: nn.Module, pictures: Sequence[Crops], wanted: Sequence[tuple[nn.Module, bool]]
) -> list[Tensor]:
    """Return what modules are given (True) or give, at the same random places of each picture: (samples, channels)."""
    found: list[list[Tensor]] = [[] for _ in wanted]

    def note(index: int, values: Tensor) -> None:
        rng = torch.Generator().manual_seed(len(found[index]))
        maps = values.flatten(2)
        places = torch.stack(
            [torch.randperm(maps.shape[2], generator=rng)[:_SAMPLES] for _ in maps]
        )
        chosen = maps.gather(2, places[:, None].expand(-1, maps.shape[1], -1))
        found[index].append(chosen.transpose(1, 2).flatten(0, 1))

    def hook(index: int, is_input: bool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: note(index, inputs[0] if is_input else output)

    hooks = [
        module.register_forward_hook(hook(index, is_input))
        for index, (module, is_input) in enumerate(wanted)
    ]
    for batch in pictures:
        net(torch.from_numpy(batch))
    for registered in hooks:
        registered.remove()
    return [torch.cat(values) for values in found]


def _costs(net: nn.Module, pictures: Crops, blocks: Sequence[HiddenLayer]) -> list[tuple[int, int]]:
    """Return multiply-adds an inner channel of each block, and the same with what its values take to touch."""
    pixels: dict[nn.Module, int] = {}

    def measure(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        pixels[module] = output[0, 0].numel()

    hooks = [
        layer.register_forward_hook(measure)
        for inner in blocks
        for layer in (inner.expand, inner.depthwise, inner.project)
    ]
    net(torch.from_numpy(pictures[:1]))
    for hook in hooks:
        hook.remove()
    costs: list[tuple[int, int]] = []
    for inner in blocks:
        made, filtered = pixels[inner.expand], pixels[inner.depthwise]
        macs = (
            made * inner.expand.weight[0].numel()
            + filtered * inner.depthwise.weight[0].numel()
            + pixels[inner.project] * inner.project.out_channels
        )
        costs.append((macs, macs + _TOUCHED * (made + filtered)))
    return costs


def _centerd(values: Tensor) -> tuple[Tensor, Tensor]:
    values = values.double()
    mean = values.mean(0)
    return values - mean, mean


def _covariance(centerd: Tensor) -> Tensor:
    covariance = centerd.T @ centerd / len(centerd)
    return (
        covariance
        + _RIDGE
        * covariance.diagonal().mean().clamp_min(1e-12)
        * torch.eye(len(covariance)).double()
    )


def _order(inside: Tensor, wanted: Tensor) -> tuple[list[int], list[float]]:
    """Return the channels in the order in which they go, and the squared error a sample once each is gone.

    Args:
        inside: (samples, channels).
        wanted: (samples, outputs), to be mixed from them.
    """
    inside, wanted = _centerd(inside)[0], _centerd(wanted)[0]
    inverse = torch.linalg.inv(_covariance(inside))
    weights = inverse @ (inside.T @ wanted / len(inside))
    order: list[int] = []
    errors: list[float] = []
    error = 0.0
    for _ in range(len(weights)):
        losses = weights.square().sum(1) / inverse.diagonal()
        losses[order] = float("inf")  # they are nought over nought
        gone = int(losses.argmin())
        error += float(losses[gone])
        column = inverse[:, gone] / inverse[gone, gone]
        weights = weights - torch.outer(column, weights[gone])
        inverse = inverse - torch.outer(column, inverse[gone])
        order.append(gone)
        errors.append(error)
    return order, errors


def _losses(inner: HiddenLayer, inside: Tensor, output: Tensor, macs: int, cost: int) -> _Losses:
    norm = inner.project_norm
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    _, errors = _order(inside, inside @ inner.project.weight[:, :, 0, 0].T * scale)
    variance = float(_centerd(output)[0].square().sum(1).mean())
    shares = np.array([0.0, *errors[:-1]]) / max(variance, 1e-12)
    return _Losses(errors=shares, macs=macs, cost=cost)


def _check(
    blocks: Sequence[HiddenLayer], costs: Sequence[tuple[int, int]], *, rest: int, gmac: float
) -> None:
    """Raise ValueError unless the blocks can become so narrow, and are not so yet; ``rest`` is what all else costs."""
    pairs = [(inner.width, macs) for inner, (macs, _) in zip(blocks, costs, strict=True)]
    whole = (rest + sum(width * macs for width, macs in pairs)) / 1e9
    least = (rest + sum(min(width, _ROUND_TO) * macs for width, macs in pairs)) / 1e9
    if not least < gmac < whole:
        raise ValueError(
            f"gmac is {gmac:g}; this net has {whole:.3f} and could be pruned to {least:.3f}: expected a number between"
        )


def _widths(losses: Sequence[_Losses], *, rest: int, gmac: float) -> list[int]:
    """Return what each block keeps: the price of a channel rises until all are cheap enough together."""

    def gmac_at(price: float) -> float:
        return (rest + sum(block.width_at(price) * block.macs for block in losses)) / 1e9

    low, high = 1e-16, 1.0
    for _ in range(100):
        price = (low * high) ** 0.5
        if gmac_at(price) > gmac:
            low = price
        else:
            high = price
    return [block.width_at(high) for block in losses]


def _refit(
    net: nn.Module, pictures: Sequence[Crops], inner: HiddenLayer, output: Tensor, width: int
) -> None:
    """Take a block's channels down to a width, then have it give again what it gave, of what it is given now."""
    inside, entering = _gather(net, pictures, [(inner.project, True), (inner.block, True)])
    wanted = output - entering if inner.is_residual else output
    kept = torch.tensor(sorted(_order(inside, wanted)[0][inner.width - width :]))
    inner.keep(kept)
    channels, _ = _centerd(inside[:, kept])
    target, mean = _centerd(wanted)
    weights = torch.linalg.solve(_covariance(channels), channels.T @ target / len(channels))
    mixed = inside[:, kept].double() @ weights
    norm = inner.project_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    inner.project.weight.copy_(weights.T[:, :, None, None])
    norm.running_mean.copy_(mixed.mean(0))
    norm.running_var.copy_(mixed.var(0))
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(mean)
