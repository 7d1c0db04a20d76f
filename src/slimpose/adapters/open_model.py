"""Opens any supported pose model file: chooses the adapter by its inputs and outputs."""

from __future__ import annotations

from pathlib import Path

from slimpose.adapters.blazepose import BlazePose
from slimpose.adapters.heatmap_net import HeatmapNet
from slimpose.adapters.movenet import MoveNet, MultiPose
from slimpose.adapters.simcc import SimccNet
from slimpose.adapters.tf_pose import TfPose
from slimpose.runtime.backends.available import FILE_SUFFIXES
from slimpose.runtime.backends.litert import attached_metadata
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.runtime.session import Model, Session


def open_pose_model(path: Path, *, threads: int | None = None) -> Model:
    """Return the pose model of a file, opened by ``Session`` or by the adapter that fits it.

    A heatmap network is assumed to have cell 0 on pixel 0; open others with ``HeatmapNet``.

    Raises:
        FileNotFoundError: If there is no such file.
        BackendError: If the package that reads such a file is not installed.
        ValueError: If it is not such a file, or not one of these models.
    """
    if path.suffix.lower() == ".pb":
        return TfPose(path, threads=threads)
    own_backend = FILE_SUFFIXES.get(path.suffix.lower())
    if own_backend == "litert" and not attached_metadata(path):
        return BlazePose(path, threads=threads)
    if own_backend:
        return Session(path, threads=threads)
    session = open_onnx_file(path, threads=threads, optimize=False)
    if "slimpose" in session.get_modelmeta().custom_metadata_map:
        return Session(path, threads=threads)
    inputs = [(tensor.name, tensor.type, tensor.shape) for tensor in session.get_inputs()]
    outputs = [(tensor.name, tensor.shape) for tensor in session.get_outputs()]
    ranks = [len(shape) for _, shape in outputs]
    if any(shape[-2:] == [17, 3] for _, shape in outputs):
        return MoveNet(path, threads=threads)
    if any(shape[-2:] == [6, 56] for _, shape in outputs):
        return MultiPose(path, threads=threads)
    if ranks == [3, 3]:
        return SimccNet(path, threads=threads)
    if ranks == [4]:
        return HeatmapNet(path, threads=threads)
    raise ValueError(
        f"{path} takes {inputs} and gives {outputs}; expected a slimpose model, MoveNet SinglePose "
        "(1, 1, 17, 3) or MultiPose (1, 6, 56), a SimCC net (two outputs: n, joints, bins), or "
        "heatmaps (n, joints, height, width)"
    )
