"""Read published COCO checkpoints of HRNet, SimpleBaseline and Lightweight OpenPose.

Two layouts of tensor names are known: that of the papers' own repositories (``conv1.weight``,
``stage2.0.branches...``, ``deconv_layers.0.weight``, ``final_layer.weight``), and mmpose's (the
same with the prefixes ``backbone.`` and ``keypoint_head.`` or ``head.``). The file contains neither
its training data besides COCO nor its license.

Convention: the papers' repositories and mmpose crop people as this project does (box scaled by
1.25), but place cell i on pixel 4 * i (``slimpose.network.alignment``), or on UDP's corners if the
file's name says udp. The papers decode by a quarter of a cell to the higher neighbor; here DARK
always follows the network.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from slimpose.arrays import IMAGENET_MEAN, IMAGENET_STD
from slimpose.geometry import CellAlignment
from slimpose.network.baselines.net import BaselineSpec
from slimpose.network.build import BASELINES, Spec, build
from slimpose.network.spec import NetSpec
from slimpose.tasks import Task

ColorOrder = Literal["rgb", "bgr"]
_COUNTER = "num_batches_tracked"
"""Batch norm's step counter. It is not used, and files from before PyTorch 0.4.1 have none."""
IMAGENET_NORMALIZATION = (IMAGENET_MEAN, IMAGENET_STD)
HALF_RANGE_NORMALIZATION = ((128 / 255,) * 3, (256 / 255,) * 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFormat:
    """Conventions of a network's published checkpoints.

    Attributes:
        color_order: The channel order in the papers' repositories; mmpose trains in RGB.
        normalization: Mean and standard deviation per channel position; pixels are 0..1.
        alignment: The positions of the heatmap cells in the crop.
        task: The network's task.
    """

    color_order: ColorOrder = "rgb"
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET_NORMALIZATION
    alignment: CellAlignment = "multiples"
    task: Task = "pose"


PUBLISHED: dict[str, PublishedFormat] = {
    "hrnet-w32": PublishedFormat(),
    "hrnet-w48": PublishedFormat(),
    # Images as OpenCV reads them, BGR, normalized by the constants of R, G and B in this order.
    **{f"simplebaseline-r{depth}": PublishedFormat(color_order="bgr") for depth in (50, 101, 152)},
    "lightweight-openpose": PublishedFormat(
        color_order="bgr",
        normalization=HALF_RANGE_NORMALIZATION,
        alignment="centers",
        task="bottom-up",
    ),
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.pth`` file by name; no code in the file is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a PyTorch checkpoint, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} cannot be read without running code that it contains ({_first_line(error)}); "
            "expected tensors only: if you trust it, save its state_dict alone with torch.save"
        ) from error
    except Exception as error:  # torch's errors for broken files have no common base class
        raise ValueError(
            f"{path} is not a PyTorch checkpoint (cut off?): {_first_line(error)}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{path} holds a {type(content).__name__}; "
            "expected tensors by name, or a state_dict of them"
        )
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(
                f"{path} holds {name!r}, a {type(tensor).__name__}; expected only tensors by name"
            )
    if all(name.startswith("module.") for name in content):  # saved from DataParallel
        return {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return dict(content)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def convert_weights(
    tensors: Mapping[str, Tensor], name: str, *, path: Path, color_order: ColorOrder | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a published checkpoint under the names of our network.

    ``name`` is a network of ``PUBLISHED``; errors name the file ``path``. The first layer is
    changed so that it takes RGB crops normalized as in this project. ``color_order`` is the channel
    order of the checkpoint's training; by default that of its layout.

    Raises:
        ValueError: If no layout of the network is known, or a tensor is missing, unexpected or of
            another shape.
    """
    if name not in PUBLISHED:
        raise ValueError(
            f"no published layout of {name!r} is known; expected one of {', '.join(PUBLISHED)}"
        )
    published = PUBLISHED[name]
    head = _mmpose_head(tensors)
    with torch.device("meta"):
        shapes = {own: tensor.shape for own, tensor in build(BASELINES[name]).state_dict().items()}
    loaded: dict[str, Tensor] = {}
    unused = set(tensors)
    for own, shape in shapes.items():
        key = _published_name(own, BASELINES[name])
        if head is not None:
            is_head = key.startswith(("deconv_layers.", "final_layer."))
            key = f"{head if is_head else 'backbone'}.{key}"
        unused.discard(key)
        if key not in tensors and own.endswith(_COUNTER):
            loaded[own] = torch.zeros((), dtype=torch.int64)
            continue
        if key not in tensors:
            raise ValueError(
                f"{path} lacks {key} {tuple(shape)} (weights of another network than {name}?)"
            )
        if tensors[key].shape != shape:
            raise ValueError(
                f"{path}: {key} is {tuple(tensors[key].shape)}; {name} expects {tuple(shape)} "
                "(another width, or other joints than COCO's?)"
            )
        loaded[own] = tensors[key]
    if unused:
        raise ValueError(
            f"{path} holds {min(unused)}, which {name} does not have (weights of another network?)"
        )
    order = color_order or ("rgb" if head is not None else published.color_order)
    return adapt_first_layer(loaded, order, published.normalization)


def _mmpose_head(tensors: Mapping[str, Tensor]) -> str | None:
    """The prefix of the head in a file of mmpose; None for another file."""
    if not any(name.startswith("backbone.") for name in tensors):
        return None
    return "keypoint_head" if any(name.startswith("keypoint_head.") for name in tensors) else "head"


def _published_name(own: str, spec: Spec) -> str:
    """The name of our tensor in the repository of the paper."""
    if isinstance(spec, BaselineSpec):
        return own.removeprefix("body.")
    assert isinstance(spec, NetSpec)
    if own.startswith("decoder.deconvolutions."):
        _, _, level, part, tensor = own.split(".")
        # The published layers are one sequence: deconvolution, norm, ReLU, deconvolution, ...
        return f"deconv_layers.{3 * int(level) + int(part)}.{tensor}"
    return own.removeprefix("encoder.body.").replace("to_heatmaps.", "final_layer.")


def adapt_first_layer(
    tensors: dict[str, Tensor],
    color_order: ColorOrder,
    normalization: tuple[tuple[float, ...], tuple[float, ...]],
) -> dict[str, Tensor]:
    """Adapt the first convolution and its batch norm to RGB with ImageNet's normalization.

    A published input channel is scale * (our channel of the same color) + shift. The weights absorb
    the scale, the norm's mean the shift. This is exact but for the outermost pixels, where both
    networks pad with 0.
    """
    if color_order == "rgb" and normalization == IMAGENET_NORMALIZATION:
        return tensors
    first = next(
        name for name, tensor in tensors.items() if tensor.ndim == 4 and tensor.shape[1] == 3
    )
    mean = next(name for name in tensors if name.endswith("running_mean"))
    order = [0, 1, 2] if color_order == "rgb" else [2, 1, 0]
    our_mean, our_std = torch.tensor(IMAGENET_NORMALIZATION, dtype=torch.float64)
    their_mean, their_std = torch.tensor(normalization, dtype=torch.float64)[:, order]
    weight = tensors[first].double()[:, order]
    shift = (our_mean - their_mean) / their_std
    moved = tensors[mean].double() - (weight.sum(dim=(2, 3)) * shift).sum(dim=1)
    scaled = weight * (our_std / their_std).view(1, 3, 1, 1)
    return {**tensors, first: scaled.float(), mean: moved.float()}
