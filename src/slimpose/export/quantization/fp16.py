"""Conversion of a float graph's network to FP16 by ONNX Runtime's converter."""

from __future__ import annotations

from collections import Counter

import onnx

from slimpose.export.quantization.graph import GraphParts


def to_fp16(model: onnx.ModelProto, parts: GraphParts) -> onnx.ModelProto:
    """Return a copy whose network is FP16.

    Normalization of the pixels, decoding, input and outputs stay as they are.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    converted = convert_float_to_float16(
        copy, keep_io_types=True, op_block_list=[], node_block_list=list(parts.outside)
    )
    _remove_round_trips(converted)
    del converted.graph.value_info[:]  # some hold types from before the conversion
    ONNXModel(converted).topological_sort()  # the converter appends its casts
    onnx.checker.check_model(converted)
    return converted


def _remove_round_trips(model: onnx.ModelProto) -> None:
    """Connect float nodes directly, in place.

    The converter casts each result of a node that stays float to FP16 and back, which would move a
    point at 200 px by up to a sixteenth of a pixel.
    """
    graph = model.graph
    cast_to = {
        node.output[0]: next(attribute.i for attribute in node.attribute if attribute.name == "to")
        for node in graph.node
        if node.op_type == "Cast"
    }
    producer = {output: node for node in graph.node for output in node.output}
    source: dict[str, str] = {}
    for name, kind in cast_to.items():
        middle = producer[name].input[0]
        if kind == onnx.TensorProto.FLOAT and cast_to.get(middle) == onnx.TensorProto.FLOAT16:
            before = producer[middle].input[0]
            if cast_to.get(before, onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT:
                source[name] = before
    outputs = {tensor.name for tensor in graph.output}
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
    for name in outputs & set(source):  # an output keeps its name: its producer writes it
        before = source[name]
        renamed = {before: name, name: f"{name}_unused"}
        for node in graph.node:
            node.input[:] = [name if tensor == before else tensor for tensor in node.input]
            node.output[:] = [renamed.get(tensor, tensor) for tensor in node.output]
    while True:
        used = Counter(name for node in graph.node for name in node.input)
        unused = [
            node
            for node in graph.node
            if not any(used[tensor] or tensor in outputs for tensor in node.output)
        ]
        if not unused:
            return
        for node in unused:
            graph.node.remove(node)
