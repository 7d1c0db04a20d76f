"""A published ONNX graph, followed from its input: which convolutions read a tensor, and what next.

Batch norm is folded in such graphs. A reader walks the graph as its own network's forward pass
goes; where several convolutions of one shape read the same tensor, it takes the one whose path
leads to the expected place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "Relu", nn.Hardswish: "HardSwish"}
"""The operators of a graph for modules without weights."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights and bias of a convolution of the graph."""

    weight: Tensor
    bias: Tensor


GraphPath = tuple[list[Weights], str]
"""The convolutions' weights along a path through a graph, and the tensor at its end."""


def load_graph(path: Path) -> Any:
    """Read an ONNX file; return its graph.

    Raises:
        ValueError: If it is not an ONNX file.
    """
    import onnx

    try:
        return onnx.load(str(path)).graph
    except Exception as error:
        raise ValueError(f"{path} is not an ONNX file: {str(error).splitlines()[0]}") from error


class PublishedGraph:
    """An ONNX graph's nodes by the tensors that they read.

    ``name`` is the network that the file should hold, for error messages.

    Raises:
        ValueError: If the file is not an ONNX graph.
    """

    def __init__(self, path: Path, name: str) -> None:
        from onnx import numpy_helper

        graph = load_graph(path)
        self.path, self.name = path, name
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        self._constants: dict[str, np.ndarray] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self._readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for tensor in node.input:
                self._readers.setdefault(tensor, []).append(node)

    def readers(self, tensor: str, operator: str) -> list[Any]:
        """Return the nodes of an operator that read a tensor."""
        return [node for node in self._readers.get(tensor, []) if node.op_type == operator]

    def after(self, tensor: str, operator: str, *others: str) -> str:
        """Return the output of the only such operator that reads a tensor (and these others).

        Raises:
            ValueError: If there is no such node or several.
        """
        expected = [tensor, *others]
        outputs = {
            node.output[0]
            for node in self.readers(tensor, operator)
            if not others or sorted(node.input) == sorted(expected)
        }
        if len(outputs) != 1:
            raise ValueError(
                f"{self.path} is not {self.name}'s graph: {len(outputs)} {operator} nodes read"
                f" {' and '.join(expected)}; expected 1"
            )
        return outputs.pop()

    def attribute(self, output: str, name: str, default: float) -> float:
        """Return a number among the attributes of the node with that output."""
        nodes = [node for nodes in self._readers.values() for node in nodes]
        attributes = next(node.attribute for node in nodes if output in node.output)
        return next((entry.f for entry in attributes if entry.name == name), default)

    def path_after(
        self,
        layers: Sequence[nn.Module],
        tensor: str,
        accepts: Callable[[str], bool] = lambda end: True,
    ) -> GraphPath:
        """Return the only path of such convolutions and activations whose end is accepted.

        Raises:
            ValueError: If there is no such path or several.
        """
        paths = [path for path in self._paths(layers, tensor) if accepts(path[1])]
        if len(paths) != 1:
            shapes = [tuple(c.weight.shape) for c in layers if isinstance(c, nn.Conv2d)]
            raise ValueError(
                f"{self.path} is not {self.name}'s graph: {len(paths)} paths of convolutions"
                f" {shapes} after {tensor}; expected 1"
            )
        return paths[0]

    def _paths(self, layers: Sequence[nn.Module], tensor: str) -> Iterator[GraphPath]:
        if not layers:
            yield [], tensor
            return
        layer, *rest = layers
        if isinstance(layer, nn.Conv2d):
            for weights, output in self._convolutions(tensor, layer):
                for others, end in self._paths(rest, output):
                    yield [weights, *others], end
            return
        for node in self.readers(tensor, ACTIVATIONS[type(layer)]):
            yield from self._paths(rest, self._without_factor(node.output[0]))

    def _convolutions(self, tensor: str, like: nn.Conv2d) -> Iterator[tuple[Weights, str]]:
        """Yield weights and output of the convolutions of a tensor with that shape and stride."""
        for node in self.readers(tensor, "Conv"):
            weight = self._constants.get(node.input[1])
            strides = next(a.ints for a in node.attribute if a.name == "strides")
            if weight is None or weight.shape != like.weight.shape:
                continue
            if tuple(strides) != like.stride:
                continue
            for bias, output in self._biases(node):
                yield Weights(_tensor(weight), _tensor(bias).reshape(-1)), output

    def _biases(self, node: Any) -> Iterator[tuple[np.ndarray, str]]:
        """Yield a convolution's bias and biased output; the bias may be an addition of its own."""
        if len(node.input) > 2:
            yield self._constants[node.input[2]], node.output[0]
            return
        for added in self.readers(node.output[0], "Add"):
            for name in added.input:
                if name in self._constants:
                    yield self._constants[name], added.output[0]

    def _without_factor(self, tensor: str) -> str:
        """Return the tensor after multiplications by 1, which some converters leave."""
        for node in self.readers(tensor, "Mul"):
            factors = [self._constants[name] for name in node.input if name in self._constants]
            if factors and factors[0].size == 1 and float(factors[0].reshape(-1)[0]) == 1.0:
                return self._without_factor(node.output[0])
        return tensor


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
