"""LiteRT files (FILE.tflite), from pixels to heatmaps, by Google's converter and quantizer."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slimpose.arrays import Crops
from slimpose.export.onnx import FileOptions, metadata_for
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.litert import attach_metadata

_BIAS = 3
"""A TRANSPOSE_CONV's inputs: shape, weights, input, bias."""
_INSTALL = "pip install litert-torch"


def write(source: LoadedNetwork, out: Path, options: FileOptions) -> list[Path]:
    """Write the file, with a batch size of 1.

    Raises:
        ValueError: If the converter is not installed.
    """
    try:
        import litert_torch  # pyright: ignore[reportMissingImports]
        from ai_edge_quantizer import quantizer  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(f"the converter to .tflite is not installed: {_INSTALL}") from error
    size, precision = source.spec.size, options.precision
    example = torch.zeros(1, *size, 3, dtype=torch.uint8)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        litert_torch.convert(source.net.eval(), (example,)).export(str(out))
        if precision == "int8":
            _flatten_biases(out)
        if precision != "fp32":
            rounded = _quantize(quantizer.Quantizer(str(out)), out, precision, options.images)
            out.unlink()
            rounded.export_model(str(out))
    metadata = metadata_for(source, name=options.name, card=options.card)
    attach_metadata(out, {**metadata, "precision": precision})
    return [out]


def _quantize(quantizer: Any, path: Path, precision: str, images: Crops) -> Any:
    """Return the quantizer's result in FP16 or INT8."""
    from ai_edge_quantizer.qtyping import TFLOperationName  # pyright: ignore[reportMissingImports]
    from ai_edge_quantizer.recipe import AlgorithmName  # pyright: ignore[reportMissingImports]

    operations = TFLOperationName.ALL_SUPPORTED
    if precision == "fp16":
        quantizer.add_weight_only_config(
            ".*", operations, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
        return quantizer.quantize(None)
    quantizer.add_static_config(".*", operations, activation_num_bits=8, weight_num_bits=8)
    return quantizer.quantize(quantizer.calibrate(_calibration_inputs(path, images)))


def _flatten_biases(path: Path) -> None:
    """Give the deconvolutions' biases the shape (c,) instead of the converter's (1, 1, 1, c).

    The quantizer gives them scales per channel along the first axis, which the interpreter rejects.
    """
    import flatbuffers  # pyright: ignore[reportMissingImports]
    from ai_edge_litert import schema_py_generated as schema  # pyright: ignore[reportMissingImports]

    model: Any = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for graph in model.subgraphs:
        for operator in graph.operators:
            is_deconvolution = (
                model.operatorCodes[operator.opcodeIndex].builtinCode
                == schema.BuiltinOperator.TRANSPOSE_CONV
            )
            if is_deconvolution and len(operator.inputs) > _BIAS:
                bias = graph.tensors[operator.inputs[_BIAS]]
                bias.shape, bias.shapeSignature = np.array([np.prod(bias.shape)], np.int32), None
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _calibration_inputs(path: Path, images: Crops) -> dict[str, list[dict[str, Any]]]:
    """Return the images by the graph's signature and input name."""
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    ((signature, names),) = Interpreter(str(path)).get_signature_list().items()
    return {signature: [{names["inputs"][0]: image[None]} for image in images]}
