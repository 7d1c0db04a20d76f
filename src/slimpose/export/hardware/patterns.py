"""The layers of a graph: patterns of operators merged, layers around the network marked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from slimpose.export.hardware import facts as read
from slimpose.export.hardware.graph import Node, OnnxGraph, ancestors
from slimpose.export.hardware.layers import Fact, Layer, NetworkPart
from slimpose.export.hardware.target import MODEL_KIND

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_IN_A_GATE = (
    {"relu", "relu6", "leaky-relu", "prelu", "clip", "sigmoid", "swish", "hard-sigmoid"}
    | {"hard-swish", "HardSigmoid", "conv", "fully-connected", "reshape", "batch-norm"}
    | {"transpose"}
)
_MAX_GATE_LAYERS = 10
_DETECTOR_OUTPUTS = (
    *("to_logit.weight", "to_edges.weight"),
    *(".aligned.weight", ".score.weight", ".edges.weight"),  # of the pyramid detector
)
_WEIGHT_SUFFIXES = (".weight", "_weight", "/kernel", ".weight_quantized")


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Operators that form one layer, whose output is that of the last one.

    Attributes:
        nodes: The operators.
        kind: Kind of the layer, if it is not that of the first operator.
        source: The tensor it reads, if that is not an input of the first operator.
    """

    nodes: tuple[Node, ...]
    kind: str = ""
    source: str = ""


def layers_of(graph: OnnxGraph, *, until: Sequence[str] = ()) -> list[Layer]:
    """Return the layers; the first is about the file as a whole.

    The network ends at the tensors ``until``; what follows is decoding. By default they follow from
    the metadata of a slimpose file; other files are network as a whole.

    Raises:
        ValueError: If no node computes a tensor of that name.
    """
    ends = tuple(until) or network_ends(graph)
    computed = {name for node in graph.nodes for name in node.outputs}
    if missing := [name for name in ends if name not in computed]:
        raise ValueError(
            f"no layer computes {', '.join(missing)}; expected the name of a map inside the graph"
        )
    return _LayerBuilder(graph, ends).build()


def network_ends(graph: OnnxGraph) -> tuple[str, ...]:
    """Return the outputs of a slimpose network, at which decoding starts; empty for other files."""
    if "slimpose" not in graph.metadata:
        return ()
    if any("heatmaps" in node.outputs for node in graph.nodes):
        return ("heatmaps",)
    convolutions = [node for node in graph.nodes if node.operator == "Conv"]
    return tuple(
        node.outputs[0] for node in convolutions if node.inputs[1].endswith(_DETECTOR_OUTPUTS)
    )


class _LayerBuilder:
    """Builds the layers of a graph in the order of computation."""

    def __init__(self, graph: OnnxGraph, ends: tuple[str, ...]) -> None:
        self.graph = graph
        self.readers = graph.readers()
        self.parts = _parts(graph, ends)
        self.layers: dict[str, Layer] = {}
        """By output tensor."""

    def build(self) -> list[Layer]:
        for pattern in _PatternSearch(self.graph).patterns():
            self.layers[pattern.nodes[-1].outputs[0]] = self._layer(pattern)
        blocks = self._squeeze_excite_blocks()
        file = Layer(name="the file", kind=MODEL_KIND, facts={"opset": self.graph.opset})
        return [
            file,
            *(
                dataclasses.replace(layer, block=blocks.get(output, ""))
                for output, layer in self.layers.items()
            ),
        ]

    def _layer(self, pattern: _Pattern) -> Layer:
        graph, first, last = self.graph, pattern.nodes[0], pattern.nodes[-1]
        kind, facts, macs = read.describe(graph, first)
        if pattern.kind:
            kind, macs = pattern.kind, 0
            facts["constant_bounds"] = True
        source = pattern.source or next(iter(read.data_inputs(graph, first)), "")
        facts |= self._context(pattern, kind, source, weighted="in_channels" in facts)
        inputs = dict.fromkeys([source] if pattern.kind else read.data_inputs(graph, first))
        return Layer(
            name=self._name(last),
            kind=kind,
            operators=tuple(node.operator for node in pattern.nodes),
            inputs=tuple(graph.shapes.get(name) for name in inputs),
            output=graph.shapes.get(last.outputs[0]),
            part=self.parts.get(last.outputs[0], "body"),
            macs=macs,
            facts=facts,
        )

    def _context(
        self, pattern: _Pattern, kind: str, source: str, *, weighted: bool
    ) -> dict[str, Fact]:
        """Return the facts about the layers around a pattern.

        ``after`` is the kind of the layer before it, "shared ..." if others read that one too, so
        that nothing can be fused into it.
        """
        graph, after = self.graph, "input"
        if source in self.layers:
            others = [node for node in self.readers[source] if node not in pattern.nodes]
            shared = "shared " if others or source in graph.outputs else ""
            after = shared + self.layers[source].kind
        context: dict[str, Fact] = {"after": after}
        if weighted:
            upstream = ancestors(graph, [source])
            context["reads_input"] = not any(
                node.operator in WEIGHTED and node.outputs[0] in upstream for node in graph.nodes
            )
        if kind == "pad":
            output = pattern.nodes[-1].outputs[0]
            readers = self.readers.get(output, [])
            single = len(readers) == 1 and output not in graph.outputs
            context["before"] = read.describe(graph, readers[0])[0] if single else "several"
        return context

    def _name(self, node: Node) -> str:
        """Return the name of the node's weights, or else of the node, or else of its output."""
        weights = ""
        if node.operator in WEIGHTED and len(node.inputs) > 1:
            weights = self.graph.origins.get(node.inputs[1], "")
        for suffix in _WEIGHT_SUFFIXES:
            if weights.endswith(suffix):
                return weights.removesuffix(suffix)
        return node.name or node.outputs[0]

    def _squeeze_excite_blocks(self) -> dict[str, str]:
        """Return the name of the block of each layer in one, by output tensor.

        A block starts with the average of a map, passes narrow layers and ends with a product with
        the same map.
        """
        producers = {name: node for node in self.graph.nodes for name in node.outputs}
        blocks: dict[str, str] = {}
        number = 0
        for output, layer in self.layers.items():
            if layer.kind != "global-average-pool":
                continue
            squeezed = producers[output].inputs[0]
            gate = [output]
            for _ in range(_MAX_GATE_LAYERS):
                following = self._layers_reading(gate[-1])
                if len(following) != 1:
                    break
                gate += following
                kind = self.layers[gate[-1]].kind
                if kind == "mul" and squeezed in producers[gate[-1]].inputs:
                    number += 1
                    blocks |= dict.fromkeys(gate, f"squeeze-and-excite {number}")
                if kind not in _IN_A_GATE:
                    break
        return blocks

    def _layers_reading(self, tensor: str) -> set[str]:
        """Return the outputs of the layers that read a tensor, inner operators of patterns too."""
        found: set[str] = set()
        waiting = list(self.readers.get(tensor, []))
        while waiting:
            output = waiting.pop().outputs[0]
            if output in self.layers:
                found.add(output)
            else:
                waiting += self.readers.get(output, [])
        return found


