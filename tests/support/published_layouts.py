"""Tensor names and shapes of published checkpoints.

Written down from the files of the papers' repositories and not from our networks.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
NamedShapes = Iterator[tuple[str, tuple[int, ...]]]


def _norm(name: str, channels: int) -> NamedShapes:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _bottleneck(name: str, inputs: int, width: int) -> NamedShapes:
    for number, shape in enumerate(
        ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)), start=1
    ):
        yield f"{name}.conv{number}.weight", shape
        yield from _norm(f"{name}.bn{number}", shape[0])


def _shortcut(name: str, inputs: int, outputs: int) -> NamedShapes:
    yield f"{name}.downsample.0.weight", (outputs, inputs, 1, 1)
    yield from _norm(f"{name}.downsample.1", outputs)


def _module(name: str, widths: list[int], outputs: int) -> NamedShapes:
    for branch, width in enumerate(widths):
        for block in range(4):
            for layer in (1, 2):
                yield f"{name}.branches.{branch}.{block}.conv{layer}.weight", (width, width, 3, 3)
                yield from _norm(f"{name}.branches.{branch}.{block}.bn{layer}", width)
    for i in range(outputs):
        for j in range(len(widths)):
            fuse = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                yield f"{fuse}.0.weight", (widths[i], widths[j], 1, 1)
                yield from _norm(f"{fuse}.1", widths[i])
            for step in range(i - j):
                out = widths[i] if step == i - j - 1 else widths[j]
                yield f"{fuse}.{step}.0.weight", (out, widths[j], 3, 3)
                yield from _norm(f"{fuse}.{step}.1", out)


def hrnet_layout(width: int) -> Shapes:
    """Return the layout of HRNet of this width."""

    def parts() -> NamedShapes:
        yield "conv1.weight", (64, 3, 3, 3)
        yield from _norm("bn1", 64)
        yield "conv2.weight", (64, 64, 3, 3)
        yield from _norm("bn2", 64)
        for block in range(4):
            yield from _bottleneck(f"layer1.{block}", 256 if block else 64, 64)
        yield from _shortcut("layer1.0", 64, 256)
        widths = [width * 2**branch for branch in range(4)]
        yield "transition1.0.0.weight", (widths[0], 256, 3, 3)
        yield from _norm("transition1.0.1", widths[0])
        for name, inputs, outputs in (
            ("transition1.1.0", 256, widths[1]),
            ("transition2.2.0", widths[1], widths[2]),
            ("transition3.3.0", widths[2], widths[3]),
        ):
            yield f"{name}.0.weight", (outputs, inputs, 3, 3)
            yield from _norm(f"{name}.1", outputs)
        yield from _module("stage2.0", widths[:2], 2)
        for module in range(4):
            yield from _module(f"stage3.{module}", widths[:3], 3)
        for module in range(3):
            yield from _module(f"stage4.{module}", widths, 1 if module == 2 else 4)
        yield "final_layer.weight", (17, width, 1, 1)
        yield "final_layer.bias", (17,)

    return dict(parts())


def simple_baseline_layout(blocks: tuple[int, int, int, int]) -> Shapes:
    """Return the layout of SimpleBaseline of a ResNet with these blocks per stage."""

    def parts() -> NamedShapes:
        yield "conv1.weight", (64, 3, 7, 7)
        yield from _norm("bn1", 64)
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            for block in range(count):
                yield from _bottleneck(f"layer{stage + 1}.{block}", inputs, width)
                if block == 0:
                    yield from _shortcut(f"layer{stage + 1}.0", inputs, 4 * width)
                inputs = 4 * width
        for index in (0, 3, 6):
            yield f"deconv_layers.{index}.weight", (inputs, 256, 4, 4)
            yield from _norm(f"deconv_layers.{index + 1}", 256)
            inputs = 256
        yield "final_layer.weight", (17, 256, 1, 1)
        yield "final_layer.bias", (17,)

    return dict(parts())


LAYOUTS = {
    "hrnet-w32": hrnet_layout(32),
    "hrnet-w48": hrnet_layout(48),
    "simplebaseline-r50": simple_baseline_layout((3, 4, 6, 3)),
    "simplebaseline-r101": simple_baseline_layout((3, 4, 23, 3)),
    "simplebaseline-r152": simple_baseline_layout((3, 8, 36, 3)),
}


def tensors_of(layout: Shapes) -> dict[str, Tensor]:
    """Return the layout's tensors, each filled with its index; they take no memory."""
    return {
        name: torch.full((), float(index)).expand(shape) if shape else torch.tensor(index)
        for index, (name, shape) in enumerate(layout.items())
    }
