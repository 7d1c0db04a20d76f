"""An ONNX file as a plain graph: shapes fixed and inferred, constants and no-ops out of the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slimpose.export.hardware.layers import Shape

if TYPE_CHECKING:
    import onnx

_SEEN_THROUGH = frozenset({"Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"})
"""Operators that compute nothing here: a quantized file is judged as the float network it stands for."""
_KEEPS_VALUES = frozenset({"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator; inputs that are left out are empty strings."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class OnnxGraph:
    """What is computed from the inputs, in an order in which it can be.

    Attributes:
        nodes: Operators; those of constants alone are left out.
        shapes: Of every tensor whose shape is known.
        types: Element types by name, such as ``float`` and ``uint8``.
        constants: Tensors that do not depend on the inputs; None where the value is not at hand.
        inputs: Names of the graph's inputs.
        outputs: Names of the graph's outputs, after what is seen through.
        metadata: The file's own.
        opset: Of the standard operators.
    """

    nodes: list[Node]
    shapes: dict[str, Shape]
    types: dict[str, str]
    constants: dict[str, np.ndarray | None]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    opset: int
    origins: dict[str, str] = field(default_factory=dict)
    """Where a constant comes from: the initializer behind casts and the like."""

    def readers(self) -> dict[str, list[Node]]:
        """Return who reads each tensor."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    def value(self, name: str) -> np.ndarray | None:
        """Return a constant's value, or None if it is none or not at hand."""
        return self.constants.get(name)


