"""Quantization-aware fine-tuning: the rounded graph learns to reproduce the float graph's maps.

The Q/DQ graph itself is trained, converted to PyTorch operator by operator; no labels are needed,
because the float graph is the teacher. Rounding passes gradients on unchanged, except for clipped
values.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018; the straight-through estimator: Bengio et al.,
arXiv:1308.3432.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from onnxruntime.quantization.calibrate import TensorsData
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.export.quantization.graph import GraphParts, Runner
from slimpose.export.quantization.int8 import quantize_graph, with_bias_pairs
from slimpose.export.quantization.rounding import Log
from slimpose.export.quantization.schemes import Scheme

_RATE = 0.003 / 127
"""Adam's learning rate as a share of a tensor's largest value (0.003 levels): values of tensors
differ tenfold, and a common rate would be too large for the small ones."""
_BATCH = 8
_LOG_INTERVAL = 50


def fine_tune(
    network: onnx.ModelProto,
    ranges: TensorsData,
    parts: GraphParts,
    scheme: Scheme,
    images: Crops,
    *,
    teacher: onnx.ModelProto,
    steps: int,
    threads: int | None,
    log: Log = lambda line: None,
) -> dict[str, np.ndarray]:
    """Return new weights and biases by name; rounded ones are within the range of their levels.

    Args:
        network: The float graph from pixels to maps that training starts from.
        ranges: Range of each tensor.
        parts: Its layers; all of them are rounded.
        scheme: How values become 8 bits.
        images: uint8 (n, H, W, 3) to train on, in random order, half of them mirrored.
        teacher: The float graph whose maps are the training target.
        steps: Steps of Adam, 8 images each, with a learning rate that decays to 0 (cosine).
        threads: CPU threads of the teacher; the runtime's choice by default.
        log: Called with the error, every 50 steps.

    Raises:
        ValueError: If the graph has an operator that cannot be trained here.
    """
    trained = dataclasses.replace(scheme, own_pairs=True, rounds_biases=False, reads_pixels=False)
    graph = quantize_graph(network, ranges, parts, parts.layers, trained)
    net = QdqNet(with_bias_pairs(graph, parts.layers) if scheme.power_of_two else graph)
    runner = Runner(teacher, threads=threads)
    optimizer = torch.optim.Adam(
        [
            {"params": [value], "lr": _RATE * float(value.detach().abs().max())}
            for value in net.parameters()
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    total = 0.0
    for step, batch in zip(range(1, steps + 1), _batches(images), strict=False):
        targets = [torch.from_numpy(maps) for maps in runner.maps(batch)]
        maps = net(torch.from_numpy(batch))
        loss = torch.stack(
            [
                F.mse_loss(output, target) / target.var()
                for output, target in zip(maps, targets, strict=True)
            ]
        )
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach().mean())
        if step % _LOG_INTERVAL == 0 or step == steps:
            error = total / (step % _LOG_INTERVAL or _LOG_INTERVAL)
            log(f"  fine-tuning, step {step} of {steps}: error of the maps {error:.3%}")
            total = 0.0
    return net.values()


class QdqNet(nn.Module):
    """A trainable copy of a graph of convolutions with Q/DQ pairs, from uint8 pixels to maps.

    Raises:
        ValueError: If it has another operator.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self._nodes = [(node, _attributes(node)) for node in model.graph.node]
        self._input = model.graph.input[0].name
        self._outputs = [tensor.name for tensor in model.graph.output]
        unknown = sorted({node.op_type for node, _ in self._nodes} - _OPERATORS.keys())
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} cannot be trained here; "
                f"expected a graph of {', '.join(sorted(_OPERATORS))}"
            )
        self._constants = {
            entry.name: torch.from_numpy(np.array(numpy_helper.to_array(entry)))
            for entry in model.graph.initializer
        }
        producer = {output: node for node in model.graph.node for output in node.output}
        self._limits: dict[str, tuple[Tensor, Tensor]] = {}
        self._names: list[str] = []
        for node, _ in self._nodes:
            for name in node.input[1:] if node.op_type in ("Conv", "ConvTranspose") else ():
                source = name
                while source in producer:  # through its Q/DQ pair
                    pair = producer[source]
                    if pair.op_type == "QuantizeLinear":
                        self._limits[pair.input[0]] = self._range(pair)
                    source = pair.input[0]
                self._names.append(source)
        self._trained = nn.ParameterList(
            [nn.Parameter(self._constants[name]) for name in self._names]
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of uint8 pixels (n, H, W, 3)."""
        tensors = {
            **self._constants,
            **dict(zip(self._names, self._trained, strict=True)),
            self._input: pixels,
        }
        for node, attributes in self._nodes:
            inputs = [tensors[name] if name else None for name in node.input]
            tensors[node.output[0]] = _OPERATORS[node.op_type](attributes, *inputs)
        return [tensors[name] for name in self._outputs]

    def values(self) -> dict[str, np.ndarray]:
        """Return the trained constants by name, clipped to the range of their levels."""
        values = {}
        for name, value in zip(self._names, self._trained, strict=True):
            clipped = value.detach()
            if name in self._limits:
                low, high = self._limits[name]
                clipped = torch.minimum(torch.maximum(clipped, low), high)
            values[name] = clipped.numpy().copy()
        return values

    def _range(self, pair: onnx.NodeProto) -> tuple[Tensor, Tensor]:
        """Return the smallest and largest weight that a Q/DQ pair does not clip."""
        weight, scale, zero = (self._constants[name] for name in pair.input[:3])
        axis = _attributes(pair).get("axis", 1)
        info = torch.iinfo(zero.dtype)
        step = _along(scale, weight, axis)
        offset = _along(zero.float(), weight, axis)
        return (info.min - offset) * step, (info.max - offset) * step


def _batches(images: Crops) -> Iterator[Crops]:
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, max(1, len(order) - _BATCH + 1), _BATCH):
            batch = images[order[start : start + _BATCH]]
            yield np.ascontiguousarray(batch[:, :, ::-1] if rng.random() < 0.5 else batch)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {
        attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
    }


def _along(value: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return one value per channel in a shape that broadcasts over ``like``; a scalar unchanged."""
    if value.numel() == 1:
        return value.reshape(())
    shape = [1] * like.dim()
    shape[axis] = -1
    return value.reshape(shape)


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return torch.round(value)  # half to even, as ONNX specifies

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:  # noqa: ARG004
        return gradients[0]


def _quantize(attributes: Mapping[str, Any], value: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return levels, as floats so that gradients pass."""
    axis = attributes.get("axis", 1)
    info = torch.iinfo(zero.dtype)
    levels: Tensor = _Round.apply(value / _along(scale, value, axis))  # pyright: ignore
    return torch.clamp(levels + _along(zero.float(), value, axis), info.min, info.max)


def _dequantize(
    attributes: Mapping[str, Any], levels: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", 1)
    offset = 0.0 if zero is None else _along(zero.float(), levels, axis)
    return (levels.float() - offset) * _along(scale, levels, axis)


def _padding(attributes: Mapping[str, Any], value: Tensor) -> tuple[Tensor, Sequence[int]]:
    """Return the input, padded if ONNX's padding is uneven, and the padding still to apply."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return value, (top, left)
    return F.pad(value, (left, right, top, bottom)), (0, 0)


def _conv(
    attributes: Mapping[str, Any], value: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    value, padding = _padding(attributes, value)
    return F.conv2d(
        value,
        weight,
        bias,
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=tuple(padding),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )


def _deconv(
    attributes: Mapping[str, Any], value: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    more_rows, more_columns = attributes.get("output_padding", (0, 0))
    return F.conv_transpose2d(
        value,
        weight,
        bias,
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=(top, left),
        output_padding=(more_rows + top - bottom, more_columns + left - right),
        groups=attributes.get("group", 1),
    )


def _max_pool(attributes: Mapping[str, Any], value: Tensor) -> Tensor:
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    padded = F.pad(value, (left, right, top, bottom), value=-math.inf)
    return F.max_pool2d(
        padded, tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1)))
    )


_INTERPOLATIONS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("nearest", "asymmetric"): {"mode": "nearest"},
    ("linear", "half_pixel"): {"mode": "bilinear", "align_corners": False},
    ("linear", "align_corners"): {"mode": "bilinear", "align_corners": True},
}
"""PyTorch's arguments for a Resize operator, by its mode and coordinate transformation."""


