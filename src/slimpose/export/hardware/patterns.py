"""A graph as layers: patterns of operators under one name, what surrounds the network told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from slimpose.export.hardware import facts as read
from slimpose.export.hardware.graph import Node, OnnxGraph, ancestors
from slimpose.export.hardware.layers import Layer, NetworkPart
from slimpose.export.hardware.target import MODEL_KIND

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_ACTIVATIONS = frozenset(
    {
        "relu",
        "relu6",
        "leaky-relu",
        "prelu",
        "clip",
        "sigmoid",
        "swish",
        "hard-sigmoid",
        "hard-swish",
    }
)
_IN_A_GATE = _ACTIVATIONS | {
    "HardSigmoid",
    "conv",
    "fully-connected",
    "reshape",
    "batch-norm",
    "transpose",
}
_LONGEST_GATE = 10
_DETECTOR_ENDS = ("to_logit.weight", "to_edges.weight")
_WEIGHT_SUFFIXES = (".weight", "_weight", "/kernel", ".weight_quantized")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Operators that make one layer; the last one's output is its output."""

    nodes: tuple[Node, ...]
    kind: str = ""
    source: str = ""
    """What it reads, where the first node's inputs do not tell."""


def layers_of(graph: OnnxGraph, *, until: Sequence[str] = ()) -> list[Layer]:
    """Return the layers, the one about the file as a whole first.

    Args:
        graph: The model.
        until: Tensors that end the network; what lies behind is decoding. By default what a
            slimpose file tells; other files count as a whole.

    Raises:
        ValueError: If a tensor of that name is not computed.
    """
    ends = tuple(until) or network_ends(graph)
    computed = {name for node in graph.nodes for name in node.outputs}
    if missing := [name for name in ends if name not in computed]:
        raise ValueError(
            f"no layer computes {', '.join(missing)}; expected the name of a map inside the graph"
        )
    parts = _parts(graph, ends)
    readers = graph.readers()
    made: dict[str, Layer] = {}
    layers = [Layer(name="the file", kind=MODEL_KIND, facts={"opset": graph.opset})]
    for piece in _pieces(graph, readers):
        layer = _layer(graph, piece, readers, made, parts)
        made[piece.nodes[-1].outputs[0]] = layer
        layers.append(layer)
    return _with_blocks(graph, layers, made)


def network_ends(graph: OnnxGraph) -> tuple[str, ...]:
    """Return the maps behind which a slimpose file decodes: heatmaps, or the person detector's outputs; else none."""
    if "slimpose" not in graph.metadata:
        return ()
    if any("heatmaps" in node.outputs for node in graph.nodes):
        return ("heatmaps",)
    convolutions = [node for node in graph.nodes if node.operator == "Conv"]
    return tuple(
        node.outputs[0] for node in convolutions if node.inputs[1].endswith(_DETECTOR_ENDS)
    )


def _parts(graph: OnnxGraph, ends: tuple[str, ...]) -> dict[str, NetworkPart]:
    """Where each node stands, by its first output."""
    parts: dict[str, NetworkPart] = {}
    if not ends:
        return parts
    network = ancestors(graph, ends)
    behind_weights: set[str] = set()
    for node in graph.nodes:
        if node.operator in WEIGHTED or behind_weights & set(node.inputs):
            behind_weights |= set(node.outputs)
        if node.outputs[0] not in network:
            parts[node.outputs[0]] = "decoding"
        elif not behind_weights & set(node.outputs):
            parts[node.outputs[0]] = "before"
    return parts


def _pieces(graph: OnnxGraph, readers: dict[str, list[Node]]) -> list[_Piece]:
    """Group operators: hard sigmoids and swishes written out, whichever way."""
    makers = {name: node for node in graph.nodes for name in node.outputs}

    def only_reader(name: str, operator: str) -> Node | None:
        found = readers.get(name, [])
        return (
            found[0]
            if len(found) == 1 and found[0].operator == operator and name not in graph.outputs
            else None
        )

    def times(node: Node, source: str) -> Node | None:
        """The Mul behind a gate that multiplies what the gate was made from."""
        found = only_reader(node.outputs[0], "Mul")
        return (
            found
            if found is not None and source in found.inputs and source != node.outputs[0]
            else None
        )

    pieces: dict[str, _Piece] = {}
    taken: set[str] = set()

    def take(kind: str, source: str, *nodes: Node) -> None:
        pieces[nodes[-1].outputs[0]] = _Piece(nodes, kind, source)
        taken.update(node.outputs[0] for node in nodes)

    for node in graph.nodes:
        if node.outputs[0] in taken:
            continue
        if node.operator == "Clip" and read.clip_kind(graph, node) == "relu6":
            shift = makers.get(node.inputs[0])
            if shift is None or shift.operator != "Add" or len(readers[node.inputs[0]]) != 1:
                continue
            source = next(iter(read.data_inputs(graph, shift)), "")
            if [read.scalar(graph, name) for name in shift.inputs if name != source] != [3.0]:
                continue
            if (sixth := _sixth_of(graph, node, only_reader)) is not None:
                if (product := times(sixth, source)) is not None:
                    take("hard-swish", source, shift, node, sixth, product)
                else:
                    take("hard-sigmoid", source, shift, node, sixth)
            elif (product := times(node, source)) is not None and (
                sixth := _sixth_of(graph, product, only_reader)
            ) is not None:
                take("hard-swish", source, shift, node, product, sixth)
        elif node.operator in ("Sigmoid", "HardSigmoid"):
            kind = "swish" if node.operator == "Sigmoid" else "hard-swish"
            if kind == "hard-swish" and read.describe(graph, node)[0] != "hard-sigmoid":
                continue
            if (product := times(node, node.inputs[0])) is not None:
                take(kind, node.inputs[0], node, product)
    found: list[_Piece] = []
    for node in graph.nodes:
        if node.outputs[0] in pieces:
            found.append(pieces[node.outputs[0]])
        elif node.outputs[0] not in taken:
            found.append(_Piece((node,)))
    return found


