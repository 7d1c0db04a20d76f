"""Tiny ONNX models for the tests of the linter, mostly of a single layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
_SIMPLE = {
    "relu": "Relu",
    "leaky-relu": "LeakyRelu",
    "sigmoid": "Sigmoid",
    "hard-swish": "HardSwish",
}
_FUSED = {*_SIMPLE, "hard-sigmoid", "swish", "relu6", "clip", "prelu", "batch-norm"}


class Sketch:
    """Builds a graph node by node; the last output is the graph's output."""

    def __init__(
        self, shape: Shape = (1, 8, 16, 16), *, kind: int = TensorProto.FLOAT, opset: int = 18
    ) -> None:
        self.inputs = [helper.make_tensor_value_info("x", kind, list(shape))]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.opset = opset
        self.metadata: dict[str, str] = {}
        self.last = "x"

    def input(self, name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> str:
        """Add an input; return its name."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weights(self, *shape: int, name: str | None = None, dtype: type = np.float32) -> str:
        """Add weights of zeros; return their name."""
        name = name or f"layer{len(self.initializers)}.weight"
        self.initializers.append(numpy_helper.from_array(np.zeros(shape, dtype), name))
        return name

    def node(
        self,
        operator: str,
        *inputs: str,
        outputs: int = 1,
        output: str | None = None,
        **attributes: Any,
    ) -> Sketch:
        """Add an operator; the input "*" is the last output, which is the default input."""
        read = [self.last if name == "*" else name for name in inputs or ("*",)]
        first = output or f"y{len(self.nodes)}"
        names = [first, *(f"{first}_{place}" for place in range(1, outputs))]
        domain, _, plain = operator.rpartition("::")
        self.nodes.append(
            helper.make_node(
                plain, read, names, name=f"{plain}_{len(self.nodes)}", domain=domain, **attributes
            )
        )
        self.last = first
        return self

    def conv(
        self,
        channels: int,
        read: int,
        kernel: tuple[int, ...] = (1, 1),
        *,
        kind: str = "conv",
        name: str | None = None,
        **attributes: Any,
    ) -> Sketch:
        """Add a convolution of one of the linter's kinds with ``read`` input channels."""
        groups = {"depthwise": read, "grouped": 2}.get(kind.partition("-")[0], 1)
        if "deconv" in kind:
            weights = self.weights(read, channels // groups, *kernel, name=name)
        else:
            weights = self.weights(channels, read // groups, *kernel, name=name)
        operator = "ConvTranspose" if "deconv" in kind else "Conv"
        return self.node(
            operator, "*", weights, group=groups, kernel_shape=list(kernel), **attributes
        )

    def model(self, *outputs: str) -> onnx.ModelProto:
        """Return the model, without the shapes of its outputs."""
        domains = {node.domain for node in self.nodes if node.domain}
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            self.inputs,
            [
                helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
                for name in outputs or (self.last,)
            ],
            self.initializers,
        )
        for value in graph.output:
            value.ClearField("type")
        model = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", self.opset),
                *(helper.make_opsetid(domain, 1) for domain in sorted(domains)),
            ],
        )
        helper.set_model_props(model, self.metadata)
        return model


def one_layer(kind: str, *, shape: Shape = (1, 8, 16, 16)) -> onnx.ModelProto:
    """Return a model with one layer of a kind, or of an ONNX operator of that name.

    Layers that hardware fuses come right after a convolution.
    """
    channels = int(shape[1])
    sketch = Sketch(shape)
    if kind.endswith("multiplied"):
        return sketch.conv(2 * channels, channels, (3, 3), kind=kind).model()
    if kind in ("conv-1d", "deconv-1d"):
        return Sketch((1, channels, 16)).conv(channels, channels, (3,), kind=kind).model()
    if kind.endswith("conv"):
        window = (
            {"kernel": (4, 4), "strides": [2, 2], "pads": [1] * 4}
            if "deconv" in kind
            else {"kernel": (3, 3), "pads": [1] * 4}
        )
        return sketch.conv(channels, channels, kind=kind, **window).model()
    if kind in _FUSED:
        return _after_convolution(sketch.conv(channels, channels), kind, channels).model()
    if kind == "pad":
        return (
            sketch.node("Pad", "*", sketch.constant([0, 0, 1, 1] * 2, np.int64))
            .conv(channels, channels, (3, 3))
            .model()
        )
    if kind in ("max-pool", "average-pool"):
        operator = "MaxPool" if kind == "max-pool" else "AveragePool"
        return sketch.node(operator, kernel_shape=[2, 2], strides=[2, 2]).model()
    if kind.startswith("global-"):
        operator = "GlobalMaxPool" if "max" in kind else "GlobalAveragePool"
        return Sketch((1, channels, 8, 8)).node(operator).model()
    if kind in ("add", "sub", "mul", "div"):
        return sketch.node(kind.capitalize(), "x", sketch.input("z", shape)).model()
    if kind.startswith("resize-"):
        return resize(mode=kind.removeprefix("resize-"))
    if kind == "concat":
        return sketch.node("Concat", "x", sketch.input("z", shape), axis=1).model()
    if kind == "fully-connected":
        return _gemm()
    if kind == "slice":
        return sliced(shape)
    if kind == "split":
        return sketch.node("Split", outputs=2, axis=1, num_outputs=2).model()
    if kind in ("depth-to-space", "space-to-depth", "DepthToSpace", "SpaceToDepth"):
        return sketch.node(
            "DepthToSpace" if kind[0] in "dD" else "SpaceToDepth", blocksize=2
        ).model()
    if kind == "transpose":
        return sketch.node("Transpose", perm=[0, 2, 3, 1]).model()
    if kind == "reshape":
        return sketch.node("Reshape", "*", sketch.constant([1, -1], np.int64)).model()
    if kind == "softmax":
        return sketch.node("Softmax", axis=1).model()
    return _operator(kind, sketch)


