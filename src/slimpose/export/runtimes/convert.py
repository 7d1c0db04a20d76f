"""Conversion to another runtime's files, which are compared with their source before they stay."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from slimpose.arrays import Crops
from slimpose.export.onnx import ExportDrift, FileOptions, check_drift, drift_of
from slimpose.export.torch_model import TorchModel
from slimpose.formats.temporary_folder import temporary_folder
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.available import FILE_SUFFIXES, NATIVE_FILES
from slimpose.runtime.session import Model, Session

_BATCH = 16


def convert(
    source: LoadedNetwork | Path,
    out: Path,
    options: FileOptions,
) -> ExportDrift:
    """Write a model in the format of the path's suffix, with the files that belong to it.

    Args:
        source: The network; for OpenVINO and TensorRT also an ONNX file of slimpose.
        out: FILE.xml, FILE.tflite, FILE.ncnn.param or FILE.engine.
        options: The file's metadata and precision, and the images of the comparison.

    Returns:
        The largest differences from the source on the images.

    Raises:
        RuntimeError: If an FP32 file's results differ from its source's; nothing is written then.
        ValueError: If the runtime has no such file, or its converter is not installed or fails.
    """
    backend = FILE_SUFFIXES[out.suffix.lower()]
    _check_source(source, backend, options.precision)
    exporter = importlib.import_module(f"slimpose.export.runtimes.{NATIVE_FILES[backend].exporter}")
    reference: Model = Session(source) if isinstance(source, Path) else TorchModel(source)
    if reference.info.kind:
        raise ValueError(
            f"{source} is of another project ({reference.info.kind}); expected a file of slimpose: "
            "slimpose adopt writes one from heatmap and SimCC networks"
        )
    with temporary_folder(out.parent) as folder:
        files: list[Path] = exporter.write(source, folder / out.name, options)
        session = Session(files[0])  # the one that is opened
        expected, actual = (_outputs_of(model, options.images) for model in (reference, session))
        drift = drift_of(expected, actual)
        if session.precision == "fp32":
            check_drift(drift, is_pose=session.info.task == "pose")
        for file in reversed(files):  # the one that is opened comes last
            file.replace(out.with_name(file.name))
    return drift


def _check_source(source: LoadedNetwork | Path, backend: str, precision: str) -> None:
    """Raise ValueError if a backend's files cannot be made from this source in this precision."""
    files = NATIVE_FILES[backend]
    takes_onnx = files.int8_options is not None
    if precision not in files.precisions:
        alternative = (
            f" (or give it an INT8 ONNX file of slimpose quantize{files.int8_options})"
            if takes_onnx
            else ""
        )
        raise ValueError(
            f"{backend} files are not written in {precision}; expected "
            f"{' or '.join(files.precisions)}{alternative}"
        )
    if isinstance(source, Path) and not takes_onnx:
        raise ValueError(f"{source} is ONNX; expected weights (best.safetensors) for {backend}")
    if isinstance(source, LoadedNetwork) and source.task != "pose" and not takes_onnx:
        raise ValueError(
            f"these weights are a {source.task} model; expected a pose model for {backend}"
        )


def _outputs_of(model: Model, images: Crops) -> dict[str, np.ndarray]:
    parts = [
        model.run(images[start : start + _BATCH], model.outputs)
        for start in range(0, len(images), _BATCH)
    ]
    return {
        name: np.concatenate(part)
        for name, part in zip(model.outputs, zip(*parts, strict=True), strict=True)
    }
