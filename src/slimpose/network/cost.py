"""What a network costs on one input: parameters, true multiply-adds, and the number the paper's tool prints.

Nothing is computed: modules run on PyTorch's ``meta`` device, where tensors have shapes but no
values.

Counted are the layers that are modules: convolutions, transposed convolutions (of one to three
dimensions and any groups) and linear layers. Not counted, as in the field's tables: biases, batch
norm, activations, additions, pooling, resizing. Nor are calls of functions that are no modules,
such as an attention's products.
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
_COUNTED_WITH_THEIR_PARTS = ("DepthwiseSeparableConv", "InvertedResidual", "EdgeResidual")
"""timm's names for what the paper's EfficientNet calls MBConvBlock, a name that holds "Conv"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of one input.

    Attributes:
        params: Parameters, each once; buffers such as batch norm's statistics are none.
        paper_params: What the paper's tool prints for them: the parameters of each convolution,
            batch norm and linear layer, and once more those of the EfficientNet blocks around them.
        macs: Multiply-adds where they are computed: weight elements times output pixels for a
            convolution, times INPUT pixels for a transposed one, times vectors for a linear layer.
        paper_macs: The paper's: weight elements times OUTPUT pixels for both kinds of convolution,
            so that a transposed one of stride 2 counts 4 times what it computes.
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
        """What the paper prints as "GFLOPs".

        Source:
            ``get_model_summary`` of the HRNet repository, which divides by 1024**3.
        """
        return self.paper_macs / 1024**3


def cost_of(module: nn.Module, size: Size) -> Cost:
    """Return the cost of one crop for a net that takes crops (n, height, width, 3), as the family's nets do.

    Args:
        module: Left as it is, on its device and in its mode.
        size: Height and width of the crop in pixels.
    """
    return cost_for_example(module, _crop(size))


def cost_for_example(module: nn.Module, example: Tensor) -> Cost:
    """Return the cost of one input for any module of one tensor.

    Args:
        module: Left as it is, on its device and in its mode.
        example: Of shape (1, ...); only its shape and type matter.

    Raises:
        ValueError: If the example is not one input.
    """
    if example.ndim < 2 or len(example) != 1:
        raise ValueError(
            f"example has shape {tuple(example.shape)}; expected (1, ...), one input (is the batch axis missing?)"
        )
    return _run(copy.deepcopy(module).to("meta"), example.to("meta"))


@lru_cache(maxsize=64)
def cost_of_spec(spec: Spec) -> Cost:
    """Return the cost of a spec's net at its input size: a pose net, or a person detector if joints are 0.

    Nothing is downloaded and no weights are made.

    Raises:
        ValueError: If the encoder's stages do not fit the spec.
    """
    with torch.device("meta"):
        return _run(build(spec), _crop(spec.size))


def _crop(size: Size) -> Tensor:
    return torch.empty(1, *size, 3, dtype=torch.uint8, device="meta")


@torch.no_grad()
def _run(module: nn.Module, example: Tensor) -> Cost:
    """Run a module of the meta device that nobody else uses, adding up its layers as they are called."""
    paper_params = macs = paper_macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal paper_params, macs, paper_macs
        if _is_counted(layer):
            paper_params += sum(parameter.numel() for parameter in layer.parameters())
        macs += _macs(layer, inputs[0], output)
        paper_macs += _paper_macs(layer, output)

    for layer in module.modules():
        if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)) or _is_counted(layer):
            layer.register_forward_hook(add)
    module.eval()(example)
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(params=params, paper_params=paper_params, macs=macs, paper_macs=paper_macs)


def _is_counted(layer: nn.Module) -> bool:
    """Whether the paper's tool counts the parameters of a layer, which it tells by the name of its class."""
    name = type(layer).__name__
    return any(part in name for part in ("Conv", "BatchNorm", "Linear", *_COUNTED_WITH_THEIR_PARTS))


def _pixels(maps: Tensor) -> int:
    return maps[0, 0].numel()


def _macs(layer: nn.Module, given: Tensor, output: Tensor) -> int:
    if isinstance(layer, _TRANSPOSED):
        return layer.weight.numel() * _pixels(given)
    return _paper_macs(layer, output)


def _paper_macs(layer: nn.Module, output: Tensor) -> int:
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return layer.weight.numel() * _pixels(output)
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    return 0
