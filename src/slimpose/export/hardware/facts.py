"""The kind of an ONNX operator, and the facts that rules of hardware targets refer to."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from slimpose.arrays import Size
from slimpose.export.hardware.graph import Node, OnnxGraph
from slimpose.export.hardware.layers import (
    Fact,
    KernelWindow,
    Padding,
    Shape,
    convolution_kind,
    same_pads,
)
from slimpose.messages import quoted

KINDS = {
    "Relu": "relu",
    "LeakyRelu": "leaky-relu",
    "PRelu": "prelu",
    "Sigmoid": "sigmoid",
    "HardSwish": "hard-swish",
    "Swish": "swish",
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "MaxPool": "max-pool",
    "AveragePool": "average-pool",
    "GlobalAveragePool": "global-average-pool",
    "GlobalMaxPool": "global-max-pool",
    "BatchNormalization": "batch-norm",
    "Concat": "concat",
    "Pad": "pad",
    "Softmax": "softmax",
    "Transpose": "transpose",
    "Reshape": "reshape",
    "Flatten": "reshape",
    "Squeeze": "reshape",
    "Unsqueeze": "reshape",
    "Slice": "slice",
    "Split": "split",
    "DepthToSpace": "depth-to-space",
    "SpaceToDepth": "space-to-depth",
    "Gemm": "fully-connected",
}
"""Kinds that depend on the operator only; others depend on its parameters, or are its own name."""
DERIVED_KINDS = frozenset(
    {
        *(
            f"{prefix}{kind}"
            for kind in ("conv", "deconv")
            for prefix in ("", "depthwise-", "grouped-", "dynamic-")
        ),
        *(f"depthwise-{kind}-multiplied" for kind in ("conv", "deconv")),
        *(f"{kind}-{rank}d" for kind in ("conv", "deconv") for rank in (1, 3)),
        *("relu6", "clip", "swish", "hard-sigmoid", "hard-swish", "global-average-pool"),
        *("fully-connected", "matmul", "resize-nearest", "resize-linear", "resize-cubic"),
    }
)
"""Kinds that depend on parameters, or belong to patterns of several operators."""

Description = tuple[str, dict[str, Fact], int]
"""Kind, facts and multiply-adds of an operator."""
_CONSTANT_INPUTS = {
    **dict.fromkeys(("Slice", "Squeeze", "Unsqueeze"), "constant_axes"),
    "PRelu": "constant_slope",
    "InstanceNormalization": "constant_weights",
}
"""Whether all inputs but the first are constant: the name of that fact."""


def describe(graph: OnnxGraph, node: Node) -> Description:
    """Return kind, facts and multiply-adds of one operator.

    Raises:
        ValueError: If it lacks a required input or parameter.
    """
    try:
        return _describe(graph, node)
    except (IndexError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        reason = (
            f"it lacks the parameter {error}"
            if isinstance(error, KeyError)
            else "an input is missing, or a parameter has another type or number of values"
        )
        raise ValueError(
            f"{node.operator} {quoted(node.name or node.outputs[0])} is not valid ONNX: {reason} "
            f"({len(node.inputs)} inputs, parameters {quoted(list(node.attributes))})"
        ) from error


def _describe(graph: OnnxGraph, node: Node) -> Description:
    facts = _common(graph, node)
    if node.operator in ("Conv", "ConvTranspose"):
        return _convolution(graph, node, facts)
    if node.operator in ("Gemm", "MatMul"):
        return _matrix(graph, node, facts)
    if node.operator in ("MaxPool", "AveragePool"):
        facts |= _pool(graph, node)
    elif node.operator in ("GlobalAveragePool", "GlobalMaxPool") or _is_spatial_mean(graph, node):
        kind = "global-max-pool" if node.operator == "GlobalMaxPool" else "global-average-pool"
        facts["constant_axes"] = True
        return kind, facts | _whole_map(graph, node), 0
    elif node.operator in ("Add", "Sub", "Mul", "Div"):
        facts["operands"] = _operands(graph, node)
    elif node.operator == "Clip":
        facts["constant_bounds"] = _constant(graph, node.inputs[1:])
        return clip_kind(graph, node), facts, 0
    elif node.operator == "HardSigmoid":
        slope, offset = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
        if abs(slope - 1 / 6) < 1e-3 and abs(offset - 0.5) < 1e-3:
            return "hard-sigmoid", facts, 0
    elif node.operator in ("Resize", "Upsample"):
        return _resize(graph, node, facts)
    elif node.operator == "Pad":
        facts |= _pad(graph, node)
    else:
        facts |= _others(graph, node)
    return KINDS.get(node.operator, node.operator), facts, 0


def clip_kind(graph: OnnxGraph, node: Node) -> str:
    """Return the kind of a Clip: relu, relu6 or any other clip."""
    bounds = clip_bounds(graph, node)
    if bounds is not None and bounds[0] == 0:
        if abs(bounds[1] - 6) < 1e-6:
            return "relu6"
        if bounds[1] > 1e30:
            return "relu"
    return "clip"


def clip_bounds(graph: OnnxGraph, node: Node) -> tuple[float, float] | None:
    """Return the bounds of a Clip, infinite if omitted; None if they are not constant."""
    bounds: list[float] = []
    for position, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        if name in node.attributes:
            bounds.append(float(node.attributes[name]))
        elif len(node.inputs) > position and node.inputs[position]:
            bound = scalar(graph, node.inputs[position])
            if bound is None:
                return None
            bounds.append(bound)
        else:
            bounds.append(default)
    return bounds[0], bounds[1]


def scalar(graph: OnnxGraph, name: str) -> float | None:
    """Return the value of a constant of one element, otherwise None."""
    value = graph.constants.get(name)
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def data_inputs(graph: OnnxGraph, node: Node) -> list[str]:
    """Return the inputs that depend on the graph's inputs."""
    return [name for name in node.inputs if name and name not in graph.constants]


