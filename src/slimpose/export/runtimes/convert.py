"""The files of a runtime: written aside, opened, compared with what they were made from, then moved to their place."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from slimpose.arrays import Crops
from slimpose.export.onnx import ExportDrift, check_drift, drift_of
from slimpose.export.runtimes import litert, ncnn, openvino, tensorrt
from slimpose.export.torch_model import TorchModel
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.base import FILE_SUFFIXES
from slimpose.runtime.session import Model, Session

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "openvino": ("fp32", "fp16"),
    "litert": ("fp32", "fp16", "int8"),
    "ncnn": ("fp32", "fp16"),
    "tensorrt-engine": ("fp32", "fp16"),
}
"""What each runtime's files can be written in; of INT8 ONNX files those of ``OF_ONNX`` are INT8."""
OF_ONNX = {"openvino": "", "tensorrt-engine": " --scheme symmetric"}
"""Backends whose files are made of ONNX files too, and how slimpose quantize makes INT8 for them."""
_MODULES = {"openvino": openvino, "litert": litert, "ncnn": ncnn, "tensorrt-engine": tensorrt}


def convert(
    source: LoadedNetwork | Path,
    out: Path,
    *,
    name: str,
    card: Mapping[str, object],
    precision: str,
    pictures: Crops,
) -> ExportDrift:
    """Write the file that ``out``'s suffix names, and what belongs beside it.

    Args:
        source: The network; for OpenVINO and TensorRT also an ONNX file of ours.
        out: FILE.xml, FILE.tflite, FILE.ncnn.param or FILE.engine.
        name: What the model is called.
        card: Facts for the metadata beside those of the weights.
        precision: One of ``PRECISIONS``.
        pictures: uint8 (n, H, W, 3) the file is compared on; INT8 takes its ranges from them.

    Returns:
        The largest differences from the source on the pictures.

    Raises:
        RuntimeError: If an FP32 file's results differ from its source's; nothing is written then.
        ValueError: If this runtime has no such file, or its converter is not installed or fails.
    """
    backend = FILE_SUFFIXES[out.suffix.lower()]
    if precision not in PRECISIONS[backend]:
        raise ValueError(
            f"{backend} files are not written in {precision}; expected {' or '.join(PRECISIONS[backend])}"
            + (
                f" (or give it an INT8 ONNX file of slimpose quantize{OF_ONNX[backend]})"
                if backend in OF_ONNX
                else ""
            )
        )
    if isinstance(source, Path) and backend not in OF_ONNX:
        raise ValueError(f"{source} is ONNX; expected weights (best.safetensors) for {backend}")
    if isinstance(source, LoadedNetwork) and source.task != "pose" and backend not in OF_ONNX:
        raise ValueError(
            f"these weights are a {source.task} model; expected a pose net for {backend}"
        )
    reference: Model = Session(source) if isinstance(source, Path) else TorchModel(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.") as folder:
        made = _MODULES[backend].write(
            source,
            Path(folder) / out.name,
            name=name,
            card=card,
            precision=precision,
            pictures=pictures,
        )
        session = Session(made[0])
        drift = drift_of(_outputs_of(reference, pictures), _outputs_of(session, pictures))
        if session.precision == "fp32":
            check_drift(drift, is_pose=session.info.task == "pose")
        for file in reversed(made):  # the one that is opened comes last
            file.replace(out.with_name(file.name))
    return drift


def _outputs_of(model: Model, pictures: Crops) -> dict[str, np.ndarray]:
    parts = [
        model.run(pictures[row : row + 16], model.outputs) for row in range(0, len(pictures), 16)
    ]
    return {
        name: np.concatenate(part)
        for name, part in zip(model.outputs, zip(*parts, strict=True), strict=True)
    }
