"""OpenVINO files (FILE.xml with FILE.bin): the whole graph, with its decoding."""

from __future__ import annotations

import json
from pathlib import Path

from slimpose.export.onnx import FileOptions, to_model_file
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.available import read_metadata
from slimpose.runtime.backends.openvino import RT_INFO, new_core, read_model


def write(source: LoadedNetwork | Path, out: Path, options: FileOptions) -> list[Path]:
    """Write the file and its weights; the first returned is the one to open."""
    import openvino

    core, precision = new_core(), options.precision
    graph = to_model_file(source, out.with_name("graph.onnx"), options)
    metadata = dict(read_metadata(graph))
    if precision != "fp32":
        if metadata.get("precision") != "fp32":
            raise ValueError(
                f"{source} is {metadata.get('precision')}; expected an FP32 file for {precision}"
            )
        metadata["precision"] = precision
    model = read_model(core, graph)
    model.set_rt_info(json.dumps(metadata), [RT_INFO])
    openvino.save_model(model, out, compress_to_fp16=precision == "fp16")
    return [out, out.with_suffix(".bin")]
