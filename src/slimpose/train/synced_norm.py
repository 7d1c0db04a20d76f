"""Batch norm over all processes' samples, as if one process had them all."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn


class _SumOfAll(torch.autograd.Function):
    """The sum over processes; what each process's loss says of the sum is added up on the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004 - the interface
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm(nn.BatchNorm2d):
    """A batch norm whose statistics are those of all processes; each must hold as many samples.

    PyTorch's own is for GPUs alone. Mean first, then the mean square about it: two messages a
    layer, and nothing is lost to cancellation. timm's batch norm with its activation is taken over
    whole.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.training = norm.training

    def forward(self, input: Tensor) -> Tensor:
        """Normalize maps (n, channels, height, width) of this process."""
        if self.training:
            normalized = self._by_all(input.to(self.weight.dtype)).to(
                input.dtype
            )  # statistics of BF16 maps in FP32
        else:
            normalized = super().forward(input)
        return self.act(self.drop(normalized))

    def _by_all(self, maps: Tensor) -> Tensor:
        world, shape = dist.get_world_size(), (1, -1, 1, 1)
        mean = _SumOfAll.apply(maps.mean((0, 2, 3))) / world
        centerd = maps - mean.view(shape)
        variance = _SumOfAll.apply((centerd**2).mean((0, 2, 3))) / world
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            count = world * maps.numel() / self.num_features
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(1.0, count - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centerd * scale.view(shape) + self.bias.view(shape)


def synchronize_norms(model: nn.Module, device: torch.device) -> None:
    """Replace every batch norm by one over all processes; names and values of weights stay.

    On a GPU by PyTorch's own, which is one fused kernel (not run here).
    """
    if device.type == "cuda":
        for name, child in model.named_children():
            setattr(model, name, convert_sync_batchnorm(child))
        return
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, SyncedBatchNorm(child))
        else:
            synchronize_norms(child, device)
