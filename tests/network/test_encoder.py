"""Encoders: stages, squeeze-and-excite, activations, normalization."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from slimpose.network.encoder import Encoder
from slimpose.network.family import family_spec
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from small_network import SMALL, changed, crops, parameters


def test_encoder_of_stride_16_lacks_only_the_last_stages() -> None:
    full = Encoder(family_spec("b0")).body.state_dict()
    shortened = Encoder(
        NetSpec(encoder="tf_efficientnet_b0", encoder_stride=16, deconv_widths=(32, 32))
    ).body.state_dict()
    assert shortened.keys() < full.keys()
    assert all(shortened[name].shape == full[name].shape for name in shortened)
    assert not any(name.startswith(("blocks.5", "blocks.6")) for name in shortened)


def test_squeeze_excite_layers_are_removed() -> None:
    def squeezes(spec: NetSpec) -> int:
        return sum("Squeeze" in type(module).__name__ for module in PoseNet(spec).modules())

    b0 = family_spec("b0")
    without = NetSpec(encoder=b0.encoder, squeeze_excite=False)
    assert squeezes(b0) == 16  # one per block
    assert squeezes(without) == 0
    assert parameters(PoseNet(without)) < parameters(PoseNet(b0))
    with torch.inference_mode():
        assert PoseNet(without).eval()(crops()).shape == (1, 17, 16, 16)


@pytest.mark.parametrize(
    ("activation", "kind"), [("relu", nn.ReLU), ("relu6", nn.ReLU6), ("hard-swish", nn.Hardswish)]
)
def test_all_activations_of_the_encoder_are_replaced(
    activation: str, kind: type[nn.Module]
) -> None:
    activations = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
    encoder = Encoder(
        changed(encoder="tf_efficientnet_b0", width_multiplier=1.0, activation=activation)
    )
    kinds = {type(module) for module in encoder.modules() if isinstance(module, activations)}
    assert kinds == {kind}


def test_pixels_are_normalized_for_the_encoder() -> None:
    mobile = Encoder(SMALL)
    assert mobile.mean_pixel.flatten().tolist() == [127.5] * 3
    assert mobile.std_pixel.flatten().tolist() == [127.5] * 3
    resnet = Encoder(family_spec("r18"))
    assert resnet.mean_pixel.flatten().tolist() == pytest.approx(
        [255 * 0.485, 255 * 0.456, 255 * 0.406]
    )


def test_width_multiplier_of_unsupported_encoder_is_rejected() -> None:
    with pytest.raises(
        ValueError, match=re.escape("width_multiplier 2 needs mobilenetv2_100, got 'resnet18'")
    ):
        Encoder(NetSpec(encoder="resnet18", width_multiplier=2.0))
