"""Quantization-aware fine-tuning: weights moved until the rounded graph's maps are those of the float graph again.

The Q/DQ graph itself is what is trained, read into PyTorch operator by operator; no labels are
needed, because the float graph says what the maps should be. Rounding passes gradients on
unchanged, within the range it does not cut.

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
from slimpose.export.quantization.schemes import Scheme

_RATE = 0.003 / 127
"""Adam's, as a share of a tensor's largest value (0.003 levels): tensors differ tenfold in size, and one rate for all
would shake the small ones."""
_BATCH = 8

Report = Callable[[str], None]


def fine_tune(
    network: onnx.ModelProto,
    ranges: TensorsData,
    parts: GraphParts,
    scheme: Scheme,
    pictures: Crops,
    *,
    teacher: onnx.ModelProto,
    steps: int,
    threads: int | None,
    tell: Report = lambda line: None,
) -> dict[str, np.ndarray]:
    """Return new weights and biases by name; where they are rounded, they are within the range of their levels.

    Args:
        network: The float graph from pixels to maps, to begin with.
        ranges: Of its tensors.
        parts: Its layers; all of them are rounded.
        scheme: How.
        pictures: uint8 (n, H, W, 3) to learn on, in random order, mirrored half the time.
        teacher: The float graph whose maps are to be reached.
        steps: Of Adam, 8 pictures each, at a rate that falls to nothing.
        threads: CPU threads; None for the runtime's choice.
        tell: Is told the error, every 50 steps.

    Raises:
        ValueError: If the graph holds an operator that cannot be trained here.
    """
    trained = dataclasses.replace(scheme, own_pairs=True, rounds_biases=False, reads_pixels=False)
    graph = quantize_graph(network, ranges, parts, parts.layers, trained)
    net = QdqNet(with_bias_pairs(graph, parts.layers) if scheme.power_of_two else graph)
    seen = Runner(teacher, threads=threads)
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
    for step, chosen in zip(range(1, steps + 1), _batches(pictures), strict=False):
        truth = [torch.from_numpy(maps) for maps in seen.maps(chosen)]
        maps = net(torch.from_numpy(chosen))
        loss = torch.stack(
            [
                F.mse_loss(mine, theirs) / theirs.var()
                for mine, theirs in zip(maps, truth, strict=True)
            ]
        )
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach().mean())
        if step % 50 == 0 or step == steps:
            tell(
                f"  fine-tuning, step {step} of {steps}: error of the maps {total / (step % 50 or 50):.3%}"
            )
            total = 0.0
    return net.values()


class QdqNet(nn.Module):
    """A graph of convolutions with Q/DQ pairs about float weights, from uint8 pixels to maps, trainable.

    Raises:
        ValueError: If it holds another operator.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self._nodes = [(node, _attributes(node)) for node in model.graph.node]
        self._input = model.graph.input[0].name
        self._outputs = [put.name for put in model.graph.output]
        unknown = sorted({node.op_type for node, _ in self._nodes} - _OPERATORS.keys())
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} cannot be trained here; expected a graph of {', '.join(sorted(_OPERATORS))}"
            )
        self._constants = {
            entry.name: torch.from_numpy(np.array(numpy_helper.to_array(entry)))
            for entry in model.graph.initializer
        }
        maker = {output: node for node in model.graph.node for output in node.output}
        self._limits: dict[str, tuple[Tensor, Tensor]] = {}
        self._names: list[str] = []
        for node, _ in self._nodes:
            for name in node.input[1:] if node.op_type in ("Conv", "ConvTranspose") else ():
                source = name
                while source in maker:  # through its Q/DQ pair
                    pair = maker[source]
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
            put = [tensors[name] if name else None for name in node.input]
            tensors[node.output[0]] = _OPERATORS[node.op_type](attributes, *put)
        return [tensors[name] for name in self._outputs]

    def values(self) -> dict[str, np.ndarray]:
        """Return the trained constants by name, cut to what their levels reach."""
        cut = {}
        for name, value in zip(self._names, self._trained, strict=True):
            kept = value.detach()
            if name in self._limits:
                low, high = self._limits[name]
                kept = torch.minimum(torch.maximum(kept, low), high)
            cut[name] = kept.numpy().copy()
        return cut

    def _range(self, pair: onnx.NodeProto) -> tuple[Tensor, Tensor]:
        """Smallest and largest value that a Q/DQ pair about weights keeps."""
        weight, scale, zero = (self._constants[name] for name in pair.input[:3])
        axis = _attributes(pair).get("axis", 1)
        info = torch.iinfo(zero.dtype)
        each = _along(scale, weight, axis)
        offset = _along(zero.float(), weight, axis)
        return (info.min - offset) * each, (info.max - offset) * each


def _batches(pictures: Crops) -> Iterator[Crops]:
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(pictures))
        for start in range(0, max(1, len(order) - _BATCH + 1), _BATCH):
            chosen = pictures[order[start : start + _BATCH]]
            yield np.ascontiguousarray(chosen[:, :, ::-1] if rng.random() < 0.5 else chosen)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {
        attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
    }


def _along(value: Tensor, like: Tensor, axis: int) -> Tensor:
    """A value a channel in the shape that spreads it over ``like``; a single one as it is."""
    if value.numel() == 1:
        return value.reshape(())
    shape = [1] * like.dim()
    shape[axis] = -1
    return value.reshape(shape)


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return torch.round(value)  # half to even, as ONNX says

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:  # noqa: ARG004
        return gradients[0]


def _quantize(attributes: Mapping[str, Any], value: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Levels, as floats so that gradients pass."""
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
    """The picture padded where ONNX's padding is uneven, and the padding that is left to do."""
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
    "Sub": lambda attributes, a, b: a - b,
    "Transpose": lambda attributes, value: value.permute(*attributes["perm"]),
}
