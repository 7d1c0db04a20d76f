"""A net that begins as a smaller one: what it has in addition adds nothing at first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def load_into_larger(model: nn.Module, tensors: Mapping[str, Tensor], *, path: Path) -> list[str]:
    """Load the weights of a net that lacks blocks or summed skips; return the names of what it lacks.

    Blocks must be residual, and whole: the batch norm each ends in is set to nought, so that the
    block passes on what it is given, and learns from there. A summed skip is set to nought itself.

    Raises:
        ValueError: If the weights hold a tensor that the model has not, or has in another shape, or
            if the model has in addition what is neither.

    Source:
        Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 5.1 (the last batch
        norm at nought).
    """
    own = model.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            told = f"{tuple(own[name].shape)}" if name in own else "nothing"
            raise ValueError(
                f"{path} has {name} {tuple(tensor.shape)} where this net has {told}; expected a net that this one "
                "holds as a part (same widths, fewer blocks)"
            )
    missing = [name for name in own if name not in tensors]
    added: dict[str, nn.Module] = {}
    for name in missing:
        block = _residual_block(model, name) or _summed_skip(model, name)
        if block is None or any(other.startswith(f"{block}.") for other in tensors):
            raise ValueError(
                f"{path} lacks {name}, which is in no residual block of its own and in no summed skip; expected a net "
                "with fewer of these only"
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
    """The name of the innermost block around a tensor that adds its input to its output (timm says ``has_skip``)."""
    name = tensor
    while "." in name:
        name = name.rpartition(".")[0]
        if getattr(model.get_submodule(name), "has_skip", False):
            return name
    return None


def _summed_skip(model: nn.Module, tensor: str) -> str | None:
    """The name of the skip a tensor belongs to, if it is added to the decoder's maps (``Decoder``)."""
    decoder, found, rest = tensor.partition(".skips.")
    return (
        f"{decoder}.skips.{rest.partition('.')[0]}"
        if found and model.get_submodule(decoder).skip == "sum"
        else None
    )
