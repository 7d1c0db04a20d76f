"""A slimpose ONNX graph taken apart: pixels made ready, network, decoding; only the network is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
"""Operators that stay in 8 bits between layers that are: an activation becomes the limits of its input's range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphParts:
    """Names of what a graph consists of.

    Attributes:
        layers: Nodes worth quantizing, in the graph's order: convolutions and the sums of two
            branches.
        passing: Nodes between them that change no value's scale.
        float_ends: Convolutions that stay float whatever is asked: those that give the maps, whose
            levels the decoding tells parts of a cell from, and deconvolutions where they are not
            wanted.
        outside: Nodes before the first convolution and behind the last.
        maps: The tensors that the decoding begins with.
    """

    layers: tuple[str, ...]
    passthrough: tuple[str, ...]
    kept_float: tuple[str, ...]
    outside: tuple[str, ...]
    maps: tuple[str, ...]


def read_float(path: Path) -> tuple[onnx.ModelProto, ModelInfo]:
    """Return a float slimpose model and what it says of itself; every node has a name of its own.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file, not slimpose's, or not float.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx's and protobuf's errors share no public base
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path} is not an ONNX file that can be read (cut off?): {reason}"
        ) from error
    info = read_info(path, {entry.key: entry.value for entry in model.metadata_props})
    quantized = any(
        node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv")
        for node in model.graph.node
    )
    if info.precision != "fp32" or quantized:
        precision = "int8" if quantized else info.precision
        raise ValueError(
            f"{path} is {precision} already; expected the fp32 file that it was made from"
        )
    uses = Counter(node.name for node in model.graph.node)
    for number, node in enumerate(model.graph.node):
        if not node.name or uses[node.name] > 1:
            node.name = f"{node.op_type}_{number}"
    return model, info


def split_graph(
    model: onnx.ModelProto, *, deconvolutions: bool, maps_too: bool = False
) -> GraphParts:
    """Return what the graph consists of.

    Args:
        model: A graph whose decoding holds no convolution, as slimpose export writes it.
        deconvolutions: Whether transposed convolutions are layers worth quantizing.
        maps_too: Whether the convolutions that give the maps are.

    Raises:
        ValueError: If there is no convolution to quantize.
    """
    nodes = list(model.graph.node)
    maker = {output: number for number, node in enumerate(nodes) for output in node.output}
    inputs = [[maker[name] for name in node.input if name in maker] for node in nodes]
    is_convolution = [node.op_type in _CONVOLUTIONS for node in nodes]
    behind, before = [False] * len(nodes), [False] * len(nodes)
    for number, made_from in enumerate(inputs):  # ONNX wants makers before users
        behind[number] = any(behind[other] or is_convolution[other] for other in made_from)
    for number in reversed(range(len(nodes))):
        for other in inputs[number]:
            before[other] = before[other] or before[number] or is_convolution[number]

    layers, passing, float_ends, outside, maps = [], [], [], [], []
    for number, node in enumerate(nodes):
        if is_convolution[number]:
            if not before[number]:
                maps.append(node.output[0])
            wanted = node.op_type == "Conv" or deconvolutions
            (layers if wanted and (before[number] or maps_too) else float_ends).append(node.name)
        elif not (behind[number] and before[number]):
            outside.append(node.name)
        elif node.op_type == "Add" and len(inputs[number]) == 2:
            layers.append(node.name)
        elif node.op_type in PASSTHROUGH_OPS:
            passing.append(node.name)
    if not layers:
        raise ValueError(f"{model.graph.name or 'the model'} holds no convolution to quantize")
    return GraphParts(
        layers=tuple(layers),
        passthrough=tuple(passing),
        kept_float=tuple(float_ends),
        outside=tuple(outside),
        maps=tuple(maps),
    )


def groups_of(convolution: onnx.NodeProto) -> int:
    """Return how many groups of channels a convolution keeps apart."""
    return next(
        (attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1
    )


def network_of(model: onnx.ModelProto, parts: GraphParts) -> onnx.ModelProto:
    """Return the graph from pixels to maps, without the decoding, every tensor's type known."""
    known = onnx.shape_inference.infer_shapes(model)
    network = Extractor(known).extract_model([model.graph.input[0].name], list(parts.maps))
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
    """A graph in memory, run on the CPU one picture at a time, which bounds memory."""

    def __init__(self, model: onnx.ModelProto, *, threads: int | None) -> None:
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(threads), providers=CPU
        )
        self._input = self._session.get_inputs()[0].name

    def outputs(self, picture: Crops) -> list[np.ndarray]:
        """Return every output for a batch of pictures."""
        return [np.asarray(output) for output in self._session.run(None, {self._input: picture})]

    def maps(self, pictures: Crops) -> list[np.ndarray]:
        """Return every output, stacked over pictures."""
        each = [self.outputs(pictures[row : row + 1]) for row in range(len(pictures))]
        return [np.concatenate(output) for output in zip(*each, strict=True)]


def relative_error(maps: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Return the squared error of maps as a share of their variance, averaged over the outputs."""
    shares = [
        float(((mine - theirs) ** 2).mean() / max(float(theirs.var()), 1e-12))
        for mine, theirs in zip(maps, truth, strict=True)
    ]
    return float(np.mean(shares))