def _common(graph: OnnxGraph, node: Node) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "inputs": len(data_inputs(graph, node)),
        "outputs": sum(bool(name) for name in node.outputs),
    }
    name = next(iter(data_inputs(graph, node)), "")
    if name in graph.types:
        facts["input_type"] = graph.types[name]
    if node.outputs[0] in graph.types:
        facts["output_type"] = graph.types[node.outputs[0]]
    if (shape := graph.shapes.get(name)) is not None:
        facts["rank"] = len(shape)
        if len(shape) > 1:
            facts["channels"] = shape[1]
    return facts


def _convolution(graph: OnnxGraph, node: Node, facts: dict[str, Fact]) -> Description:
    transposed = node.operator == "ConvTranspose"
    name = "deconv" if transposed else "conv"
    weights, read = graph.shapes.get(node.inputs[1]), graph.shapes.get(node.inputs[0])
    facts["constant_weights"] = node.inputs[1] in graph.constants
    facts["auto_pad"] = _text(node.attributes.get("auto_pad", "NOTSET"))
    if weights is None:
        return name if facts["constant_weights"] else f"dynamic-{name}", facts, 0
    rank, groups = len(weights) - 2, int(node.attributes.get("group", 1))
    facts |= {"spatial_rank": rank, "groups": groups}
    if transposed:
        in_channels, out_channels = weights[0], weights[1] * groups
    else:
        in_channels, out_channels = weights[1] * groups, weights[0]
    facts |= {"in_channels": in_channels, "out_channels": out_channels}
    maps = read if transposed else graph.shapes.get(node.outputs[0])
    macs = maps[0] * prod(weights) * prod(maps[2:]) if maps else 0
    if rank == 2:
        window = _window(node, weights[2:], read, transposed=transposed)
        facts |= window.facts()
        if transposed:
            vertical, horizontal = node.attributes.get("output_padding", (0, 0))
            facts |= {"output_padding_height": vertical, "output_padding_width": horizontal}
    if not facts["constant_weights"]:
        return f"dynamic-{name}", facts, macs
    if rank != 2:
        return f"{name}-{rank}d", facts, macs
    kind = convolution_kind(
        transposed=transposed, groups=groups, in_channels=in_channels, out_channels=out_channels
    )
    return kind, facts, macs


