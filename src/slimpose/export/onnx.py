"""Weights to one ONNX file: pixels in, points or boxes out, any batch size, self-describing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from slimpose.arrays import Crops, Size
from slimpose.export.torch_model import as_module, model_info, output_names
from slimpose.formats.files import write_bytes
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.onnx_file import CPU, session_options
from slimpose.runtime.session import FORMAT

GRAPH_VERSION = 1
"""Increased when the exported graph or its decoding changes: cached graphs are exported again."""
MAX_POINT_DRIFT_PX = 0.05
MAX_HEATMAP_DRIFT = 1e-3
_COMPARED_SCORE = 0.1
"""Points scored lower are not compared: two cells may tie, and rounding decides. Heatmaps are."""
_OPSET = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportDrift:
    """Largest differences between an exported file and PyTorch.

    Attributes:
        pixels: Of points or box corners, in pixels.
        maps: Of heatmaps, affinities or scores, in their own unit.
    """

    pixels: float
    maps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How a network is written to a runtime's file.

    Attributes:
        name: The model's name.
        card: Facts for the metadata, in addition to those of the weights.
        precision: One of the format's ``NativeFiles.precisions``.
        images: uint8 (n, H, W, 3) to compare the file with its source on; INT8 also takes its
            ranges from them.
    """

    name: str
    card: Mapping[str, Any]
    precision: str
    images: Crops


def to_onnx(loaded: LoadedNetwork, *, name: str, card: Mapping[str, Any]) -> onnx.ModelProto:
    """Return the graph of a network with its decoding and metadata; see ``export`` for the check.

    The card has facts for the metadata in addition to those of the weights.
    """
    example = torch.zeros(2, *loaded.spec.size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            as_module(loaded),
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["crops" if loaded.task == "pose" else "images"],
            output_names=list(output_names(loaded.task)),
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in metadata_for(loaded, name=name, card=card).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.graph.name = name
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


def metadata_for(loaded: LoadedNetwork, *, name: str, card: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of an exported FP32 file."""
    info = model_info(loaded, name=name, card=card)
    metadata = {
        "slimpose": FORMAT,
        "task": info.task,
        "name": name,
        "precision": info.precision,
        "height": str(info.size.height),
        "width": str(info.size.width),
        "stride": str(info.stride),
        "gmac": f"{info.gmac:.4f}",
        "params": str(info.params),
        "net": loaded.spec.to_json(),
        "card": json.dumps(info.card),
        "weights_sha256": loaded.sha256,
    }
    if "alignment" in loaded.metadata:
        metadata["alignment"] = loaded.metadata["alignment"]
    if info.task != "detect":
        metadata["skeleton"] = info.skeleton.to_json()
    else:
        metadata["fit"] = info.fit
        metadata["score_threshold"] = str(info.score_threshold)
        metadata["nms_iou_threshold"] = str(info.nms_iou_threshold)
    return metadata


def export(
    loaded: LoadedNetwork,
    out: Path,
    *,
    name: str,
    card: Mapping[str, Any],
    images: Crops | None = None,
    heatmaps: bool = True,
) -> ExportDrift:
    """Export an ONNX file, compare it with PyTorch, and write it if they agree.

    The card has facts for the metadata in addition to those of the weights: data, licenses. The
    images (n, H, W, 3) to compare on are smooth noise by default. With ``heatmaps``, a pose model
    also outputs its heatmaps, which flip tests need.

    Raises:
        RuntimeError: If the file's results differ from PyTorch's; nothing is written then.
    """
    is_pose = loaded.task == "pose"
    model = to_onnx(loaded, name=name, card=card)
    if is_pose and not heatmaps:
        del model.graph.output[3]
    onnx.checker.check_model(model)
    images = images if images is not None else smooth_noise_images(8, loaded.spec.size)
    drift = compare_outputs(as_module(loaded), model.SerializeToString(), images)
    check_drift(drift, is_pose=is_pose)
    write_bytes(out, model.SerializeToString())
    return drift


def to_model_file(source: LoadedNetwork | Path, path: Path, options: FileOptions) -> Path:
    """Return the path of an ONNX file: ``source`` itself, or ``path`` after exporting to it."""
    if isinstance(source, LoadedNetwork):
        export(source, path, name=options.name, card=options.card, images=options.images)
        return path
    return source


def compare_outputs(module: nn.Module, model: bytes, images: Crops) -> ExportDrift:
    """Run a torch module and an ONNX file on the same images; return the largest differences."""
    session = onnxruntime.InferenceSession(model, session_options(), providers=CPU)
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(None, {session.get_inputs()[0].name: images})
    exported = dict(zip(names, map(np.asarray, arrays), strict=True))
    with torch.inference_mode():
        outputs = [output.numpy() for output in module(torch.from_numpy(images))]
    tasks = {"points": "pose", "affinities": "bottom-up", "boxes": "detect"}
    task = next(task for output, task in tasks.items() if output in names)
    return drift_of(dict(zip(output_names(task), outputs, strict=True)), exported)


def drift_of(
    reference: Mapping[str, np.ndarray], exported: Mapping[str, np.ndarray]
) -> ExportDrift:
    """Return the largest differences between two models' outputs, by name, for the same images.

    Outputs that ``exported`` lacks are not compared.
    """
    if "affinities" in exported:
        differences = [np.abs(reference[name] - exported[name]).max() for name in exported]
        return ExportDrift(pixels=0.0, maps=float(max(differences)))
    compared = reference["scores"] > _COMPARED_SCORE
    maps = "heatmaps" if "heatmaps" in exported else "scores"
    if "points" in exported:
        pixels = np.abs(reference["points"] - exported["points"])[compared]
    else:  # boxes of nearly equal scores may swap places
        pairs = np.abs(reference["boxes"][:, :, None] - exported["boxes"][:, None])
        pixels = pairs.max(axis=3).min(axis=2)[compared]
    return ExportDrift(
        pixels=float(pixels.max(initial=0)),
        maps=float(np.abs(reference[maps] - exported[maps]).max(initial=0)),
    )


def check_drift(drift: ExportDrift, *, is_pose: bool) -> None:
    """Raise RuntimeError if an exported file differs from PyTorch by more than rounding."""
    limit_px = MAX_POINT_DRIFT_PX if is_pose else 10 * MAX_POINT_DRIFT_PX
    if not (drift.pixels <= limit_px and drift.maps <= MAX_HEATMAP_DRIFT):  # NaN fails too
        raise RuntimeError(
            f"the exported file differs from PyTorch by {drift.pixels:.3g} px and "
            f"{drift.maps:.3g} in its maps; expected at most {limit_px} px and "
            f"{MAX_HEATMAP_DRIFT:g}; nothing was written"
        )


def smooth_noise_images(count: int, size: Size) -> Crops:
    """Return images of colored blotches (count, H, W, 3): input with edges, without a data set."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size.height // 16, size.width // 16, 3), dtype=np.uint8)
    enlarged = [
        cv2.resize(image, (size.width, size.height), interpolation=cv2.INTER_CUBIC)
        for image in coarse
    ]
    return np.stack(enlarged).astype(np.uint8)
