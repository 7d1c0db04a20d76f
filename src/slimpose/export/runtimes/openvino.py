"""OpenVINO IR: FILE.xml with FILE.bin, the whole graph, DARK or boxes in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimpose.arrays import Crops
from slimpose.export.onnx import to_model_file
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.available import metadata_of
from slimpose.runtime.backends.openvino import RT_INFO, new_core, read_ir


def write(
    source: LoadedNetwork | Path,
    out: Path,
    *,
    name: str,
    card: Mapping[str, Any],
    precision: str,
    pictures: Crops,
) -> list[Path]:
    """Write the file and its weights; the first returned is the one to open."""
    import openvino

    core = new_core()
    graph = to_model_file(source, out.with_suffix(".onnx"), name=name, card=card, images=pictures)
    metadata = dict(metadata_of(graph))
    if precision != "fp32" and metadata.get("precision") != "fp32":
        raise ValueError(
            f"{source} is {metadata.get('precision')}; expected an FP32 file for {precision}"
        )
    if precision != "fp32":
        metadata["precision"] = precision
    model = read_ir(core, graph)
    model.set_rt_info(json.dumps(metadata), [RT_INFO])
    openvino.save_model(model, out, compress_to_fp16=precision == "fp16")
    return [out, out.with_suffix(".bin")]
