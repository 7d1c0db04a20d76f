"""LiteRT: FILE.tflite, pixels to heatmaps, by Google's converter and quantizer; one crop a call."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slimpose.arrays import Crops
from slimpose.export.onnx import metadata_for
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.litert import attach_metadata

_BIAS = 3
"""A TRANSPOSE_CONV's inputs: shape, weights, input, bias."""
_INSTALL = "pip install litert-torch, then pip install --upgrade typing-extensions"
"""Its converter asks for an older typing-extensions than slimpose's command line, but works with a new one. So it is no
extra of slimpose: pip would have to refuse."""


def write(
    source: LoadedNetwork,
    out: Path,
    *,
    name: str,
    card: Mapping[str, Any],
    precision: str,
    pictures: Crops,
) -> list[Path]:
    """Write the file.

    Raises:
        ValueError: If the converter is not installed.
    """
    try:
        import litert_torch  # pyright: ignore[reportMissingImports]
        from ai_edge_quantizer import quantizer  # pyright: ignore[reportMissingImports]
        from ai_edge_quantizer.qtyping import TFLOperationName  # pyright: ignore[reportMissingImports]
        from ai_edge_quantizer.recipe import AlgorithmName  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(f"the converter to .tflite is not installed: {_INSTALL}") from error
    size = source.spec.size
    example = torch.zeros(1, *size, 3, dtype=torch.uint8)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        litert_torch.convert(source.net.eval(), (example,)).export(str(out))
        if precision != "fp32":
            if precision == "int8":
                _flatten_biases(out)
            rounding = quantizer.Quantizer(str(out))
            every = TFLOperationName.ALL_SUPPORTED
            if precision == "fp16":
                rounding.add_weight_only_config(
                    ".*", every, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
                )
                ranges = None
            else:
                rounding.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
                ranges = rounding.calibrate(_calibration(str(out), pictures))
            rounded = rounding.quantize(ranges)
            out.unlink()
            rounded.export_model(str(out))
    attach_metadata(
        out, {**metadata_for(source, name=name, card=dict(card)), "precision": precision}
    )
    return [out]


def _flatten_biases(path: Path) -> None:
    """Give the deconvolutions' biases the shape (c,) in place of the converter's (1, 1, 1, c).

    The quantizer takes scales a channel for them along the first axis; the interpreter refuses
    that.
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


def _calibration(path: str, pictures: Crops) -> dict[str, list[dict[str, Any]]]:
    """The pictures by the graph's own names."""
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    ((signature, puts),) = Interpreter(path).get_signature_list().items()
    return {signature: [{puts["inputs"][0]: picture[None]} for picture in pictures]}
