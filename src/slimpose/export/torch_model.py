"""Weights run by PyTorch as if they were exported, and the information an exported file carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from slimpose.arrays import Crops
from slimpose.network.baselines.net import BaselineNet, PartAffinityNet
from slimpose.network.cost import cost_of
from slimpose.network.dark import PoseDecoder
from slimpose.network.detector_net import BoxDecoder, DetectorNet
from slimpose.network.pyramid_detector import PyramidDetector
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.detector import NMS_IOU_THRESHOLD, SCORE_THRESHOLD
from slimpose.runtime.session import ModelInfo
from slimpose.skeleton import COCO17, OPENPOSE18, Skeleton

_OUTPUTS = {
    "pose": ("points", "scores", "covariances", "heatmaps"),
    "detect": ("boxes", "scores"),
    "bottom-up": ("heatmaps", "affinities"),
}


def output_names(task: str) -> tuple[str, ...]:
    """Return the names of an exported graph's outputs."""
    return _OUTPUTS[task]


def as_module(loaded: LoadedNetwork) -> nn.Module:
    """Return the network with its decoding, as exported: pixels in, points, boxes or maps out.

    Raises:
        ValueError: If the network cannot do the task.
    """
    net = loaded.net
    if loaded.task == "bottom-up" and isinstance(net, BaselineNet):
        return PartAffinityNet(net).eval()
    if loaded.task == "pose" and not isinstance(net, (DetectorNet, PyramidDetector)):
        return PoseDecoder(net).eval()
    if loaded.task == "detect" and isinstance(net, (DetectorNet, PyramidDetector)):
        return BoxDecoder(net).eval()
    raise ValueError(
        f"the task is {loaded.task!r}, which a {type(net).__name__} with {net.spec.joints} joints "
        "cannot do"
    )


def model_info(loaded: LoadedNetwork, *, name: str, card: Mapping[str, Any]) -> ModelInfo:
    """Return what an exported FP32 file says about itself.

    The card has facts in addition to those of the weights; a detector's ``score_threshold`` and
    ``nms_iou_threshold`` are taken from it.
    """
    metadata, is_detector = loaded.metadata, loaded.task == "detect"
    facts: dict[str, Any] = {
        key: metadata[key] for key in ("start", "train_file", "samples") if key in metadata
    }
    facts |= {key: json.loads(metadata[key]) for key in ("figures", "recipe") if key in metadata}
    default_skeleton = OPENPOSE18 if loaded.task == "bottom-up" else COCO17
    cost = cost_of(loaded.net, loaded.spec.size)
    return ModelInfo(
        name=name,
        task=loaded.task,
        size=loaded.spec.size,
        stride=loaded.spec.stride,
        precision="fp32",
        gmac=round(cost.gmac, 4),
        params=cost.params,
        card={**facts, **card},
        skeleton=Skeleton.from_json(metadata["skeleton"])
        if "skeleton" in metadata and not is_detector
        else default_skeleton,
        fit=loaded.spec.fit,
        score_threshold=float(card.get("score_threshold", SCORE_THRESHOLD)) if is_detector else 0.0,
        nms_iou_threshold=float(card.get("nms_iou_threshold", NMS_IOU_THRESHOLD))
        if is_detector
        else 1.0,
    )


class TorchModel:
    """A network run by PyTorch: implements ``slimpose.runtime.session.Model``."""

    def __init__(self, loaded: LoadedNetwork, *, name: str = "weights") -> None:
        self._module = as_module(loaded)
        self.info = model_info(loaded, name=name, card={})
        self.outputs = output_names(loaded.task)

    @torch.inference_mode()
    def run(self, batch: Crops, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3)."""
        results = dict(zip(self.outputs, self._module(torch.from_numpy(batch)), strict=True))
        return [results[name].numpy() for name in outputs]
