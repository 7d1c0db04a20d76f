"""Cost of a network for one input: parameters, multiply-adds, and the numbers the paper prints.

Nothing is computed: modules run on PyTorch's ``meta`` device, where tensors have shapes but no
values.

Counted are the layers that are modules: convolutions, transposed convolutions (of one to three
dimensions and any groups) and linear layers. Not counted, as in the field's tables: biases, batch
norm, activations, additions, pooling, resizing, and functions that are not modules, such as the
products in attention.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from slimpose.arrays import Size
from slimpose.network.build import Spec, build

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_COUNTED_BLOCKS = ("DepthwiseSeparableConv", "InvertedResidual", "EdgeResidual")
"""timm's names for the paper's MBConvBlock, which its tool counts because the name has "Conv"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of one input.

    Attributes:
        params: Parameters, each once, without buffers such as batch norm's statistics.
        paper_params: Parameters as the paper's tool counts them: of each convolution, batch norm
            and linear layer, and again of the EfficientNet blocks around them.
        macs: Multiply-adds that are computed: weight elements times output pixels for a
            convolution, times INPUT pixels for a transposed one, times vectors for a linear layer.
        paper_macs: Multiply-adds as the paper's tool counts them: weight elements times OUTPUT
            pixels for both kinds of convolution, so a transposed one of stride 2 counts 4 times.
    """

    params: int
    paper_params: int
    macs: int
    paper_macs: int

    @property
    def gmac(self) -> float:
        """True multiply-adds in 1e9."""
        return self.macs / 1e9

    @property
    def paper_gflops(self) -> float:
        """The number the paper prints as "GFLOPs".

        Source:
            ``get_model_summary`` of the HRNet repository, which divides by 1024**3.
        """
        return self.paper_macs / 1024**3


def cost_of(module: nn.Module, size: Size) -> Cost:
    """Return the cost of one crop of ``size`` in pixels for a network that takes (n, H, W, 3).

    The module is not changed.
    """
    return cost_for_example(module, _crop(size))


def cost_for_example(module: nn.Module, example: Tensor) -> Cost:
    """Return the cost of one input for any module that takes one tensor; it is not changed.

    Only the example's shape (1, ...) and type matter.

    Raises:
        ValueError: If the example is not a batch of one.
    """
    if example.ndim < 2 or len(example) != 1:
        raise ValueError(
            f"example has shape {tuple(example.shape)}; expected (1, ...), one input "
            "(is the batch axis missing?)"
        )
    return _run(copy.deepcopy(module).to("meta"), example.to("meta"))


@lru_cache(maxsize=64)
def cost_of_spec(spec: Spec) -> Cost:
    """Return the cost of a spec's network at its input size.

    Nothing is downloaded and no weights are allocated.

    Raises:
        ValueError: If the encoder's stages do not fit the spec.

    >>> from slimpose.network.family import family_spec
    >>> cost_of_spec(family_spec("mnv2")).params
    1878593
    """
    with torch.device("meta"):
        return _run(build(spec), _crop(spec.size))


def _crop(size: Size) -> Tensor:
    return torch.empty(1, *size, 3, dtype=torch.uint8, device="meta")


@torch.no_grad()
def _run(module: nn.Module, example: Tensor) -> Cost:
    """Run a module on the meta device and sum the cost of its layers; its mode and hooks change."""
    paper_params = macs = paper_macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal paper_params, macs, paper_macs
        if _is_counted(layer):
            paper_params += sum(parameter.numel() for parameter in layer.parameters())
        macs += _macs(layer, inputs[0] if isinstance(layer, _TRANSPOSED) else output)
        paper_macs += _macs(layer, output)

    for layer in module.modules():
        if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)) or _is_counted(layer):
            layer.register_forward_hook(add)
    module.eval()(example)
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(params=params, paper_params=paper_params, macs=macs, paper_macs=paper_macs)


def _is_counted(layer: nn.Module) -> bool:
    """Whether the paper's tool counts a layer's parameters, which it decides by the class name."""
    name = type(layer).__name__
    return any(part in name for part in ("Conv", "BatchNorm", "Linear", *_COUNTED_BLOCKS))


def _macs(layer: nn.Module, maps: Tensor) -> int:
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return layer.weight.numel() * maps[0, 0].numel()
    if isinstance(layer, nn.Linear):
        return maps.numel() * layer.in_features
    return 0