def _window(node: Node, kernel: Shape, read: Shape | None, *, transposed: bool) -> KernelWindow:
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    size = (kernel[0], kernel[1])
    auto = _text(node.attributes.get("auto_pad", "NOTSET"))
    pads = Padding(*node.attributes.get("pads", (0, 0, 0, 0)))
    if read is not None and (auto.startswith("SAME") or "output_shape" in node.attributes):
        sides = Size(*read[2:4])
        if transposed:
            default = [side * step for side, step in zip(sides, stride, strict=True)]
            output = node.attributes.get("output_shape", default)[-2:]
            total = [
                max(step * (side - 1) + (taps - 1) * spread + 1 - out, 0)
                for side, step, taps, spread, out in zip(
                    sides, stride, size, dilation, output, strict=True
                )
            ]
            pads = Padding(total[0] // 2, total[1] // 2, -(-total[0] // 2), -(-total[1] // 2))
        else:
            pads = same_pads(sides, size, stride, dilation=dilation)
        if auto == "SAME_LOWER":
            pads = Padding(pads.bottom, pads.right, pads.top, pads.left)
    return KernelWindow(kernel=size, stride=stride, dilation=dilation, pads=pads)


def _pair(node: Node, name: str) -> tuple[int, int]:
    vertical, horizontal = node.attributes.get(name, (1, 1))
    return int(vertical), int(horizontal)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _matrix(graph: OnnxGraph, node: Node, facts: dict[str, Fact]) -> Description:
    weights, written = graph.shapes.get(node.inputs[1]), graph.shapes.get(node.outputs[0])
    constant = node.inputs[1] in graph.constants
    macs = 0
    if weights is not None and len(weights) == 2 and written is not None:
        macs = weights[0] * weights[1] * prod(written[:-1])
        swapped = bool(node.attributes.get("transB", 0))
        facts |= {
            "in_channels": weights[1] if swapped else weights[0],
            "out_channels": weights[0 if swapped else 1],
        }
    return "fully-connected" if constant else "matmul", facts, macs if constant else 0


def _pool(graph: OnnxGraph, node: Node) -> dict[str, Fact]:
    kernel = tuple(node.attributes.get("kernel_shape", ()))
    facts: dict[str, Fact] = {"spatial_rank": len(kernel)}
    if len(kernel) == 2:
        facts |= _window(node, kernel, graph.shapes.get(node.inputs[0]), transposed=False).facts()
    return facts


def _whole_map(graph: OnnxGraph, node: Node) -> dict[str, Fact]:
    shape = graph.shapes.get(node.inputs[0])
    if shape is None or len(shape) != 4:
        return {}
    return {"spatial_rank": 2, **KernelWindow(kernel=(shape[2], shape[3])).facts()}


def _is_spatial_mean(graph: OnnxGraph, node: Node) -> bool:
    if node.operator != "ReduceMean":
        return False
    axes: Any = node.attributes.get("axes")
    shape = graph.shapes.get(node.inputs[0])
    if axes is None and len(node.inputs) > 1:
        axes = graph.constants.get(node.inputs[1])
    if axes is None or shape is None or len(shape) != 4 or not node.attributes.get("keepdims", 1):
        return False
    return sorted(int(axis) % 4 for axis in np.asarray(axes).reshape(-1)) == [2, 3]


def _operands(graph: OnnxGraph, node: Node) -> str:
    if any(name in graph.constants for name in node.inputs[:2]):
        return "constant"
    shapes = [graph.shapes.get(name) for name in node.inputs[:2]]
    if None in shapes:
        return "unknown"
    return "same" if shapes[0] == shapes[1] else "broadcast"


def _constant(graph: OnnxGraph, names: tuple[str, ...]) -> bool:
    return all(not name or name in graph.constants for name in names)


def _resize(graph: OnnxGraph, node: Node, facts: dict[str, Fact]) -> Description:
    mode = _text(node.attributes.get("mode", "nearest"))
    facts |= {
        "mode": mode,
        "coordinates": _text(node.attributes.get("coordinate_transformation_mode", "half_pixel")),
        "nearest_mode": _text(node.attributes.get("nearest_mode", "round_prefer_floor")),
        "antialias": int(node.attributes.get("antialias", 0)),
        "constant_size": _constant(graph, node.inputs[1:]),
    }
    read, written = graph.shapes.get(node.inputs[0]), graph.shapes.get(node.outputs[0])
    if read is not None and written is not None and len(read) == 4:
        facts["whole_scale"] = written[2] % read[2] == 0 and written[3] % read[3] == 0
    return f"resize-{mode}", facts, 0


def _pad(graph: OnnxGraph, node: Node) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"mode": _text(node.attributes.get("mode", "constant"))}
    facts["constant_pads"] = _constant(graph, node.inputs[1:])
    amounts = node.attributes.get("pads")
    if amounts is None and len(node.inputs) > 1:
        amounts = graph.constants.get(node.inputs[1])
    if amounts is not None:
        ends = [int(amount) for amount in np.asarray(amounts).reshape(-1)]
        half = len(ends) // 2
        facts["least_pad"] = min(ends, default=0)
        facts["pads_map_only"] = not any(
            ends[axis] or ends[half + axis] for axis in range(max(half - 2, 0))
        )
    value = node.attributes.get("value", 0.0)
    if len(node.inputs) > 2 and node.inputs[2]:
        value = scalar(graph, node.inputs[2])
    if value is not None:
        facts["pads_zero"] = value == 0
    return facts


def _others(graph: OnnxGraph, node: Node) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    attributes = node.attributes
    fact = "constant_axes" if node.operator.startswith("Reduce") else ""
    if fact := _CONSTANT_INPUTS.get(node.operator, fact):
        facts[fact] = _constant(graph, node.inputs[1:])
    if node.operator == "Slice":
        steps = graph.constants.get(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
        if steps is not None:
            facts["unit_steps"] = bool((steps == 1).all())
    elif node.operator == "TopK":
        facts["sorted"] = int(attributes.get("sorted", 1))
        if (count := scalar(graph, node.inputs[1])) is not None:
            facts["k"] = int(count)
    elif node.operator in ("DepthToSpace", "SpaceToDepth"):
        facts |= {
            "mode": _text(attributes.get("mode", "DCR")),
            "block_size": int(attributes["blocksize"]),
        }
    elif node.operator == "BatchNormalization":
        facts["training_mode"] = int(attributes.get("training_mode", 0))
    elif (
        node.operator in ("Gather", "GatherElements", "GatherND")
        and (shape := graph.shapes.get(node.inputs[1])) is not None
    ):
        facts["indices_rank"] = len(shape)
    return facts
