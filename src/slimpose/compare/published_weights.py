"""Published COCO checkpoints of HRNet, SimpleBaseline and Lightweight OpenPose as weights of our nets.

Two layouts of names are known: that of the papers' own repositories (``conv1.weight``,
``stage2.0.branches...``, ``deconv_layers.0.weight``, ``final_layer.weight``), and mmpose's (the
same behind ``backbone.`` and ``keypoint_head.`` or ``head.``). What they were trained on beside
COCO, and their license, the file does not say.

Convention: the papers' repositories and mmpose cut crops as we do (box grown by 1.25), but place
cell i on pixel 4 * i (``slimpose.network.alignment``), or on UDP's corners where the file's name
says udp. The papers decode by a quarter of a cell towards the higher neighbor; DARK is behind the
net here in any case.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from slimpose.network.alignment import Alignment
from slimpose.network.baselines.net import BaselineSpec
from slimpose.network.build import BASELINES, Spec, build
from slimpose.network.spec import NetSpec

Colors = Literal["rgb", "bgr"]
_COUNTER = "num_batches_tracked"
"""Batch norm's counter of steps; files from before PyTorch 0.4.1 have none, and nothing is computed from it."""
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((128 / 255,) * 3, (256 / 255,) * 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFormat:
    """What is known of a net's published checkpoints.

    Attributes:
        colors: The order of channels in which the papers' repositories trained; mmpose trains in
            RGB.
        normalization: Mean and deviation by which they divide, by the channel's place; pixels 0..1.
        alignment: Where their heatmaps' cells lie.
        task: What the net is for.
    """

    color_order: Colors = "rgb"
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET
    alignment: Alignment = "multiples"
    task: str = "pose"


PUBLISHED: dict[str, PublishedFormat] = {
    "hrnet-w32": PublishedFormat(),
    "hrnet-w48": PublishedFormat(),
    # Pictures as OpenCV reads them, B G R, normalized by R's, G's and B's constants in this order.
    **{f"simplebaseline-r{depth}": PublishedFormat(color_order="bgr") for depth in (50, 101, 152)},
    "lightweight-openpose": PublishedFormat(
        color_order="bgr", normalization=_HALF, alignment="centers", task="bottom-up"
    ),
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.pth`` file by name, unwrapped; nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no PyTorch checkpoint, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} cannot be read without running code that it brings ({_first_line(error)}); expected "
            "tensors only: where you trust it, save its state_dict alone with torch.save"
        ) from error
    except Exception as error:  # torch's errors for broken files share no base
        raise ValueError(
            f"{path} is not a PyTorch checkpoint (cut off?): {_first_line(error)}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected tensors by name, or a state_dict of them"
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
    tensors: Mapping[str, Tensor], name: str, *, path: Path, colors: Colors | None = None
) -> dict[str, Tensor]:
    """Return a published checkpoint's tensors under our net's names, for crops as our nets take them.

    Args:
        tensors: As ``read_checkpoint`` gives them.
        name: The compared net: one of ``PUBLISHED``.
        path: The file, for errors.
        colors: The channel order it was trained in; by default, what is known of its layout.

    Raises:
        ValueError: If no layout of the net is known, or a tensor is missing, left over or of
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
    left = set(tensors)
    for own, shape in shapes.items():
        theirs = _published_name(own, BASELINES[name])
        if head is not None:
            theirs = (
                f"{head}." if theirs.startswith(("deconv_layers.", "final_layer.")) else "backbone."
            ) + theirs
        left.discard(theirs)
        if theirs not in tensors:
            if own.endswith(_COUNTER):
                loaded[own] = torch.zeros((), dtype=torch.int64)
                continue
            raise ValueError(
                f"{path} lacks {theirs} {tuple(shape)} (another network's weights than {name}'s?)"
            )
        if tensors[theirs].shape != shape:
            raise ValueError(
                f"{path}: {theirs} is {tuple(tensors[theirs].shape)}; {name} expects {tuple(shape)} "
                "(another width, or other joints than COCO's?)"
            )
        loaded[own] = tensors[theirs]
    if left:
        raise ValueError(
            f"{path} holds {min(left)}, which {name} has not (another network's weights?)"
        )
    order = colors or ("rgb" if head is not None else published.color_order)
    return _for_our_pixels(loaded, order, published.normalization)


def _mmpose_head(tensors: Mapping[str, Tensor]) -> str | None:
    """What mmpose calls the head in this file; None if it is not mmpose's."""
    if not any(name.startswith("backbone.") for name in tensors):
        return None
    return "keypoint_head" if any(name.startswith("keypoint_head.") for name in tensors) else "head"


def _published_name(own: str, spec: Spec) -> str:
    """The name of one of our tensors in the repository of its paper."""
    if isinstance(spec, BaselineSpec):
        return own.removeprefix("body.")
    assert isinstance(spec, NetSpec)
    if own.startswith("decoder.deconvolutions."):
        _, _, level, part, tensor = own.split(".")
        # Theirs are one sequence: deconvolution, norm, ReLU, deconvolution, ...
        return f"deconv_layers.{3 * int(level) + int(part)}.{tensor}"
    return own.removeprefix("encoder.body.").replace("to_heatmaps.", "final_layer.")


def _for_our_pixels(
    tensors: dict[str, Tensor],
    colors: Colors,
    normalization: tuple[tuple[float, ...], tuple[float, ...]],
) -> dict[str, Tensor]:
    """Change the first convolution and its batch norm so that they take RGB normalized by ImageNet's statistics.

    Channel c of theirs is scale * (our channel of the same color) + shift: the weights take the
    scale, the norm's mean the shift, which is exact but for the outermost pixels, where padding is
    0 in both.
    """
    if colors == "rgb" and normalization == _IMAGENET:
        return tensors
    first = next(
        name for name, tensor in tensors.items() if tensor.ndim == 4 and tensor.shape[1] == 3
    )
    mean = next(name for name in tensors if name.endswith("running_mean"))
    order = [0, 1, 2] if colors == "rgb" else [2, 1, 0]
    our_mean, our_std = (torch.tensor(values, dtype=torch.float64) for values in _IMAGENET)
    their_mean, their_std = (
        torch.tensor(values, dtype=torch.float64)[order] for values in normalization
    )
    weight = tensors[first].double()[:, order]
    shift = (our_mean - their_mean) / their_std
    moved = tensors[mean].double() - (weight.sum(dim=(2, 3)) * shift).sum(dim=1)
    scaled = weight * (our_std / their_std).view(1, 3, 1, 1)
    return {**tensors, first: scaled.float(), mean: moved.float()}
