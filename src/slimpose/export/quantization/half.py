"""A float graph whose network computes in FP16 and weighs half, by ONNX Runtime's converter."""

from __future__ import annotations

import onnx

from slimpose.export.quantization.graph import Parts


def halved(model: onnx.ModelProto, parts: Parts) -> onnx.ModelProto:
    """Return a copy whose network is FP16; pixels' preparation, decoding, input and outputs stay as they are."""
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    made = convert_float_to_float16(copy, keep_io_types=True, op_block_list=[], node_block_list=list(parts.outside))
    ONNXModel(made).topological_sort()  # the converter appends its casts
    onnx.checker.check_model(made)
    return made
