"""For every limit of every target: a model that breaks it and one exactly at the limit.

A rule without a case fails in ``test_rules.py``: add a case with every new rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from lint_graphs import Sketch, one_layer, resize, sliced
from slimpose.export.hardware.target import Target

Pair = tuple[onnx.ModelProto, onnx.ModelProto]
"""A model that breaks the limit, and one at the limit."""
Case = Callable[[Target, str], Pair]


def _parallel(target: Target) -> int:
    return int(target.parameters["channel_parallel"])


def _isa1(target: Target) -> bool:
    return target.name.endswith("isa1")


def _conv(
    kind: str, channels: int, kernel: tuple[int, int] = (1, 1), **attributes: Any
) -> onnx.ModelProto:
    """Return one convolution of a 32x32 map; ``out`` channels are as many as inputs by default."""
    out = attributes.pop("out", channels)
    size = attributes.pop("size", (32, 32))
    return Sketch((1, channels, *size)).conv(out, channels, kernel, kind=kind, **attributes).model()


def _convs(broken: dict[str, Any], valid: dict[str, Any], **common: Any) -> Case:
    """Return two convolutions of as many channels as the target computes at once."""
    return lambda target, kind: (
        _conv(kind, _parallel(target), **common, **broken),
        _conv(kind, _parallel(target), **common, **valid),
    )


def _dilation(target: Target, kind: str) -> Pair:
    return _channels(target, kind, 128 * _parallel(target), dilations=[2, 2])


def _channels(target: Target, kind: str, most: int, **attributes: Any) -> Pair:
    """Return convolutions of too many and of ``most`` channels.

    Output channels are few, if they may differ, so that only one limit is tested.
    """
    if not kind.startswith("depthwise"):
        attributes["out"] = _parallel(target)
    return _conv(kind, most + _parallel(target), **attributes), _conv(kind, most, **attributes)


def _bank(target: Target, kind: str) -> Pair:
    """Return the case of the paper's figure 3: 5x5 kernels, 648 channels on B1024."""
    most = int(target.parameters["bank_depth"]) // 25 * _parallel(target)
    return _channels(target, kind, most, kernel=(5, 5))


def _in_channels(target: Target, kind: str) -> Pair:
    most = 256 * _parallel(target)
    return _conv(kind, most + 1, out=8), _conv(kind, most, out=8)


def _out_channels(target: Target, kind: str) -> Pair:
    most = 256 * _parallel(target)
    if kind.startswith("depthwise"):
        return _conv(kind, most + _parallel(target)), _conv(kind, most)
    return _conv(kind, _parallel(target), out=most + 1), _conv(kind, _parallel(target), out=most)


def _depthwise_kernel(target: Target, kind: str) -> Pair:
    most = 256 if _isa1(target) else 16
    return _convs({"kernel": (most + 1, 1)}, {"kernel": (most, 1)}, size=(300, 4))(target, kind)


def _depthwise_stride(target: Target, kind: str) -> Pair:
    most = 256 if _isa1(target) else 8
    return _convs({"strides": [most + 1, 1]}, {"strides": [most, 1]}, size=(600, 4))(target, kind)


def _two_maps(
    operator: str, channels: int, *, other: tuple[int, ...] = (16, 16)
) -> onnx.ModelProto:
    sketch = Sketch((1, channels, 16, 16))
    return sketch.node(operator, "x", sketch.input("z", (1, channels, *other))).model()


def _operands(target: Target, kind: str) -> Pair:
    return (
        _two_maps(kind.capitalize(), _parallel(target), other=(1, 1)),
        _two_maps(kind.capitalize(), _parallel(target)),
    )


def _map_channels(target: Target, kind: str) -> Pair:
    most = 256 * _parallel(target)
    return _two_maps(kind.capitalize(), most + 1), _two_maps(kind.capitalize(), most)


