"""DARK decoding as a torch module for the exported graph; same results as ``heatmap.decode``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimpose.heatmap import (
    BLUR_RADIUS,
    LOG_FLOOR,
    MAX_SHIFT_CELLS,
    WINDOW,
    blur_kernels,
    quadratic_fit_matrix,
)
from slimpose.network.baselines.net import BaselineNet
from slimpose.network.build import Spec
from slimpose.network.high_resolution import HighResolutionNet
from slimpose.network.pose_net import PoseNet


class DarkDecoder(nn.Module):
    """Decode heatmaps (n, J, h, w) to points, scores and covariances.

    Points (n, J, 2) are in crop pixels, scores (n, J) in 0..1, covariances (n, J, 2, 2) in square
    crop pixels. See ``slimpose.heatmap`` for the method.
    """

    fit: Tensor
    kernels: Tensor
    around: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.height, self.width = spec.heatmap_size
        self.stride = spec.stride
        if min(self.height, self.width) < WINDOW:
            raise ValueError(
                f"heatmaps are {spec.heatmap_size}; expected at least {WINDOW}x{WINDOW} cells"
            )
        around = torch.arange(-2 - BLUR_RADIUS, 3 + BLUR_RADIUS)
        self.register_buffer(
            "fit", torch.from_numpy(quadratic_fit_matrix()).float(), persistent=False
        )
        self.register_buffer("kernels", torch.from_numpy(blur_kernels()).float(), persistent=False)
        self.register_buffer("around", around, persistent=False)

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points, scores, covariances."""
        flat = heatmaps.flatten(2)
        peak_index = flat.argmax(dim=2)
        peak = flat.gather(2, peak_index[..., None])
        peak_y = peak_index // self.width
        peak_x = peak_index - peak_y * self.width
        center_x, center_y = peak_x.clamp(2, self.width - 3), peak_y.clamp(2, self.height - 3)
        radius_x = (torch.minimum(center_x, self.width - 1 - center_x) - 2).clamp_max(BLUR_RADIUS)
        radius_y = (torch.minimum(center_y, self.height - 1 - center_y) - 2).clamp_max(BLUR_RADIUS)
        patch_x = (center_x[..., None] + self.around).clamp(0, self.width - 1)
        patch_y = (center_y[..., None] + self.around).clamp(0, self.height - 1)
        cells = (patch_y[..., :, None] * self.width + patch_x[..., None, :]).flatten(2)
        patch = flat.gather(2, cells).unflatten(2, (len(self.around), len(self.around)))
        smooth = self._fit(
            (self.kernels[radius_y] @ patch @ self.kernels[radius_x].transpose(2, 3)).flatten(2)
        )
        gradient_x, gradient_y, xx, xy, yy, has_top, safe = smooth
        x, y = peak_x.float(), peak_y.float()
        top_x = center_x.float() - (yy * gradient_x - xy * gradient_y) / safe
        top_y = center_y.float() - (xx * gradient_y - xy * gradient_x) / safe
        top_x = torch.where(has_top, top_x, x).clamp(x - MAX_SHIFT_CELLS, x + MAX_SHIFT_CELLS)
        top_y = torch.where(has_top, top_y, y).clamp(y - MAX_SHIFT_CELLS, y + MAX_SHIFT_CELLS)
        points = torch.stack([top_x, top_y], dim=-1) * self.stride + (self.stride - 1) / 2

        widest_x, widest_y = self.width**2 / 12.0, self.height**2 / 12.0
        middle = slice(BLUR_RADIUS, BLUR_RADIUS + WINDOW)
        _, _, xx, xy, yy, has_top, safe = self._fit(patch[:, :, middle, middle].flatten(2))
        spread_x = torch.where(has_top, -yy / safe, widest_x)
        spread_y = torch.where(has_top, -xx / safe, widest_y)
        spread_xy = torch.where(has_top, xy / safe, 0.0)
        limit = torch.minimum(widest_x / spread_x, widest_y / spread_y).clamp_max(1.0)
        scale = limit * float(self.stride**2)
        covariances = torch.stack([spread_x, spread_xy, spread_xy, spread_y], dim=-1)
        covariances = covariances * scale[..., None]
        return points, peak[..., 0].clamp(0, 1), covariances.unflatten(-1, (2, 2))

    def _fit(self, window: Tensor) -> tuple[Tensor, ...]:
        """Fit a quadratic to the logarithm of a window (n, J, 25).

        Returns:
            Gradient x, y, Hessian xx, xy, yy, whether there is a maximum, and the Hessian's
            determinant, 1 where there is none.
        """
        top = window.amax(dim=2, keepdim=True).clamp_min(1e-12)
        gradient_x, gradient_y, xx, xy, yy = (
            torch.log(torch.maximum(window, top * LOG_FLOOR) / top) @ self.fit
        ).unbind(-1)
        determinant = xx * yy - xy * xy
        has_top = (xx < -1e-4) & (yy < -1e-4) & (determinant > 1e-6)
        return gradient_x, gradient_y, xx, xy, yy, has_top, torch.where(has_top, determinant, 1.0)


class PoseDecoder(nn.Module):
    """The exported pose network: uint8 crops to points, scores, covariances and heatmaps."""

    def __init__(self, net: PoseNet | HighResolutionNet | BaselineNet) -> None:
        super().__init__()
        self.net = net
        self.dark = DarkDecoder(net.spec)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return points (n, J, 2), scores (n, J), covariances (n, J, 2, 2) and heatmaps."""
        heatmaps = self.net(crops)
        return *self.dark(heatmaps), heatmaps
