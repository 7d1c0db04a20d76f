"""The person detector: the same encoder and shrunk deconvolutions, to a centre map and four distances a cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimpose.network.decoder import Decoder
from slimpose.network.encoder import Encoder
from slimpose.network.spec import NetSpec

_UNIT_PX = 32.0
"""Distances are predicted as logarithms in this unit, so that an untrained net guesses boxes of 64 px."""
_RARE = -4.6
"""Initial logit of a cell being a centre: 1 in 100, so that the first steps are not spent on the background."""


class DetectorNet(nn.Module):
    """uint8 images (n, H, W, 3) RGB to centre logits (n, h, w) and boxes (n, 4, h, w) in input pixels.

    Source:
        Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", AAAI 2020: one map, no anchors.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.decoder = Decoder(spec, self.encoder.channels)
        width = self.decoder.channels
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.to_outputs = nn.Conv2d(width, 5, 1)
        nn.init.normal_(self.to_outputs.weight, std=1e-3)
        with torch.no_grad():
            self.to_outputs.bias.copy_(torch.tensor([_RARE, 0, 0, 0, 0]))  # pyright: ignore[reportOptionalMemberAccess]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre logits and x1, y1, x2, y2 of each cell's box."""
        outputs = self.to_outputs(self.mix(self.decoder(self.encoder(images.float().permute(0, 3, 1, 2)))))
        stride, (height, width) = self.spec.stride, outputs.shape[2:]
        x = torch.arange(width, device=outputs.device, dtype=outputs.dtype) * stride + (stride - 1) / 2
        y = torch.arange(height, device=outputs.device, dtype=outputs.dtype) * stride + (stride - 1) / 2
        distances = torch.exp(outputs[:, 1:].clamp(-4, 4)) * _UNIT_PX
        left, top, right, bottom = distances.unbind(1)
        boxes = torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], dim=1)
        return outputs[:, 0], boxes


class BoxDecoder(nn.Module):
    """The exported detector: uint8 images to the best ``most`` boxes (n, most, 4) and scores (n, most), best first.

    A cell counts where it is the maximum of its 3x3 neighbours; the others' scores are 0.
    """

    def __init__(self, net: DetectorNet, *, most: int = 100) -> None:
        super().__init__()
        self.net = net
        self.most = min(most, net.spec.heatmap_size.height * net.spec.heatmap_size.width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes in input pixels and scores 0..1."""
        logits, boxes = self.net(images)
        is_peak = logits == F.max_pool2d(logits[:, None], 3, stride=1, padding=1)[:, 0]
        scores = (torch.sigmoid(logits) * is_peak).flatten(1)
        best, where = scores.topk(self.most, dim=1)
        return boxes.flatten(2).transpose(1, 2).gather(1, where[..., None].expand(-1, -1, 4)), best
