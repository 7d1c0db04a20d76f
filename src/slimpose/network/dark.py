"""DARK decoding as a torch module, inside the exported graph; the twin of ``slimpose.heatmap.decode``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimpose.heatmap import LOG_FLOOR, MAX_JUMP_CELLS, WINDOW, quadratic_fit_matrix
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec


class Dark(nn.Module):
    """Heatmaps (n, J, h, w) to points (n, J, 2) in crop pixels, scores (n, J) and covariances (n, J, 2, 2).

    Covariances are in square crop pixels. See ``slimpose.heatmap`` for the method.
    """

    fit: Tensor
    offsets: Tensor

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.height, self.width = spec.heatmap_size
        self.stride = spec.stride
        if min(self.height, self.width) < WINDOW:
            raise ValueError(f"heatmaps are {spec.heatmap_size}; expected at least {WINDOW}x{WINDOW} cells")
        steps = torch.arange(-2, 3)
        self.register_buffer("fit", torch.from_numpy(quadratic_fit_matrix()).float(), persistent=False)
        self.register_buffer("offsets", (steps[:, None] * self.width + steps).flatten(), persistent=False)

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points, scores, covariances."""
        flat = heatmaps.flatten(2)
        peak_index = flat.argmax(dim=2)
        peak = flat.gather(2, peak_index[..., None])
        peak_y = peak_index // self.width
        peak_x = peak_index - peak_y * self.width
        centre_x, centre_y = peak_x.clamp(2, self.width - 3), peak_y.clamp(2, self.height - 3)
        window = flat.gather(2, (centre_y * self.width + centre_x)[..., None] + self.offsets)
        peak = peak.clamp_min(1e-12)
        floor = (peak * LOG_FLOOR).clamp_min(1e-12)
        fitted = torch.log(torch.maximum(window, floor) / peak) @ self.fit
        gradient_x, gradient_y, xx, xy, yy = fitted.unbind(-1)

        determinant = xx * yy - xy * xy
        has_top = (xx < -1e-4) & (yy < -1e-4) & (determinant > 1e-6)
        safe = torch.where(has_top, determinant, 1.0)
        x, y = peak_x.float(), peak_y.float()
        top_x = centre_x.float() - (yy * gradient_x - xy * gradient_y) / safe
        top_y = centre_y.float() - (xx * gradient_y - xy * gradient_x) / safe
        top_x = torch.where(has_top, top_x, x).clamp(x - MAX_JUMP_CELLS, x + MAX_JUMP_CELLS)
        top_y = torch.where(has_top, top_y, y).clamp(y - MAX_JUMP_CELLS, y + MAX_JUMP_CELLS)
        points = torch.stack([top_x, top_y], dim=-1) * self.stride + (self.stride - 1) / 2

        widest_x, widest_y = self.width**2 / 12.0, self.height**2 / 12.0
        spread_x, spread_y = torch.where(has_top, -yy / safe, widest_x), torch.where(has_top, -xx / safe, widest_y)
        share = torch.minimum(widest_x / spread_x, widest_y / spread_y).clamp_max(1.0)
        across = share * torch.where(has_top, xy / safe, 0.0)
        covariances = torch.stack([share * spread_x, across, across, share * spread_y], dim=-1).unflatten(-1, (2, 2))
        covariances = covariances * float(self.stride**2)
        return points, peak[..., 0].clamp(0, 1), covariances


class PoseDecoder(nn.Module):
    """The exported pose net: uint8 crops to points, scores, covariances, and the heatmaps they came from."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net
        self.dark = Dark(net.spec)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return points (n, J, 2), scores (n, J), covariances (n, J, 2, 2), heatmaps (n, J, h, w)."""
        heatmaps = self.net(crops)
        return *self.dark(heatmaps), heatmaps
