"""TensorRT: FILE.engine, built on the machine it is for, by TensorRT's Python package. Not run here: no NVIDIA device.

The network is strongly typed: every layer computes in the type the ONNX file gives it, so that
DARK, which tells parts of a cell from a heatmap's logarithm, stays in FP32 however the network is
rounded, and FP32 is FP32 (no TF32).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.arrays import Crops
from slimpose.export.hardware.check import check_layers
from slimpose.export.hardware.graph import read_graph
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target
from slimpose.export.onnx import LoadedWeights, to_model_file
from slimpose.export.quantization.fp16 import to_fp16
from slimpose.export.quantization.graph import read_float_model, split_graph
from slimpose.formats.files import write_bytes
from slimpose.runtime.backends.available import metadata_of
from slimpose.runtime.backends.base import file_precision
from slimpose.runtime.backends.tensorrt import metadata_path, tensorrt_package
from slimpose.runtime.cache import cache_folder

TARGET = "tensorrt-10"
BATCHES = (1, 5, 10)
"""Smallest, usual and largest batch of the profile: people in a picture."""
_WORKSPACE = 1 << 30
"""Most bytes that a layer may use besides its tensors; a Jetson Orin Nano has 4 to 8 GB in all."""


def write(
    source: LoadedWeights | Path,
    out: Path,
    *,
    name: str,
    card: Mapping[str, Any],
    precision: str,
    pictures: Crops,
) -> list[Path]:
    """Write the engine and its metadata; the first returned is the one to open.

    Raises:
        BackendError: If TensorRT is not installed, or too old.
        ValueError: If the file is not one that TensorRT takes, or it builds none; TensorRT's
            reasons are told.
    """
    graph = to_model_file(source, out.with_suffix(".onnx"), name=name, card=card, pictures=pictures)
    own = file_precision(metadata_of(graph))
    if precision == "fp16" and own == "fp32":
        model, _ = read_float_model(graph)
        graph = out.with_suffix(".fp16.onnx")
        graph.write_bytes(
            to_fp16(model, split_graph(model, deconvolutions=True)).SerializeToString()
        )
        own = "fp16"
    elif precision not in ("fp32", own):
        raise ValueError(f"{source} is {own}; expected an FP32 file for {precision}")
    check_takes(graph)
    trt = tensorrt_package()
    write_bytes(
        out,
        build(trt, graph, batches=BATCHES, timings=cache_folder() / "tensorrt" / "timings.cache"),
    )
    metadata = {**metadata_of(graph), "precision": own, "built_with": f"TensorRT {trt.__version__}"}
    metadata_path(out).write_text(json.dumps(metadata), encoding="utf-8")
    return [out, metadata_path(out)]


def check_takes(path: Path) -> None:
    """Raise ValueError if TensorRT's parser would refuse the file: its operators, or how it is rounded."""
    report = check_layers(layers_of(read_graph(path)), load_target(TARGET), whole=True)
    if report.leaving:
        verdict = report.leaving[0]
        raise ValueError(
            f"{path.name} is not for TensorRT: {len(report.leaving)} of its layers would not run, the first "
            f"{verdict.layer.name} ({verdict.findings[0].why}); slimpose lint {path.name} --target {TARGET} --whole "
            "tells them all"
        )
    model = onnx.load(str(path))
    constants = {entry.name: entry for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        zero = constants.get(node.input[2])
        levels = None if zero is None else numpy_helper.to_array(zero)
        if levels is None or levels.dtype != np.int8 or np.any(levels):
            raise ValueError(
                f"{path.name} is rounded with zero points, at {node.name} for one; TensorRT computes INT8 around 0 "
                "only: expected a file of slimpose quantize --scheme symmetric"
            )


def build(trt: Any, path: Path, *, batches: Sequence[int], timings: Path) -> bytes:
    """Return the engine of an ONNX file, for this machine's GPU. It takes minutes.

    Args:
        trt: TensorRT's Python package.
        path: The file; its first input's first dimension is the batch.
        batches: Smallest, usual and largest.
        timings: Where TensorRT keeps what it measured, which makes the next engine quicker to
            build. Written over.

    Raises:
        ValueError: If TensorRT cannot parse the file, or finds no engine.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    strongly_typed = getattr(
        trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None
    )  # not a choice from 11 on
    network = builder.create_network(0 if strongly_typed is None else 1 << int(strongly_typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        reasons = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
        raise ValueError(f"TensorRT {trt.__version__} cannot parse {path.name}: {reasons}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
    known = timings.read_bytes() if timings.is_file() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, False)  # of another GPU or version: TensorRT leaves it unused
    profile = builder.create_optimization_profile()
    put = network.get_input(0)
    shapes = [(batch, *tuple(put.shape)[1:]) for batch in batches]
    profile.set_shape(put.name, *shapes)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError(
            f"TensorRT {trt.__version__} builds no engine of {path.name} (it says why above; too little memory?)"
        )
    measured = config.get_timing_cache()
    if measured is not None:
        timings.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(timings, bytes(measured.serialize()))
    return bytes(engine)