def read_graph(
    path: Path, *, batch: int | None = None, shapes: Mapping[str, Sequence[int]] | None = None
) -> OnnxGraph:
    """Read an ONNX file.

    Args:
        path: The file; weights beside it are not read.
        batch: What a free first dimension of an input becomes; 1 by default.
        shapes: Whole shapes of inputs that have other free dimensions, by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no ONNX file, or an input's shape is not settled: which dimension, and
            what to say.
    """
    import onnx

    if not path.is_file():
        raise FileNotFoundError(f"no model {path}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ValueError(f"{path} is not an ONNX file: {str(error).splitlines()[0]}") from error
    if not model.graph.node:
        raise ValueError(f"{path} holds no layers (is it an ONNX file?)")
    return graph_of(model, batch=batch, shapes=shapes)


def graph_of(
    model: onnx.ModelProto,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> OnnxGraph:
    """Return the graph of a model in memory; it is changed: its free dimensions are bound.

    Raises:
        ValueError: As ``read_graph`` does.
    """
    import onnx
    from onnx import inliner, shape_inference

    if model.functions:
        model = inliner.inline_local_functions(model)
    _bind(model.graph, batch=batch, shapes=shapes or {})
    try:
        model = shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ValueError(f"the model contradicts itself: {str(error).splitlines()[0]}") from error
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
        inputs=tuple(tensor.name for tensor in graph.input if tensor.name not in initializers),
        outputs=tuple(tensor.name for tensor in graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        opset=opsets.get("ai.onnx", 0),
        origins={name: name for name in initializers},
    )
    _fill(found, graph.node)
    return found


def _bind(
    graph: onnx.GraphProto, *, batch: int | None, shapes: Mapping[str, Sequence[int]]
) -> None:
    """Give every free dimension of an input a number, and put it wherever the dimension's name stands."""
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [tensor for tensor in graph.input if tensor.name not in initializers]
    if unknown := shapes.keys() - {tensor.name for tensor in inputs}:
        raise ValueError(
            f"--shape names {', '.join(sorted(unknown))}; the model's inputs are {', '.join(t.name for t in inputs)}"
        )
    numbers: dict[str, int] = {}
    for tensor in inputs:
        dims = tensor.type.tensor_type.shape.dim
        wanted = shapes.get(tensor.name)
        if not tensor.type.tensor_type.HasField("shape"):
            if wanted is None:
                name = tensor.name
                raise ValueError(
                    f"input {name!r} has no shape; say --shape {name}=1x3x256x192 or the like"
                )
            for _ in wanted:
                dims.add()
        if wanted is not None and len(wanted) != len(dims):
            raise ValueError(
                f"--shape {tensor.name} has {len(wanted)} dimensions; the model's has {len(dims)}"
            )
        free = [place for place, dim in enumerate(dims) if not dim.dim_value]
        for place, dim in enumerate(dims):
            number = wanted[place] if wanted is not None else (1 if batch is None else batch)
            if place not in free:
                said = wanted is not None or (place == 0 and batch is not None)
                if said and dim.dim_value != number:
                    raise ValueError(
                        f"dimension {place} of input {tensor.name!r} is {dim.dim_value} in the file, not {number}; "
                        "only free dimensions can be bound"
                    )
                continue
            if wanted is None and place > 0:
                known = "x".join(
                    str(other.dim_value or ("N" if axis else 1)) for axis, other in enumerate(dims)
                )
                raise ValueError(
                    f"dimension {place} of input {tensor.name!r} is free ({dim.dim_param or 'without a name'}); "
                    f"a chip's limits need numbers: say --shape {tensor.name}={known} with a number for each N"
                )
            if dim.dim_param:
                numbers[dim.dim_param] = number
            dim.dim_value = number
    for tensor in [*graph.value_info, *graph.output]:
        dims = tensor.type.tensor_type.shape.dim
        for dim in dims:
            if dim.dim_param in numbers:
                dim.dim_value = numbers[dim.dim_param]
        if any(not dim.HasField("dim_value") for dim in dims):
            tensor.type.tensor_type.ClearField("shape")


def _fill(graph: OnnxGraph, nodes: Iterable[onnx.NodeProto]) -> None:
    """Sort the file's nodes into operators, constants and what is seen through."""
    from onnx import helper, numpy_helper

    same: dict[str, str] = {}
    for proto in nodes:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in proto.attribute}
        inputs = tuple(same.get(name, name) for name in proto.input)
        operator = (
            proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}::{proto.op_type}"
        )
        if operator == "Constant":
            value = attributes.get("value")
            array = (
                numpy_helper.to_array(value)
                if value is not None
                else np.asarray(next(iter(attributes.values()), 0))
            )
            graph.constants[proto.output[0]] = array
            graph.shapes.setdefault(proto.output[0], array.shape)
            continue
        if operator == "Shape" and inputs[0] in graph.shapes:
            graph.constants[proto.output[0]] = np.asarray(graph.shapes[inputs[0]])
            continue
        if all(name in graph.constants for name in inputs if name):
            first = inputs[0] if inputs else ""
            for name in proto.output:
                graph.constants[name] = (
                    graph.constants.get(first) if operator in _KEEPS_VALUES else None
                )
                if first in graph.origins:
                    graph.origins[name] = graph.origins[first]
            continue
        if operator in _SEEN_THROUGH:
            same[proto.output[0]] = inputs[0]
            continue
        graph.nodes.append(
            Node(
                name=proto.name,
                operator=operator,
                inputs=inputs,
                outputs=tuple(proto.output),
                attributes=attributes,
            )
        )
    graph.outputs = tuple(same.get(name, name) for name in graph.outputs)
    needed = ancestors(graph, graph.outputs)
    graph.nodes = [node for node in graph.nodes if node.outputs[0] in needed]


def ancestors(graph: OnnxGraph, tensors: Iterable[str]) -> set[str]:
    """Return the first outputs of all nodes that the tensors depend on."""
    wanted = set(tensors)
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            found.add(node.outputs[0])
            wanted |= set(node.inputs)
    return found


def _shape(tensor: onnx.ValueInfoProto) -> Shape | None:
    kind = tensor.type.tensor_type
    if not kind.HasField("shape") or any(not dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)


_SMALL = 4096


def _array(tensor: onnx.TensorProto) -> np.ndarray | None:
    """A small constant's value; weights are not needed, and may lie in another file."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL or np.prod(tensor.dims) > _SMALL:
        return None
    return numpy_helper.to_array(tensor)
