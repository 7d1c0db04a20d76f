"""A small network of the family, and inputs for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.arrays import Size
from slimpose.network.spec import NetSpec

SMALL = NetSpec(
    encoder="mobilenetv2_100",
    width_multiplier=0.35,
    head_width=16,
    deconv_widths=(16, 16, 16),
    size=Size(64, 64),
)


def crops(n: int = 1, size: Size = SMALL.size) -> Tensor:
    """Random uint8 crops (n, H, W, 3)."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, *size, 3)).astype(np.uint8))


def parameters(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def changed(**changes: Any) -> NetSpec:
    """``SMALL`` with other fields."""
    return dataclasses.replace(SMALL, **changes)
