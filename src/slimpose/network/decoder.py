"""The narrow decoder: a 1x1 head, then narrow stride-2 deconvolutions (paper, section III)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimpose.network.spec import NetSpec

_FINEST_SKIP_STRIDE = 8


def conv_norm(convolution: nn.Module, channels: int) -> nn.Sequential:
    """Return a convolution followed by batch norm and ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Decoder(nn.Module):
    """Encoder features to maps of ``spec.stride`` with ``channels`` channels.

    Skips come from the encoder's maps of stride 16 and 8 (with another at stride 4, the paper's
    "concat" would cost more than it prints). ``sum`` projects the map to the deconvolution's width
    by a 1x1 convolution and adds it; ``concat`` concatenates it with the deconvolution's output and
    reduces both to that width by a 1x1 convolution.
    """

    def __init__(self, spec: NetSpec, encoder_channels: tuple[int, ...]) -> None:
        super().__init__()
        coarse_to_fine = encoder_channels[::-1]
        width = coarse_to_fine[0]
        self.head: nn.Module = nn.Identity()
        if spec.head_width:
            self.head = conv_norm(nn.Conv2d(width, spec.head_width, 1, bias=False), spec.head_width)
            width = spec.head_width
        self.skip = spec.skip
        self.deconvolutions = nn.ModuleList()
        self.skips = nn.ModuleList()
        for level, deconv_width in enumerate(spec.deconv_widths):
            deconvolution = nn.ConvTranspose2d(
                width, deconv_width, 4, stride=2, padding=1, bias=False
            )
            self.deconvolutions.append(conv_norm(deconvolution, deconv_width))
            width = deconv_width
            if (
                spec.skip != "none"
                and spec.encoder_stride // 2 ** (level + 1) >= _FINEST_SKIP_STRIDE
            ):
                joined = coarse_to_fine[level + 1] + (width if spec.skip == "concat" else 0)
                self.skips.append(nn.Conv2d(joined, width, 1))
        self.channels = width

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the decoded map; features are ordered finest first."""
        return self.decode(features, self.head(features[-1]))

    def head_features(self, features: list[Tensor]) -> Tensor:
        """Return the head's maps (n, head_width, h, w) before activation; it must have a head."""
        convolution, norm, _ = self.head.children()
        return norm(convolution(features[-1]))

    def decode(self, features: list[Tensor], decoded: Tensor) -> Tensor:
        """Return the decoded map from the head's activated output ``decoded``."""
        for level, deconvolution in enumerate(self.deconvolutions):
            decoded = deconvolution(decoded)
            if level < len(self.skips):
                skip_features = features[-2 - level]
                if self.skip == "sum":
                    decoded = decoded + self.skips[level](skip_features)
                else:
                    decoded = self.skips[level](torch.cat([decoded, skip_features], dim=1))
        return decoded
