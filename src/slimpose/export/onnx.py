"""Weights to one ONNX file: pixels in, points or boxes out, batch free, its whole story in the metadata."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
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
from slimpose.formats.files import write_bytes
from slimpose.network.baselines.net import BaselineNet, PartAffinityNet
from slimpose.network.build import Net, Spec, build, net_of
from slimpose.network.cost import cost_of
from slimpose.network.dark import PoseDecoder
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.runtime.detector import NMS_IOU_THRESHOLD, SCORE_THRESHOLD
from slimpose.runtime.onnx_file import CPU, session_options
from slimpose.runtime.session import FORMAT, read_info
from slimpose.skeleton import COCO17, OPENPOSE18
from slimpose.tasks import Task, parse_task
from slimpose.train import checkpoint

GRAPH = 1
"""Raised when the exported graph changes, its decoding included: graphs kept in caches are made anew then."""
MAX_POINT_DRIFT_PX = 0.05
MAX_HEATMAP_DRIFT = 1e-3
_COMPARED_SCORE = 0.1
"""Joints scored lower may sit on a tie of two cells, which rounding decides; their heatmaps are compared too."""
_OPSET = 18
_OUTPUTS = {
    "pose": ("points", "scores", "covariances", "heatmaps"),
    "detect": ("boxes", "scores"),
    "bottom-up": ("heatmaps", "affinities"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """A network with its weights and what its file says of itself."""

    net: Net
    spec: Spec
    task: Task
    metadata: dict[str, str]
    sha256: str


def load_weights(path: Path) -> LoadedWeights:
    """Read best.safetensors of a run, or what ``slimpose import-weights`` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no weights file of a slimpose net.
    """
    saved = checkpoint.load_weights(path)
    if not {"task", "net"} <= saved.metadata.keys():
        raise ValueError(
            f"{path} does not say which net it holds; expected best.safetensors written by slimpose train"
        )
    net = net_of(saved.metadata)
    checkpoint.load_into(net, saved.tensors, path=path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return LoadedWeights(
        net=net.eval(),
        spec=net.spec,
        task=parse_task(saved.metadata["task"]),
        metadata=saved.metadata,
        sha256=digest,
    )


def random_weights(spec: Spec, *, task: Task | None = None) -> LoadedWeights:
    """Return a network with random weights: as fast as a trained one, for timing systems nobody has weights of.

    Its task is the one it was made for, unless another is given.
    """
    net = build(spec).eval()
    task = task or spec.task
    metadata = {"task": task, "net": spec.to_json(), "start": "random weights, untrained"}
    if task == "bottom-up":
        metadata["skeleton"] = OPENPOSE18.to_json()
    return LoadedWeights(net=net, spec=spec, task=task, metadata=metadata, sha256="")


def as_module(loaded: LoadedWeights) -> nn.Module:
    """Return the network with its decoding, as it is exported: pixels in, points, boxes or maps out.

    Raises:
        ValueError: If the task is not one for this network.
    """
    net = loaded.net
    if loaded.task == "bottom-up" and isinstance(net, BaselineNet):
        return PartAffinityNet(net).eval()
    if loaded.task == "pose" and not isinstance(net, DetectorNet):
        return PoseDecoder(net).eval()
    if loaded.task == "detect" and isinstance(net, DetectorNet):
        return BoxDecoder(net).eval()
    raise ValueError(
        f"the task is {loaded.task!r}, which is none for a {type(net).__name__} of {net.spec.joints} joints"
    )


class TorchModel:
    """Weights run by PyTorch as if they were exported: a ``slimpose.runtime.session.Model``."""

    def __init__(self, loaded: LoadedWeights, *, name: str = "weights") -> None:
        self.info = read_info(
            Path(name), metadata_for(loaded, name=name, card={}, size=loaded.spec.size)
        )
        self.outputs = output_names(loaded.task)
        self._module = as_module(loaded)

    @torch.inference_mode()
    def run(self, batch: Crops, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3)."""
        found = dict(zip(self.outputs, self._module(torch.from_numpy(batch)), strict=True))
        return [found[name].numpy() for name in outputs]


def output_names(task: Task) -> tuple[str, ...]:
    """Return the names of the exported graph's outputs."""
    return _OUTPUTS[task]


def to_onnx(loaded: LoadedWeights, *, name: str, card: Mapping[str, Any]) -> onnx.ModelProto:
    """Return the graph of a network with its decoding and metadata, not yet compared with PyTorch."""
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
    for key, value in metadata_for(loaded, name=name, card=card, size=loaded.spec.size).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.graph.name = name
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportDrift:
    """How far the exported file is from PyTorch: points or boxes in pixels, maps or scores in their own unit."""

    pixels: float
    maps: float


