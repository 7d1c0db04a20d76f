"""An ONNX file as a plain graph: shapes inferred, constants folded, no-ops removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slimpose.export.hardware.layers import Shape

if TYPE_CHECKING:
    import onnx

_TRANSPARENT = frozenset({"Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"})
"""Operators that are bypassed: a quantized file is checked as the float network it represents."""
_KEEPS_VALUES = frozenset({"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten"})
_MAX_CONSTANT = 4096
"""Elements of the largest constant whose value is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator; omitted optional inputs are empty strings."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class OnnxGraph:
    """The operators that depend on the inputs, in an order of computation.

    Attributes:
        nodes: Operators, except those of constants only.
        shapes: Shapes of the tensors, where known.
        types: Element types of the tensors, such as ``float`` and ``uint8``.
        constants: Tensors that do not depend on the inputs; None if the value is not available.
        outputs: Names of the graph's outputs, without transparent operators.
        metadata: Metadata of the file.
        opset: Version of the standard operators.
    """

    nodes: list[Node]
    shapes: dict[str, Shape]
    types: dict[str, str]
    constants: dict[str, np.ndarray | None]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    opset: int
    origins: dict[str, str] = field(default_factory=dict)
    """The initializer that a constant is computed from, by casts for example."""

    def readers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each tensor."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers


