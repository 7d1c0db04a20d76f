"""The parts of a slimpose ONNX graph: normalization, network (which is quantized) and decoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

from slimpose.arrays import Crops
from slimpose.runtime.onnx_file import CPU, session_options
from slimpose.runtime.session import ModelInfo, read_info

_CONVOLUTIONS = ("Conv", "ConvTranspose")
PASSTHROUGH_OPS = ("Relu", "Clip", "MaxPool", "Concat")
"""Operators that compute in 8 bits between INT8 layers: an activation becomes the limits of its
input's range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphParts:
    """Names of a graph's nodes and maps, by how they are quantized.

    Attributes:
        layers: Nodes to quantize, in the graph's order: convolutions and sums of two branches.
        passthrough: Nodes between them that leave the scale of values as it is.
        kept_float: Convolutions that stay float: those that produce the maps, because the decoding
            needs their precision for fractions of a cell, and transposed convolutions that are not
            to be quantized.
        outside: Nodes before the first convolution and after the last.
        maps: The tensors that the decoding starts from.
    """

    layers: tuple[str, ...]
    passthrough: tuple[str, ...]
    kept_float: tuple[str, ...]
    outside: tuple[str, ...]
    maps: tuple[str, ...]


def read_float_model(path: Path) -> tuple[onnx.ModelProto, ModelInfo]:
    """Return a float slimpose model, with a unique name for every node, and its metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, not a slimpose model, or not float.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx and protobuf share no public base class of errors
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a readable ONNX file (truncated?): {reason}") from error
    info = read_info(path, {entry.key: entry.value for entry in model.metadata_props})
    quantized = any(
        node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv")
        for node in model.graph.node
    )
    if info.precision != "fp32" or quantized:
        precision = "int8" if quantized else info.precision
        raise ValueError(
            f"{path} is already {precision}; expected the fp32 file that it was made from"
        )
    uses = Counter(node.name for node in model.graph.node)
    for number, node in enumerate(model.graph.node):
        if not node.name or uses[node.name] > 1:
            node.name = f"{node.op_type}_{number}"
    return model, info


def split_graph(
    model: onnx.ModelProto, *, deconvolutions: bool, include_maps: bool = False
) -> GraphParts:
    """Return which nodes are to be quantized, which stay float, and which surround the network.

    Args:
        model: A graph whose decoding has no convolution, as slimpose export writes it.
        deconvolutions: Whether transposed convolutions are quantized.
        include_maps: Whether the convolutions that produce the maps are.

    Raises:
        ValueError: If there is no convolution to quantize.
    """
    nodes = list(model.graph.node)
    producer = {output: number for number, node in enumerate(nodes) for output in node.output}
    inputs = [[producer[name] for name in node.input if name in producer] for node in nodes]
    is_convolution = [node.op_type in _CONVOLUTIONS for node in nodes]
    after_conv, before_conv = [False] * len(nodes), [False] * len(nodes)
    for number, sources in enumerate(inputs):  # ONNX orders producers before consumers
        after_conv[number] = any(after_conv[other] or is_convolution[other] for other in sources)
    for number in reversed(range(len(nodes))):
        for other in inputs[number]:
            before_conv[other] |= before_conv[number] or is_convolution[number]

    layers, passthrough, kept_float, outside, maps = [], [], [], [], []
    for number, node in enumerate(nodes):
        if is_convolution[number]:
            if not before_conv[number]:
                maps.append(node.output[0])
            quantized = (node.op_type == "Conv" or deconvolutions) and (
                before_conv[number] or include_maps
            )
            (layers if quantized else kept_float).append(node.name)
        elif not (after_conv[number] and before_conv[number]):
            outside.append(node.name)
        elif node.op_type == "Add" and len(inputs[number]) == 2:
            layers.append(node.name)
        elif node.op_type in PASSTHROUGH_OPS:
            passthrough.append(node.name)
    if not layers:
        raise ValueError(f"{model.graph.name or 'the model'} has no convolution to quantize")
    return GraphParts(
        layers=tuple(layers),
        passthrough=tuple(passthrough),
        kept_float=tuple(kept_float),
        outside=tuple(outside),
        maps=tuple(maps),
    )


def groups_of(convolution: onnx.NodeProto) -> int:
    """Return the number of channel groups of a convolution."""
    return next(
        (attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1
    )


def network_of(model: onnx.ModelProto, parts: GraphParts) -> onnx.ModelProto:
    """Return the graph from pixels to maps, without the decoding, with the types of all tensors."""
    typed = onnx.shape_inference.infer_shapes(model)
    network = Extractor(typed).extract_model([model.graph.input[0].name], list(parts.maps))
    return onnx.shape_inference.infer_shapes(network)


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """Return a copy whose outputs are these float tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    return copy


class Runner:
    """Runs a graph in memory on the CPU, one image at a time, which bounds memory."""

    def __init__(self, model: onnx.ModelProto, *, threads: int | None) -> None:
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(threads), providers=CPU
        )
        self._input = self._session.get_inputs()[0].name

    def outputs(self, images: Crops) -> list[np.ndarray]:
        """Return every output for a batch of images."""
        return [np.asarray(output) for output in self._session.run(None, {self._input: images})]

    def maps(self, images: Crops) -> list[np.ndarray]:
        """Return every output, stacked over images."""
        each = [self.outputs(images[row : row + 1]) for row in range(len(images))]
        return [np.concatenate(output) for output in zip(*each, strict=True)]


def tensors_by_image(
    model: onnx.ModelProto, names: Sequence[str], images: Crops, *, threads: int | None
) -> Iterator[dict[str, np.ndarray]]:
    """Yield these tensors of a graph, by name, for one image after another."""
    if not names:
        return
    runner = Runner(with_outputs(model, names), threads=threads)
    for row in range(len(images)):
        yield dict(zip(names, runner.outputs(images[row : row + 1]), strict=True))


def relative_error(maps: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the squared error of maps as a share of their variance, averaged over the outputs."""
    shares = [
        float(((actual - wanted) ** 2).mean() / max(float(wanted.var()), 1e-12))
        for actual, wanted in zip(maps, expected, strict=True)
    ]
    return float(np.mean(shares))
