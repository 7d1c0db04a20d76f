"""TensorRT engines (FILE.engine), built on the machine they are for, by TensorRT's Python package.

Not tested on a device: there was none. The network is strongly typed: every layer computes in the
type that the ONNX file gives it. So DARK, which finds fractions of a cell by a heatmap's logarithm,
stays in FP32 however the network is quantized, and FP32 is FP32 (no TF32).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from slimpose.export.hardware.check import check_layers
from slimpose.export.hardware.graph import read_graph
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target
from slimpose.export.onnx import FileOptions, to_model_file
from slimpose.export.quantization.fp16 import to_fp16
from slimpose.export.quantization.graph import read_float_model, split_graph
from slimpose.formats.files import write_bytes
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.available import read_metadata
from slimpose.runtime.backends.base import file_precision
from slimpose.runtime.backends.tensorrt import import_tensorrt, metadata_path
from slimpose.runtime.cache import cache_folder

TARGET = "tensorrt-10"
BATCHES = (1, 5, 10)
"""Minimum, optimal and maximum batch of the profile: people in an image."""
_WORKSPACE = 1 << 30
"""Most bytes that a layer may use besides its tensors; a Jetson Orin Nano has 4 to 8 GB."""


def write(source: LoadedNetwork | Path, out: Path, options: FileOptions) -> list[Path]:
    """Write the engine and its metadata; the first returned is the one to open.

    Raises:
        BackendError: If TensorRT is not installed, or too old.
        ValueError: If TensorRT does not support the file or cannot build the engine, with its
            reasons.
    """
    graph = to_model_file(source, out.with_name("graph.onnx"), options)
    own, precision = file_precision(read_metadata(graph)), options.precision
    if precision == "fp16" and own == "fp32":
        model, _ = read_float_model(graph)
        graph = out.with_name("graph-fp16.onnx")
        graph.write_bytes(
            to_fp16(model, split_graph(model, deconvolutions=True)).SerializeToString()
        )
        own = "fp16"
    elif precision not in ("fp32", own):
        raise ValueError(f"{source} is {own}; expected an FP32 file for {precision}")
    check_tensorrt_support(graph)
    trt = import_tensorrt()
    timings = cache_folder() / "tensorrt" / "timings.cache"
    write_bytes(out, build(trt, graph, timings=timings))
    built = {"precision": own, "built_with": f"TensorRT {trt.__version__}"}
    metadata = {**read_metadata(graph), **built}
    metadata_path(out).write_text(json.dumps(metadata), encoding="utf-8")
    return [out, metadata_path(out)]


def check_tensorrt_support(path: Path) -> None:
    """Raise ValueError if TensorRT does not support the file's operators or its quantization."""
    model = onnx.load(str(path))
    constants = {entry.name: entry for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        tensor = constants.get(node.input[2])
        zero_points = None if tensor is None else numpy_helper.to_array(tensor)
        if zero_points is None or zero_points.dtype != np.int8 or np.any(zero_points):
            raise ValueError(
                f"{path.name} is quantized with zero points, at {node.name} for example; TensorRT "
                "computes INT8 around 0 only: expected a file of slimpose quantize --scheme "
                "symmetric"
            )
    report = check_layers(layers_of(read_graph(path)), load_target(TARGET), whole=True)
    if report.leaving:
        first = report.leaving[0]
        raise ValueError(
            f"{path.name} does not run in TensorRT: {len(report.leaving)} of its layers are not "
            f"supported, the first is {first.layer.name} ({first.findings[0].why}); all of them: "
            f"slimpose lint {path.name} --target {TARGET} --whole"
        )


def build(trt: Any, path: Path, *, timings: Path) -> bytes:
    """Build the engine of an ONNX file for this machine's GPU, which takes minutes.

    The first input's first dimension is the batch. ``timings`` is a file of TensorRT's measured
    times, which make the next build faster; it is overwritten.

    Raises:
        ValueError: If TensorRT cannot parse the file or build the engine.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # From version 11 on, all networks are strongly typed and the flag is gone.
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
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
    source = network.get_input(0)
    shapes = [(batch, *tuple(source.shape)[1:]) for batch in BATCHES]
    profile.set_shape(source.name, *shapes)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ValueError(
            f"TensorRT {trt.__version__} cannot build an engine of {path.name} (its log above says "
            "why; too little memory?)"
        )
    measured = config.get_timing_cache()
    if measured is not None:
        timings.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(timings, bytes(measured.serialize()))
    return bytes(engine)