def read_graph(
    path: Path,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_free: bool = False,
) -> OnnxGraph:
    """Read an ONNX file.

    Args:
        path: The file; external weights are not read.
        batch: Value of a free first dimension of an input; 1 by default.
        shapes: Complete shapes of inputs that have other free dimensions, by name.
        keep_free: Leave other free dimensions as they are; shapes that depend on them are unknown.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, or an input has a free dimension without a number.
    """
    import onnx

    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path} is not an ONNX file (truncated?): {reason}") from error
    if not model.graph.node:
        raise ValueError(f"{path} has no layers (is it an ONNX file?)")
    try:
        return graph_of(model, batch=batch, shapes=shapes, keep_free=keep_free)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def graph_of(
    model: onnx.ModelProto,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_free: bool = False,
) -> OnnxGraph:
    """Return the graph of a model in memory, whose free dimensions are replaced in place.

    Raises:
        ValueError: As ``read_graph`` does.
    """
    import onnx
    from onnx import inliner, shape_inference

    if model.functions:
        model = inliner.inline_local_functions(model)
    _bind(model.graph, batch=batch, shapes=shapes or {}, keep_free=keep_free)
    try:
        model = shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"shapes of the model are inconsistent: {reason}") from error
    graph = model.graph
    tensors = [*graph.input, *graph.value_info, *graph.output]
    types = {
        tensor.name: onnx.TensorProto.DataType.Name(tensor.type.tensor_type.elem_type)
        for tensor in tensors
    }
    types |= {
        tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type)
        for tensor in graph.initializer
    }
    known = {tensor.name: shape for tensor in tensors if (shape := _shape(tensor)) is not None}
    known |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    initializers = {tensor.name for tensor in graph.initializer}
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    found = OnnxGraph(
        nodes=[],
        shapes=known,
        types={name: kind.lower() for name, kind in types.items() if kind != "UNDEFINED"},
        constants={tensor.name: _array(tensor) for tensor in graph.initializer},
        outputs=tuple(tensor.name for tensor in graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        opset=opsets.get("ai.onnx", 0),
        origins={name: name for name in initializers},
    )
    _add_nodes(found, graph.node)
    return found


def _bind(
    graph: onnx.GraphProto,
    *,
    batch: int | None,
    shapes: Mapping[str, Sequence[int]],
    keep_free: bool,
) -> None:
    """Replace the free dimensions of the inputs, wherever their names occur, in place."""
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [tensor for tensor in graph.input if tensor.name not in initializers]
    if unknown := shapes.keys() - {tensor.name for tensor in inputs}:
        raise ValueError(
            f"--shape names {', '.join(sorted(unknown))}; "
            f"expected inputs of the model: {', '.join(tensor.name for tensor in inputs)}"
        )
    numbers: dict[str, int] = {}
    for tensor in inputs:
        if tensor.type.tensor_type.HasField("shape") or tensor.name in shapes or not keep_free:
            numbers |= _bind_input(
                tensor, batch=batch, shape=shapes.get(tensor.name), keep_free=keep_free
            )
    for tensor in [*graph.value_info, *graph.output]:
        dims = tensor.type.tensor_type.shape.dim
        for dim in dims:
            if dim.dim_param in numbers:
                dim.dim_value = numbers[dim.dim_param]
        if any(not dim.HasField("dim_value") for dim in dims):
            tensor.type.tensor_type.ClearField("shape")


def _bind_input(
    tensor: onnx.ValueInfoProto, *, batch: int | None, shape: Sequence[int] | None, keep_free: bool
) -> dict[str, int]:
    """Replace the free dimensions of one input, in place, and return the names with numbers."""
    name, dims = tensor.name, tensor.type.tensor_type.shape.dim
    if not tensor.type.tensor_type.HasField("shape"):
        if shape is None:
            raise ValueError(
                f"input {name!r} has no shape; expected one, such as --shape {name}=1x3x256x192"
            )
        for _ in shape:
            dims.add()
    if shape is not None and len(shape) != len(dims):
        raise ValueError(
            f"--shape {name} has {len(shape)} dimensions; expected {len(dims)}, as in the model"
        )
    numbers: dict[str, int] = {}
    for axis, dim in enumerate(dims):
        number = shape[axis] if shape is not None else batch if axis == 0 else None
        if dim.dim_value:
            if number not in (None, dim.dim_value):
                raise ValueError(
                    f"dimension {axis} of input {name!r} is {dim.dim_value} in the file, not "
                    f"{number}; only free dimensions can be set"
                )
        elif number is not None or axis == 0:
            number = 1 if number is None else number
            if dim.dim_param:
                numbers[dim.dim_param] = number
            dim.dim_value = number
        elif not keep_free:
            known = "x".join(str(other.dim_value or "N") for other in dims)
            raise ValueError(
                f"dimension {axis} of input {name!r} is free ({dim.dim_param or 'without a name'});"
                f" expected --shape {name}={known} with a number for each N, because limits of "
                "hardware depend on it"
            )
    return numbers


def _add_nodes(graph: OnnxGraph, nodes: Iterable[onnx.NodeProto]) -> None:
    """Add the file's operators to the graph; constants are folded, transparent ones bypassed."""
    from onnx import helper

    source: dict[str, str] = {}
    for proto in nodes:
        node = Node(
            name=proto.name,
            operator=proto.op_type
            if proto.domain in ("", "ai.onnx")
            else f"{proto.domain}::{proto.op_type}",
            inputs=tuple(source.get(name, name) for name in proto.input),
            outputs=tuple(proto.output),
            attributes={entry.name: helper.get_attribute_value(entry) for entry in proto.attribute},
        )
        if _fold(graph, node):
            continue
        if node.operator in _TRANSPARENT:
            source[node.outputs[0]] = node.inputs[0]
        else:
            graph.nodes.append(node)
    graph.outputs = tuple(source.get(name, name) for name in graph.outputs)
    needed = ancestors(graph, graph.outputs)
    graph.nodes = [node for node in graph.nodes if node.outputs[0] in needed]


def _fold(graph: OnnxGraph, node: Node) -> bool:
    """Add the outputs to the graph's constants, if they do not depend on its inputs."""
    from onnx import numpy_helper

    if node.operator == "Constant":
        value = node.attributes.get("value")
        array = (
            numpy_helper.to_array(value)
            if value is not None
            else np.asarray(next(iter(node.attributes.values()), 0))
        )
        graph.constants[node.outputs[0]] = array
        graph.shapes.setdefault(node.outputs[0], array.shape)
        return True
    if node.operator == "Shape" and node.inputs[0] in graph.shapes:
        graph.constants[node.outputs[0]] = np.asarray(graph.shapes[node.inputs[0]])
        return True
    if not all(name in graph.constants for name in node.inputs if name):
        return False
    first = node.inputs[0] if node.inputs else ""
    value = graph.constants.get(first) if node.operator in _KEEPS_VALUES else None
    for name in node.outputs:
        graph.constants[name] = value
        if first in graph.origins:
            graph.origins[name] = graph.origins[first]
    return True


def ancestors(graph: OnnxGraph, tensors: Iterable[str]) -> set[str]:
    """Return the first output of each node that the tensors depend on."""
    needed = set(tensors)
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            found.add(node.outputs[0])
            needed |= set(node.inputs)
    return found


def _shape(tensor: onnx.ValueInfoProto) -> Shape | None:
    kind = tensor.type.tensor_type
    if not kind.HasField("shape") or any(not dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)


def _array(tensor: onnx.TensorProto) -> np.ndarray | None:
    """Return the value of a small constant; weights are not needed, and may be in another file."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL or np.prod(tensor.dims) > _MAX_CONSTANT:
        return None
    return numpy_helper.to_array(tensor)