def _sixth_of(graph: OnnxGraph, node: Node, only_reader) -> Node | None:
    """The only reader, if it divides by 6."""
    divided, multiplied = only_reader(node.outputs[0], "Div"), only_reader(node.outputs[0], "Mul")
    if divided is not None and read.scalar(graph, divided.inputs[1]) == 6.0:
        return divided
    if multiplied is not None:
        factor = next(
            (read.scalar(graph, name) for name in multiplied.inputs if name in graph.constants),
            None,
        )
        if factor is not None and abs(factor - 1 / 6) < 1e-4:
            return multiplied
    return None


def _layer(
    graph: OnnxGraph,
    piece: _Piece,
    readers: dict[str, list[Node]],
    made: dict[str, Layer],
    parts: dict[str, NetworkPart],
) -> Layer:
    first, last = piece.nodes[0], piece.nodes[-1]
    kind, facts, macs = read.describe(graph, first)
    if piece.kind:
        kind, macs = piece.kind, 0
        facts["constant_bounds"] = True
    source = piece.source or next(iter(read.data_inputs(graph, first)), "")
    facts["after"] = _after(graph, source, readers, made, piece)
    if "in_channels" in facts:
        facts["reads_input"] = not _weighted_upstream(graph, source)
    if kind == "pad":
        facts["before"] = _before(graph, last, readers)
    inputs = dict.fromkeys([source] if piece.kind else read.data_inputs(graph, first))
    return Layer(
        name=_name(graph, piece),
        kind=kind,
        operators=tuple(node.operator for node in piece.nodes),
        inputs=tuple(graph.shapes.get(name) for name in inputs),
        output=graph.shapes.get(last.outputs[0]),
        part=parts.get(last.outputs[0], "body"),
        macs=macs,
        facts=facts,
    )


def _after(
    graph: OnnxGraph,
    source: str,
    readers: dict[str, list[Node]],
    made: dict[str, Layer],
    piece: _Piece,
) -> str:
    """The kind of the layer in front, "shared ..." if others read it too, so that nothing fuses into it."""
    if source not in made:
        return "input"
    outside = [node for node in readers[source] if node not in piece.nodes]
    return (
        f"shared {made[source].kind}" if outside or source in graph.outputs else made[source].kind
    )


def _weighted_upstream(graph: OnnxGraph, tensor: str) -> bool:
    """Whether any layer with weights stands in front: none does in front of the first, which reads the picture."""
    upstream = ancestors(graph, [tensor])
    return any(node.operator in WEIGHTED and node.outputs[0] in upstream for node in graph.nodes)


def _before(graph: OnnxGraph, node: Node, readers: dict[str, list[Node]]) -> str:
    found = readers.get(node.outputs[0], [])
    if len(found) != 1 or node.outputs[0] in graph.outputs:
        return "several"
    return read.describe(graph, found[0])[0]


def _name(graph: OnnxGraph, piece: _Piece) -> str:
    """Weights have the best names, then nodes, then tensors."""
    node = piece.nodes[-1]
    weights = (
        graph.origins.get(node.inputs[1], "")
        if node.operator in WEIGHTED and len(node.inputs) > 1
        else ""
    )
    for suffix in _WEIGHT_SUFFIXES:
        if weights.endswith(suffix):
            return weights[: -len(suffix)]
    return node.name or node.outputs[0]


def _with_blocks(graph: OnnxGraph, layers: list[Layer], made: dict[str, Layer]) -> list[Layer]:
    """Mark squeeze-and-excite: a map's average, through narrow layers to a gate, that multiplies the map."""
    outputs = {id(layer): name for name, layer in made.items()}
    sources: dict[str, str] = {}
    readers = graph.readers()
    blocks: dict[int, str] = {}
    for node in graph.nodes:
        for name in node.outputs:
            sources[name] = node.inputs[0] if node.inputs else ""
    number = 0
    for layer in layers:
        if layer.kind != "global-average-pool":
            continue
        squeezed = sources[outputs[id(layer)]]
        gate, tensor = [layer], outputs[id(layer)]
        for _ in range(_LONGEST_GATE):
            followers = {id(owner): owner for owner in _layers_reading(tensor, readers, made)}
            if len(followers) != 1:
                break
            (follower,) = followers.values()
            tensor = outputs[id(follower)]
            gate.append(follower)
            if follower.kind == "mul":
                if squeezed in next(node.inputs for node in graph.nodes if tensor in node.outputs):
                    number += 1
                    blocks |= {id(part): f"squeeze-and-excite {number}" for part in gate}
                break
            if follower.kind not in _IN_A_GATE:
                break
    return [
        dataclasses.replace(layer, block=blocks[id(layer)]) if id(layer) in blocks else layer
        for layer in layers
    ]


def _layers_reading(
    tensor: str, readers: dict[str, list[Node]], owners: dict[str, Layer]
) -> list[Layer]:
    """Layers that read a tensor, through the inner operators of a pattern."""
    found: list[Layer] = []
    waiting = list(readers.get(tensor, []))
    while waiting:
        node = waiting.pop()
        if node.outputs[0] in owners:
            found.append(owners[node.outputs[0]])
        else:
            waiting += readers.get(node.outputs[0], [])
    return found