def _resize(
    attributes: Mapping[str, Any],
    value: Tensor,
    roi: Tensor | None,  # noqa: ARG001 - only other modes have one
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    mode = str(attributes.get("mode", b"nearest"), "ascii")
    transformation = str(
        attributes.get("coordinate_transformation_mode", b"half_pixel"), "ascii"
    ).removeprefix("pytorch_")
    arguments = _INTERPOLATIONS.get((mode, transformation))
    if arguments is None or (mode == "nearest" and attributes.get("nearest_mode") != b"floor"):
        raise ValueError(
            f"Resize with mode {mode} and {transformation} coordinates cannot be trained here; "
            "expected what PyTorch exports for interpolate, nearest or bilinear"
        )
    if sizes is not None and sizes.numel():
        return F.interpolate(value, size=sizes[2:].tolist(), **arguments)
    assert scales is not None
    return F.interpolate(value, scale_factor=scales[2:].tolist(), **arguments)


_OPERATORS: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda attributes, a, b: a + b,
    "Cast": lambda attributes, value: value.float(),
    "Clip": lambda attributes, value, low=None, high=None: torch.clamp(value, low, high),
    "Concat": lambda attributes, *values: torch.cat(values, dim=attributes["axis"]),
    "Conv": _conv,
    "ConvTranspose": _deconv,
    "DequantizeLinear": _dequantize,
    "Div": lambda attributes, a, b: a / b,
    "MaxPool": _max_pool,
    "QuantizeLinear": _quantize,
    "Relu": lambda attributes, value: F.relu(value),
    "Resize": _resize,
    "Sub": lambda attributes, a, b: a - b,
    "Transpose": lambda attributes, value: value.permute(*attributes["perm"]),
}