def _operator(kind: str, sketch: Sketch) -> onnx.ModelProto:
    """Return a model of one operator with the required number of inputs."""
    if kind == "Cast":
        return Sketch(kind=TensorProto.INT32).node("Cast", to=TensorProto.FLOAT).model()
    if kind in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum"):
        return sketch.node(kind, "*", sketch.constant([1], np.int64)).model()
    if kind == "Gather":
        return sketch.node("Gather", "*", sketch.constant([0, 1], np.int64), axis=1).model()
    if kind == "TopK":
        return sketch.node("TopK", "*", sketch.constant([3], np.int64), outputs=2).model()
    if kind == "Gemm":
        return _gemm()
    if not onnx.defs.has(kind):
        return sketch.node(f"made.up::{kind}").model()
    schema = onnx.defs.get_schema(kind)
    inputs = ["x"] * max(schema.min_input, 1)
    return sketch.node(kind, *inputs, outputs=max(schema.min_output, 1)).model()


def _after_convolution(sketch: Sketch, kind: str, channels: int) -> Sketch:
    before = sketch.last
    if kind in _SIMPLE:
        return sketch.node(_SIMPLE[kind])
    if kind == "hard-sigmoid":
        return sketch.node("HardSigmoid", alpha=1 / 6, beta=0.5)
    if kind == "swish":
        return sketch.node("Sigmoid").node("Mul", before, "*")
    if kind in ("relu6", "clip"):
        return sketch.node(
            "Clip", "*", sketch.constant(0.0), sketch.constant(6.0 if kind == "relu6" else 4.0)
        )
    if kind == "prelu":
        return sketch.node("PRelu", "*", sketch.constant(np.ones((channels, 1, 1))))
    statistics = [sketch.constant(np.ones(channels)) for _ in range(4)]
    return sketch.node("BatchNormalization", "*", *statistics)


def _gemm() -> onnx.ModelProto:
    sketch = Sketch((1, 32))
    return sketch.node("Gemm", "*", sketch.weights(32, 8)).model()


def sliced(shape: Shape, *, step: int = 1) -> onnx.ModelProto:
    """Return a model of one slice of the second to last dimension."""
    sketch = Sketch(shape)
    starts, ends, axes, steps = (sketch.constant([value], np.int64) for value in (0, 2, -2, step))
    return sketch.node("Slice", "*", starts, ends, axes, steps).model()


def resize(
    *,
    mode: str = "nearest",
    scale: float = 2.0,
    constant: bool = True,
    opset: int = 18,
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model of one resize."""
    sketch = Sketch(opset=opset)
    scales = sketch.constant([1, 1, scale, scale])
    if not constant:
        sketch.input("sizes", (4,), TensorProto.INT64)
        return sketch.node("Resize", "*", "", "", "sizes", mode=mode, **attributes).model()
    return sketch.node("Resize", "*", "", scales, mode=mode, **attributes).model()


def squeeze_excite(
    channels: int = 8, *, gate: str = "Sigmoid", mean: bool = False
) -> onnx.ModelProto:
    """Return a convolution, swish and a squeeze-and-excite block as in timm."""
    sketch = Sketch((1, channels, 16, 12)).conv(channels, channels)
    before = sketch.last
    sketch.node("Sigmoid").node("Mul", before, "*")
    squeezed = sketch.last
    if mean:
        sketch.node("ReduceMean", "*", sketch.constant([2, 3], np.int64), keepdims=1)
    else:
        sketch.node("GlobalAveragePool")
    sketch.conv(2, channels)
    reduced = sketch.last
    sketch.node("Sigmoid").node("Mul", reduced, "*").conv(channels, 2)
    return sketch.node(gate).node("Mul", squeezed, "*").conv(4, channels).model()
