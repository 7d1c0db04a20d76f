"""Initialize a network from a smaller one: the added parts contribute zero at first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def load_into_larger(model: nn.Module, tensors: Mapping[str, Tensor], *, path: Path) -> list[str]:
    """Load the weights of a network that lacks blocks or summed skips.

    Added blocks must be residual and complete: the batch norm that each ends in is set to zero, so
    that the block passes its input on, and learns from there. An added skip is set to zero.

    Args:
        model: The larger network.
        tensors: The weights of the smaller one.
        path: The weights file, for error messages.

    Returns:
        The names of the added blocks and skips.

    Raises:
        ValueError: If the weights hold a tensor that the model lacks or has in another shape, or if
            the model adds anything but residual blocks and summed skips.

    Source:
        Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 5.1 (the last batch
        norm at zero).
    """
    own = model.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            shape = f"{tuple(own[name].shape)}" if name in own else "nothing"
            raise ValueError(
                f"{path} has {name} {tuple(tensor.shape)} where this network has {shape}; "
                "expected a network that this one contains (same widths, fewer blocks)"
            )
    missing = [name for name in own if name not in tensors]
    added: dict[str, nn.Module] = {}
    for name in missing:
        block = _residual_block(model, name) or _summed_skip(model, name)
        if block is None or any(other.startswith(f"{block}.") for other in tensors):
            raise ValueError(
                f"{path} lacks {name}, which is in no added residual block and in no summed skip; "
                "expected a network that lacks only such blocks and skips"
            )
        added[block] = model.get_submodule(block)
    model.load_state_dict({**own, **tensors})
    with torch.no_grad():
        for block in added.values():
            norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
            for tensor in (norms[-1] if norms else block).parameters():
                tensor.zero_()
    return list(added)


def _residual_block(model: nn.Module, tensor: str) -> str | None:
    """The name of the innermost residual block around a tensor (timm: ``has_skip``)."""
    name = tensor
    while "." in name:
        name = name.rpartition(".")[0]
        if getattr(model.get_submodule(name), "has_skip", False):
            return name
    return None


def _summed_skip(model: nn.Module, tensor: str) -> str | None:
    """The name of the summed skip of a ``Decoder`` that a tensor belongs to."""
    decoder, separator, rest = tensor.partition(".skips.")
    if not separator or model.get_submodule(decoder).skip != "sum":
        return None
    return f"{decoder}.skips.{rest.partition('.')[0]}"
