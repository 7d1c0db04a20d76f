"""Pixels as networks read them that were trained on ImageNet's normalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimpose.arrays import IMAGENET_MEAN, IMAGENET_STD


class ImageNetPixels(nn.Module):
    """uint8 images (n, H, W, 3) RGB to float (n, 3, H, W), normalized; without own weights."""

    mean_pixel: Tensor
    std_pixel: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean_pixel", IMAGENET_MEAN), ("std_pixel", IMAGENET_STD)):
            pixel = 255 * torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, pixel, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalized images."""
        return (images.float().permute(0, 3, 1, 2) - self.mean_pixel) / self.std_pixel