def _parts(graph: OnnxGraph, ends: tuple[str, ...]) -> dict[str, NetworkPart]:
    """Return the position of the nodes that are not in the network, by their first output."""
    parts: dict[str, NetworkPart] = {}
    if not ends:
        return parts
    network = ancestors(graph, ends)
    after_weights: set[str] = set()
    for node in graph.nodes:
        if node.operator in WEIGHTED or after_weights & set(node.inputs):
            after_weights |= set(node.outputs)
        if node.outputs[0] not in network:
            parts[node.outputs[0]] = "decoding"
        elif not after_weights & set(node.outputs):
            parts[node.outputs[0]] = "before"
    return parts


class _PatternSearch:
    """Finds hard sigmoids and swishes that consist of several operators."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.readers = graph.readers()
        self.producers = {name: node for node in graph.nodes for name in node.outputs}

    def patterns(self) -> list[_Pattern]:
        """Return all operators, alone or in a pattern, in the order of computation."""
        found: dict[str, _Pattern] = {}
        taken: set[str] = set()
        for node in self.graph.nodes:
            if node.outputs[0] not in taken and (pattern := self._match(node)) is not None:
                found[pattern.nodes[-1].outputs[0]] = pattern
                taken.update(part.outputs[0] for part in pattern.nodes)
        return [
            found.get(node.outputs[0], _Pattern((node,)))
            for node in self.graph.nodes
            if node.outputs[0] in found or node.outputs[0] not in taken
        ]

    def _match(self, node: Node) -> _Pattern | None:
        if node.operator == "Clip" and read.clip_kind(self.graph, node) == "relu6":
            return self._match_relu6(node)
        source = node.inputs[0] if node.inputs else ""
        if node.operator == "Sigmoid":
            kind = "swish"
        elif node.operator == "HardSigmoid":
            kind = "hard-swish"
            if read.describe(self.graph, node)[0] != "hard-sigmoid":
                return None
        else:
            return None
        product = self._product(node, source)
        return None if product is None else _Pattern((node, product), kind, source)

    def _match_relu6(self, clip: Node) -> _Pattern | None:
        """Match relu6(x + 3) / 6 as a hard sigmoid; times x, in either order, as a hard swish."""
        shift = self.producers.get(clip.inputs[0])
        if shift is None or shift.operator != "Add" or len(self.readers[clip.inputs[0]]) != 1:
            return None
        source = next(iter(read.data_inputs(self.graph, shift)), "")
        offsets = [read.scalar(self.graph, name) for name in shift.inputs if name != source]
        if offsets != [3.0]:
            return None
        if (sixth := self._sixth(clip)) is not None:
            if (product := self._product(sixth, source)) is not None:
                return _Pattern((shift, clip, sixth, product), "hard-swish", source)
            return _Pattern((shift, clip, sixth), "hard-sigmoid", source)
        product = self._product(clip, source)
        sixth = None if product is None else self._sixth(product)
        if product is None or sixth is None:
            return None
        return _Pattern((shift, clip, product, sixth), "hard-swish", source)

    def _only_reader(self, name: str, operator: str) -> Node | None:
        readers = self.readers.get(name, [])
        if len(readers) != 1 or readers[0].operator != operator or name in self.graph.outputs:
            return None
        return readers[0]

    def _product(self, gate: Node, source: str) -> Node | None:
        """Return the Mul that multiplies a gate by the tensor it is computed from."""
        product = self._only_reader(gate.outputs[0], "Mul")
        if product is None or source not in product.inputs or source == gate.outputs[0]:
            return None
        return product

    def _sixth(self, node: Node) -> Node | None:
        """Return the only reader of a node if it divides by 6."""
        divided = self._only_reader(node.outputs[0], "Div")
        if divided is not None and read.scalar(self.graph, divided.inputs[1]) == 6.0:
            return divided
        multiplied = self._only_reader(node.outputs[0], "Mul")
        constants = [] if multiplied is None else multiplied.inputs
        factors = [read.scalar(self.graph, n) for n in constants if n in self.graph.constants]
        if factors and factors[0] is not None and abs(factors[0] - 1 / 6) < 1e-4:
            return multiplied
        return None
