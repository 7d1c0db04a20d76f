"""The pose network: crops of one person each to heatmaps, one per joint."""

from __future__ import annotations

from torch import Tensor, nn

from slimpose.geometry import CellAlignment
from slimpose.network.alignment import align_heatmaps
from slimpose.network.decoder import Decoder
from slimpose.network.encoder import Encoder
from slimpose.network.spec import NetSpec


class PoseNet(nn.Module):
    """uint8 crops (n, H, W, 3) RGB to heatmaps (n, joints, H/stride, W/stride), peaks near 1.

    ``alignment`` is where the heatmaps' cells lay when the weights were trained.
    """

    def __init__(self, spec: NetSpec, alignment: CellAlignment = "centers") -> None:
        super().__init__()
        self.spec = spec
        self.alignment: CellAlignment = alignment
        self.encoder = Encoder(spec)
        self.decoder = Decoder(spec, self.encoder.channels)
        self.to_heatmaps = nn.Conv2d(self.decoder.channels, spec.joints, 1)
        nn.init.normal_(self.to_heatmaps.weight, std=1e-3)
        nn.init.zeros_(self.to_heatmaps.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, crops: Tensor, with_maps: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Return heatmaps; any input size that is a multiple of the encoder's stride works.

        With ``with_maps``, also return the encoder's maps, finest first, and the head's output
        (n, head_width, h, w) before its activation.
        """
        features = self.encoder(crops.float().permute(0, 3, 1, 2))
        if not with_maps:
            return self._heatmaps(self.decoder(features))
        head = self.decoder.head_features(features)
        return self._heatmaps(self.decoder.decode(features, head.relu())), *features, head

    def _heatmaps(self, decoded: Tensor) -> Tensor:
        return align_heatmaps(self.to_heatmaps(decoded), self.alignment, stride=self.spec.stride)
