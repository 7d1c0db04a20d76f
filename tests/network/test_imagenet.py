"""ImageNet weights for encoders."""

from __future__ import annotations

import timm
import torch

from slimpose.arrays import Size
from slimpose.network.encoder import Encoder
from slimpose.network.family import family_spec
from slimpose.network.imagenet import _match_normalization


def test_normalization_of_the_weights_is_matched() -> None:
    spec = family_spec("mnv2", size=Size(64, 64))
    encoder = Encoder(spec).eval()
    config = timm.get_pretrained_cfg(spec.encoder)
    assert config is not None
    timm_net = timm.create_model(
        spec.encoder, features_only=True, out_indices=(1,), pad_type="same"
    ).eval()
    own = encoder.body.state_dict()
    timm_net.load_state_dict({name: own[name] for name in timm_net.state_dict()})
    _match_normalization(encoder, spec)
    images = torch.rand(2, 3, 64, 64) * 255
    mean, std = (
        255 * torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std)
    )
    with torch.inference_mode():
        expected, matched = timm_net((images - mean) / std)[0], encoder(images)[0]
    torch.testing.assert_close(
        matched[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-4, rtol=1e-3
    )
