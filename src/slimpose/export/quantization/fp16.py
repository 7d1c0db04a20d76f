"""A float graph whose network computes in FP16 and weighs half, by ONNX Runtime's converter."""

from __future__ import annotations

from collections import Counter

import onnx

from slimpose.export.quantization.graph import GraphParts


def to_fp16(model: onnx.ModelProto, parts: GraphParts) -> onnx.ModelProto:
    """Return a copy whose network is FP16; pixels' preparation, decoding, input and outputs stay as they are."""
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    made = convert_float_to_float16(
        copy, keep_io_types=True, op_block_list=[], node_block_list=list(parts.outside)
    )
    _without_detours(made)
    del made.graph.value_info[:]  # some say what a tensor was before
    ONNXModel(made).topological_sort()  # the converter appends its casts
    onnx.checker.check_model(made)
    return made


def _without_detours(model: onnx.ModelProto) -> None:
    """Let float tensors go from one float node to the next, in place.

    The converter takes each result of a node that stays float to FP16 and back: a point at 200 px
    would lose a sixteenth of a pixel on the way.
    """
    graph = model.graph
    to = {
        node.output[0]: next(attribute.i for attribute in node.attribute if attribute.name == "to")
        for node in graph.node
        if node.op_type == "Cast"
    }
    maker = {output: node for node in graph.node for output in node.output}
    source: dict[str, str] = {}
    for name, kind in to.items():
        middle = maker[name].input[0]
        if kind == onnx.TensorProto.FLOAT and to.get(middle) == onnx.TensorProto.FLOAT16:
            before = maker[middle].input[0]
            if to.get(before, onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT:
                source[name] = before
    outputs = {put.name for put in graph.output}
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
    for name in outputs & set(source):  # an output keeps its name: its maker writes it
        before = source[name]
        for node in graph.node:
            node.input[:] = [name if put == before else put for put in node.input]
            node.output[:] = [
                name if put == before else f"{name}_unused" if put == name else put
                for put in node.output
            ]
    while True:
        used = Counter(name for node in graph.node for name in node.input)
        idle = [
            node
            for node in graph.node
            if not any(used[put] or put in outputs for put in node.output)
        ]
        if not idle:
            return
        for node in idle:
            graph.node.remove(node)