def _fused(*, broken_after: str) -> Case:
    """Return an activation after a layer it cannot be fused into, and after a convolution."""
    operators = {
        "relu": ("Relu", {}),
        "leaky-relu": ("LeakyRelu", {}),
        "hard-swish": ("HardSwish", {}),
        "hard-sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    }

    def case(target: Target, kind: str) -> Pair:
        channels = _parallel(target) if "channel_parallel" in target.parameters else 8
        sketch = Sketch((1, channels, 16, 16))
        if broken_after == "add":
            sketch.node("Add", "x", sketch.input("z", (1, channels, 16, 16)))
        elif broken_after != "input":
            sketch.conv(channels, channels, (4, 4), kind=broken_after)
        if kind == "relu6":
            sketch.node("Clip", "*", sketch.constant(0.0), sketch.constant(6.0))
        elif kind == "batch-norm":
            sketch.node(
                "BatchNormalization", "*", *(sketch.constant([1.0] * channels) for _ in range(4))
            )
        else:
            operator, attributes = operators[kind]
            sketch.node(operator, **attributes)
        return sketch.model(), one_layer(kind, shape=(1, channels, 16, 16))

    return case


def _leaky(target: Target, kind: str) -> Pair:
    return _fused(broken_after="add" if _isa1(target) else "depthwise-conv")(target, kind)


def _pool(
    kind: str, kernel: tuple[int, int], *, opset: int = 18, **attributes: Any
) -> onnx.ModelProto:
    if kind.startswith("global"):
        operator = "GlobalMaxPool" if "max" in kind else "GlobalAveragePool"
        return Sketch((1, 8, *kernel)).node(operator).model()
    operator = "MaxPool" if kind in ("max-pool", "MaxPool") else "AveragePool"
    return (
        Sketch((1, 8, 600, 600), opset=opset)
        .node(operator, kernel_shape=list(kernel), **attributes)
        .model()
    )


def _pool_kernel(target: Target, kind: str) -> Pair:
    if _isa1(target):
        return _pool(kind, (257, 1)), _pool(kind, (256, 1))
    return _pool(kind, (9, 9)), _pool(kind, (8, 8))


def _pool_stride(target: Target, kind: str) -> Pair:
    most = 256 if _isa1(target) else 8
    return _pool(kind, (2, 2), strides=[most + 1, 1]), _pool(kind, (2, 2), strides=[most, 1])


def _alu_padding(target: Target, kind: str) -> Pair:
    def model(pad: int) -> onnx.ModelProto:
        if kind == "depthwise-conv":
            return _conv(kind, _parallel(target), (1, 17), pads=[0, pad, 0, 0])
        return _pool(kind, (1, 17), pads=[0, pad, 0, 0])

    return model(16), model(15)


def _multiple(target: Target, kind: str) -> Pair:
    multiple = int(target.parameters["channel_multiple"])

    def model(channels: int) -> onnx.ModelProto:
        out = channels if kind.startswith("depthwise") else multiple
        return (
            Sketch((1, 3, 32, 32)).conv(channels, 3).conv(out, channels, (4, 4), kind=kind).model()
        )

    return model(multiple + 1), model(multiple)


def _opset(target: Target, _kind: str) -> Pair:
    latest = {"tensorrt-7": 11, "tensorrt-10": 24}[target.name]
    return Sketch(opset=latest + 1).node("Relu").model(), Sketch(opset=latest).node("Relu").model()


def _bytes(_target: Target, _kind: str) -> Pair:
    first_transposed = Sketch((1, 16, 12, 3), kind=TensorProto.UINT8, opset=11)
    return (
        first_transposed.node("Transpose", perm=[0, 3, 1, 2])
        .node("Cast", to=TensorProto.FLOAT)
        .model(),
        Sketch((1, 16, 12, 3), opset=11).node("Transpose", perm=[0, 3, 1, 2]).model(),
    )


def _rank(_target: Target, kind: str) -> Pair:
    if kind in ("AveragePool", "MaxPool"):
        flat = Sketch((1, 8, 16), opset=11).node(kind, kernel_shape=[2]).model()
        return flat, Sketch(opset=11).node(kind, kernel_shape=[2, 2]).model()
    word = "deconv" if kind == "ConvTranspose" else "conv"
    return one_layer(f"{word}-1d"), one_layer(word)


def _pool_dilation(_target: Target, kind: str) -> Pair:
    return (
        _pool(kind, (2, 2), opset=19, dilations=[2, 2]),
        _pool(kind, (2, 2), opset=19, dilations=[1, 1]),
    )


def _axes(_target: Target, kind: str) -> Pair:
    def model(*, constant: bool) -> onnx.ModelProto:
        sketch = Sketch((1, 8, 1, 16))
        axes = (
            sketch.constant([2], np.int64)
            if constant
            else sketch.input("axes", (1,), TensorProto.INT64)
        )
        return sketch.node(kind, "*", axes).model()

    return model(constant=False), model(constant=True)


def _from_input(
    operator: str, shape: tuple[int, ...], valid: Callable[[], onnx.ModelProto], place: int = 1
) -> Case:
    """Return a model whose parameter is a graph input, and one whose parameter is constant."""

    def case(_target: Target, _kind: str) -> Pair:
        sketch = Sketch(opset=11)
        parameter = sketch.input("parameter", shape)
        others = [sketch.constant([1.0] * 8) for _ in range(place - 1)]
        return sketch.node(operator, "*", *others, parameter).model(), valid()

    return case


def _instance_norm() -> onnx.ModelProto:
    sketch = Sketch(opset=11)
    return sketch.node(
        "InstanceNormalization", "*", *(sketch.constant([1.0] * 8) for _ in range(2))
    ).model()


def _slice_axes(_target: Target, _kind: str) -> Pair:
    sketch = Sketch(opset=11)
    starts, ends = sketch.constant([0], np.int64), sketch.constant([2], np.int64)
    axes = sketch.input("axes", (1,), TensorProto.INT64)
    return sketch.node("Slice", "*", starts, ends, axes).model(), sliced((1, 8, 16, 16))


def _with(attributes: tuple[dict[str, Any], dict[str, Any]], **common: Any) -> Case:
    """Return two resizes."""
    broken, valid = attributes
    return lambda target, kind: (
        resize(**{"mode": _mode(kind), **common, **broken}),
        resize(**{"mode": _mode(kind), **common, **valid}),
    )


def _mode(kind: str) -> str:
    return "linear" if kind.endswith("linear") else "nearest"


def _models(model: Callable[[Any], onnx.ModelProto], broken: Any, valid: Any) -> Case:
    """Return a model with a broken value, and one with a valid value."""
    return lambda target, kind: (model(broken), model(valid))


def _padded(mode: str, amount: int = 1) -> onnx.ModelProto:
    sketch = Sketch()
    pads = sketch.constant([0, 0, amount, amount] * 2, np.int64)
    return sketch.node("Pad", "*", pads, mode=mode).conv(8, 8, (3, 3)).model()


def _indices(outputs: tuple[str, ...]) -> onnx.ModelProto:
    return Sketch().node("MaxPool", outputs=len(outputs), kernel_shape=[2, 2]).model(*outputs)


def _top_k(count: int) -> onnx.ModelProto:
    sketch = Sketch((1, 5000))
    return sketch.node("TopK", "*", sketch.constant([count], np.int64), outputs=2).model()


def _joined(operator: str, count: int, **attributes: Any) -> onnx.ModelProto:
    sketch = Sketch()
    inputs = [sketch.input(f"z{number}", (1, 8, 16, 16)) for number in range(count)]
    return sketch.node(operator, *inputs, **attributes).model()


def _split(count: int) -> onnx.ModelProto:
    sketch = Sketch((1, 20, 4, 4)).node("Split", outputs=count, axis=1, num_outputs=count)
    return sketch.model("y0", "y0_1", f"y0_{count - 1}")


def _gather(indices: list[Any]) -> onnx.ModelProto:
    sketch = Sketch()
    return sketch.node("Gather", "*", sketch.constant(indices, np.int64), axis=1).model()


def _blocks(_target: Target, kind: str) -> Pair:
    operator = "DepthToSpace" if kind.startswith("depth") else "SpaceToDepth"
    broken, valid = (Sketch().node(operator, blocksize=size).model() for size in (1, 2))
    return broken, valid


def _batch_norm(training: int) -> onnx.ModelProto:
    sketch = Sketch().conv(8, 8)
    ones = [sketch.constant([1.0] * 8) for _ in range(4)]
    return sketch.node(
        "BatchNormalization", "*", *ones, outputs=3 if training else 1, training_mode=training
    ).model()


def _resize_mode(target: Target, _kind: str) -> Pair:
    """TensorRT 7 supports only asymmetric coordinates and opset 11."""
    if target.name == "tensorrt-7":
        valid = {"opset": 11, "coordinate_transformation_mode": "asymmetric"}
        return resize(mode="linear", opset=11), resize(mode="linear", **valid)
    return resize(mode="cubic"), resize(mode="linear")


CASES: dict[str, Case] = {
    "conv-kernel": _convs({"kernel": (17, 1)}, {"kernel": (16, 16)}),
    "conv-stride": _convs({"strides": [9, 9]}, {"strides": [8, 8]}, kernel=(9, 9)),
    "conv-padding": _convs({"pads": [2, 2, 2, 3]}, {"pads": [2, 2, 2, 2]}, kernel=(3, 3)),
    "conv-dilation": _dilation,
    "weight-bank": _bank,
    "depthwise-bank": _bank,
    "in-channels": _in_channels,
    "out-channels": _out_channels,
    "depthwise-kernel": _depthwise_kernel,
    "depthwise-stride": _depthwise_stride,
    "deconv-padding": _convs({"pads": [4] * 4}, {"pads": [3] * 4}, kernel=(4, 4), strides=[2, 2]),
    "deconv-output-padding": _convs(
        {"kernel": (3, 3), "output_padding": [1, 1]},
        {"kernel": (4, 4)},
        strides=[2, 2],
        pads=[1] * 4,
    ),
    "deconv-stride": _convs({"kernel": (2, 2)}, {"kernel": (3, 3)}, strides=[3, 3]),
    "add-operands": _operands,
    "add-channels": _map_channels,
    "mul-operands": _operands,
    "mul-channels": _map_channels,
    "relu-after": _fused(broken_after="input"),
    "relu6-after": _fused(broken_after="add"),
    "leaky-relu-after": _leaky,
    "batch-norm-after": _fused(broken_after="input"),
    "hard-functions-after": _fused(broken_after="add"),
    "pad-fuses": _models(_padded, "reflect", "constant"),
    "max-pool-kernel": _pool_kernel,
    "average-pool-kernel": _pool_kernel,
    "pool-stride": _pool_stride,
    "alu-padding": _alu_padding,
    "channel-multiple": _multiple,
    "resize-whole": _with(({"scale": 1.5}, {"scale": 3.0})),
    "opset": _opset,
    "uint8-ends-only": _bytes,
    "no-uint8": _bytes,
    "float": _bytes,
    "pool-rank": _rank,
    "rank": _rank,
    "pool-dilation": _pool_dilation,
    "max-pool-indices": _models(_indices, ("y0", "y0_1"), ("y0",)),
    "top-k": _models(_top_k, 3840, 3839),
    "reduce-axes": _axes,
    "constant-axes": _axes,
    "deconv-weights": _from_input("ConvTranspose", (8, 8, 4, 4), lambda: one_layer("deconv")),
    "clip-bounds": _from_input("Clip", (), lambda: one_layer("clip")),
    "instance-norm-weights": _from_input("InstanceNormalization", (8,), _instance_norm, place=2),
    "pad-map": _models(_padded, "reflect", "constant"),
    "slice-axes": _slice_axes,
    "resize-mode": _resize_mode,
    "resize-rounding": _with(
        ({"nearest_mode": "ceil"}, {"nearest_mode": "floor"}),
        opset=11,
        coordinate_transformation_mode="asymmetric",
        mode="nearest",
    ),
    "resize-coordinates": _with(
        (
            {"coordinate_transformation_mode": "half_pixel_symmetric", "opset": 19},
            {"coordinate_transformation_mode": "half_pixel"},
        )
    ),
    "two-operands": lambda target, kind: (_joined(kind, 3), _joined(kind, 2)),
    "concat-inputs": _models(lambda count: _joined("Concat", count, axis=1), 5, 4),
    "pool-one": lambda target, kind: (
        _pool(kind, (1, 1), strides=[2, 2]),
        _pool(kind, (2, 2), strides=[2, 2]),
    ),
    "pads": _models(lambda amount: _padded("constant", amount), -1, 1),
    "prelu-slope": _from_input("PRelu", (8, 1, 1), lambda: one_layer("prelu")),
    "resize-size": _with(({"constant": False}, {})),
    "mean-rank": _models(
        lambda shape: Sketch(shape).node("GlobalAveragePool").model(), (1, 8, 4, 4, 4), (1, 8, 4, 4)
    ),
    "split-outputs": _models(_split, 5, 4),
    "slice-steps": _models(lambda step: sliced((1, 8, 16, 16), step=step), 2, 1),
    "slice-rank": _models(sliced, (8, 16), (1, 8, 16)),
    "block-size": _blocks,
    "pad-mode": _models(_padded, "edge", "reflect"),
    "cast-types": _models(
        lambda kind: Sketch(kind=kind).node("Cast", to=TensorProto.FLOAT).model(),
        TensorProto.UINT8,
        TensorProto.INT32,
    ),
    "gather-indices": _models(_gather, [[0, 1], [2, 3]], [0, 1, 2, 3]),
    "deconv-activation": _fused(broken_after="deconv"),
    "deconv-auto-pad": lambda target, kind: (
        Sketch().conv(8, 8, (4, 4), kind="deconv", strides=[2, 2], auto_pad="SAME_UPPER").model(),
        one_layer("deconv"),
    ),
    "depth-to-space-order": _models(
        lambda mode: Sketch().node("DepthToSpace", blocksize=2, mode=mode).model(), "DCR", "CRD"
    ),
    "batch-norm-mode": _models(_batch_norm, 1, 0),
}