def export(
    loaded: LoadedWeights,
    out: Path,
    *,
    name: str,
    card: dict[str, Any],
    pictures: Crops | None = None,
    heatmaps: bool = True,
) -> ExportDrift:
    """Write the ONNX file, after it agreed with PyTorch.

    Args:
        loaded: The network.
        out: The file to write.
        name: What the model is called.
        card: Facts for the metadata beside those of the weights: data, licenses.
        pictures: Real crops to compare on; smooth noise by default.
        heatmaps: Whether a pose file also gives its heatmaps (for flip tests).

    Raises:
        RuntimeError: If the file's results differ from PyTorch's; nothing is written then.
    """
    is_pose = loaded.task == "pose"
    model = to_onnx(loaded, name=name, card=card)
    if is_pose and not heatmaps:
        del model.graph.output[3]
    onnx.checker.check_model(model)
    pictures = pictures if pictures is not None else smooth_noise_images(8, loaded.spec.size)
    drift = compare_outputs(as_module(loaded), model.SerializeToString(), pictures)
    check_drift(drift, is_pose=is_pose)
    write_bytes(out, model.SerializeToString())
    return drift


def to_model_file(
    source: LoadedWeights | Path, path: Path, *, name: str, card: Mapping[str, Any], pictures: Crops
) -> Path:
    """Return an ONNX file as it is; of weights the one written at ``path``."""
    if isinstance(source, LoadedWeights):
        export(source, path, name=name, card=dict(card), pictures=pictures)
        return path
    return source


def compare_outputs(module: nn.Module, model: bytes, pictures: Crops) -> ExportDrift:
    """Return the largest differences between a torch module and its file on the same pictures."""
    session = onnxruntime.InferenceSession(model, session_options(), providers=CPU)
    names = [output.name for output in session.get_outputs()]
    answers = [
        np.asarray(answer) for answer in session.run(None, {session.get_inputs()[0].name: pictures})
    ]
    theirs = dict(zip(names, answers, strict=True))
    with torch.inference_mode():
        mine = [output.numpy() for output in module(torch.from_numpy(pictures))]
    task = "pose" if "points" in theirs else "bottom-up" if "affinities" in theirs else "detect"
    return drift_of(dict(zip(output_names(task), mine, strict=True)), theirs)


def drift_of(mine: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> ExportDrift:
    """Return the largest differences between two answers for the same pictures, in what both hold."""
    if "affinities" in theirs:
        return ExportDrift(
            pixels=0.0, maps=float(max(np.abs(mine[name] - theirs[name]).max() for name in theirs))
        )
    counted = mine["scores"] > _COMPARED_SCORE
    places, maps = (
        "points" if "points" in theirs else "boxes",
        "heatmaps" if "heatmaps" in theirs else "scores",
    )
    pixels = np.abs(mine[places] - theirs[places])[counted]
    return ExportDrift(
        pixels=float(pixels.max(initial=0)),
        maps=float(np.abs(mine[maps] - theirs[maps]).max(initial=0)),
    )


def check_drift(drift: ExportDrift, *, is_pose: bool) -> None:
    """Raise RuntimeError if a file that should be the same is not."""
    limit_px = MAX_POINT_DRIFT_PX if is_pose else 10 * MAX_POINT_DRIFT_PX
    if not (drift.pixels <= limit_px and drift.maps <= MAX_HEATMAP_DRIFT):  # neither may be NaN
        raise RuntimeError(
            f"the exported file differs from PyTorch by {drift.pixels:.3g} px and {drift.maps:.3g} in its maps; "
            f"expected at most {limit_px} px and {MAX_HEATMAP_DRIFT:g}; nothing was written"
        )


def smooth_noise_images(count: int, size: Size) -> Crops:
    """Return pictures of colored blotches: something with edges, without a data set."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size.height // 16, size.width // 16, 3), dtype=np.uint8)
    enlarged = [
        cv2.resize(picture, (size.width, size.height), interpolation=cv2.INTER_CUBIC)
        for picture in coarse
    ]
    return np.stack(enlarged).astype(np.uint8)


def metadata_for(
    loaded: LoadedWeights, *, name: str, card: Mapping[str, Any], size: Size
) -> dict[str, str]:
    """Return what an exported file says of itself."""
    cost = cost_of(loaded.net, size)
    story = {
        key: loaded.metadata[key]
        for key in ("start", "train_file", "samples")
        if key in loaded.metadata
    }
    for key in ("figures", "recipe"):
        if key in loaded.metadata:
            story[key] = json.loads(loaded.metadata[key])
    metadata = {
        "slimpose": FORMAT,
        "task": loaded.task,
        "name": name,
        "precision": "fp32",
        "height": str(size.height),
        "width": str(size.width),
        "stride": str(loaded.spec.stride),
        "gmac": f"{cost.gmac:.4f}",
        "params": str(cost.params),
        "net": loaded.spec.to_json(),
        "card": json.dumps({**story, **card}),
        "weights_sha256": loaded.sha256,
    }
    if "alignment" in loaded.metadata:
        metadata["alignment"] = loaded.metadata["alignment"]
    if loaded.task != "detect":
        metadata["skeleton"] = loaded.metadata.get("skeleton", COCO17.to_json())
    else:
        metadata |= {
            "score_threshold": str(card.get("score_threshold", SCORE_THRESHOLD)),
            "nms_iou_threshold": str(card.get("nms_iou_threshold", NMS_IOU_THRESHOLD)),
        }
    return metadata
