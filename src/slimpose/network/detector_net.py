"""The person detector: encoder and narrow decoder, to a score and four edge distances per cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimpose.arrays import Size
from slimpose.network.cells import Cells, grid_cells
from slimpose.network.decoder import Decoder, conv_norm
from slimpose.network.encoder import Encoder
from slimpose.network.pyramid_detector import PyramidDetector
from slimpose.network.spec import NetSpec

_UNIT_PX = 32.0
"""Distances are predicted as logarithms in this unit, so initial boxes have 64 px."""
_PRIOR_LOGIT = -4.6
"""Initial logit of a score, 1 in 100: the first steps are not spent on learning the background."""


class _WideBlock(nn.Module):
    """A residual large-kernel depthwise and 1x1 convolution: a wide view for few multiply-adds."""

    has_skip = True

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class DetectorNet(nn.Module):
    """uint8 images (n, H, W, 3) RGB to person logits (n, cells) and boxes (n, cells, 4) in pixels.

    Source:
        Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", AAAI 2020: one
        map, no anchors. Ge et al., "YOLOX", arXiv:2107.08430: separate branches for
        classification and regression.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.decoder = Decoder(spec, self.encoder.channels)
        coarsest, width = self.encoder.channels[-1], self.decoder.channels
        self.context = nn.Sequential(_WideBlock(coarsest, 7), _WideBlock(coarsest, 7))
        self.mix = conv_norm(nn.Conv2d(width, width, 3, padding=1, bias=False), width)
        self.towards_score = _WideBlock(width, 5)
        self.towards_box = _WideBlock(width, 5)
        self.to_logit, self.to_edges = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 4, 1)
        for last, bias in ((self.to_logit, _PRIOR_LOGIT), (self.to_edges, 0.0)):
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.constant_(last.bias, bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and boxes (x1, y1, x2, y2) of all cells."""
        *finer, coarsest = self.encoder(images.float().permute(0, 3, 1, 2))
        mixed = self.mix(self.decoder([*finer, self.context(coarsest)]))
        logits = self.to_logit(self.towards_score(mixed)).flatten(1)
        edges = self.to_edges(self.towards_box(mixed)).flatten(2).transpose(1, 2)
        centers, _ = self.cells(Size(*images.shape[1:3]), edges.device)
        distances = torch.exp(edges.clamp(-4, 4)) * _UNIT_PX
        return logits, torch.cat(
            [centers - distances[..., :2], centers + distances[..., 2:]], dim=2
        )

    def cells(self, size: Size, device: torch.device) -> Cells:
        """Return the cells for an input size."""
        return grid_cells(size, [self.spec.stride], device)


class BoxDecoder(nn.Module):
    """The exported detector: uint8 images to the best boxes (n, max_boxes, 4) and their scores.

    Several cells may predict the same person: the reader of the outputs applies NMS (``box_nms``).
    3x3 max pooling, which would nearly replace NMS, loses people who stand close together.
    """

    def __init__(self, net: DetectorNet | PyramidDetector, *, max_boxes: int = 300) -> None:
        super().__init__()
        self.net = net
        cells = net.cells(net.spec.size, torch.device("cpu"))
        self.max_boxes = min(max_boxes, len(cells.strides))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes in input pixels and scores (n, max_boxes) in 0..1, best first."""
        logits, boxes = self.net(images)
        best, where = torch.sigmoid(logits).topk(self.max_boxes, dim=1)
        return boxes.gather(1, where[..., None].expand(-1, -1, 4)), best
