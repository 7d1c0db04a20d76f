"""Initialize an encoder from the MobileNetV2 trunk in MoveNet's published ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder
from slimpose.network.published.graph import load_graph

_Convolution = tuple[str, np.ndarray, np.ndarray]
"""Name, weights and bias."""


def _convolutions(encoder: Encoder) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """The encoder's convolutions in graph order, each with the batch norm after it."""
    pairs: list[tuple[str, nn.Conv2d, nn.BatchNorm2d]] = []
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, module in encoder.body.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = name, module
        elif isinstance(module, nn.BatchNorm2d) and convolution is not None:
            pairs.append((*convolution, module))
            convolution = None
    return pairs


def import_trunk(path: Path, encoder: Encoder) -> None:
    """Load the first biased convolutions of an ONNX graph into an encoder, in graph order.

    Batch norm is folded in the graph; the encoder's batch norms only add the folded biases until
    ``unfold_batch_norm`` restores their statistics.

    Raises:
        ValueError: If the file is not an ONNX graph, or a layer differs; with its position, name
            and both shapes.
    """
    convolutions = _biased_convolutions(path)
    expected = _convolutions(encoder)
    _check_shapes(path, convolutions, expected)
    with torch.no_grad():
        for (_, convolution, norm), (_, weight, bias) in zip(expected, convolutions, strict=False):
            convolution.weight.copy_(torch.from_numpy(weight))
            norm.running_mean.zero_()  # pyright: ignore[reportOptionalMemberAccess]
            norm.running_var.fill_(1 - norm.eps)  # pyright: ignore[reportOptionalMemberAccess]
            norm.weight.fill_(1)
            norm.bias.copy_(torch.from_numpy(bias))


def _biased_convolutions(path: Path) -> list[_Convolution]:
    """Read name, weights and bias of a graph's convolutions that have a bias."""
    from onnx import numpy_helper

    graph = load_graph(path)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}

    def constant(name: str) -> np.ndarray | None:
        tensor = constants.get(casts.get(name, name))
        return None if tensor is None else numpy_helper.to_array(tensor).astype(np.float32)

    return [
        (node.name, weight, bias)
        for node in graph.node
        if node.op_type == "Conv" and len(node.input) == 3
        if (weight := constant(node.input[1])) is not None
        and (bias := constant(node.input[2])) is not None
    ]


def _check_shapes(
    path: Path,
    convolutions: Sequence[_Convolution],
    expected: Sequence[tuple[str, nn.Conv2d, nn.BatchNorm2d]],
) -> None:
    """Raise ValueError unless a graph's first convolutions have the encoder's shapes."""
    for index, (name, convolution, _) in enumerate(expected):
        shape = tuple(convolution.weight.shape)
        if index >= len(convolutions):
            raise ValueError(
                f"{path} does not fit: it ends after {len(convolutions)} biased convolutions; "
                f"expected {len(expected)}, next {name} with weights {shape}"
            )
        graph_name, weight, _ = convolutions[index]
        if weight.shape != shape:
            raise ValueError(
                f"{path} does not fit: convolution {index} ({graph_name or 'unnamed'}) has weights "
                f"{weight.shape}; expected {shape} for {name} "
                "(another width, or another network?)"
            )


@torch.no_grad()
def unfold_batch_norm(encoder: Encoder, batches: Iterable[Tensor]) -> None:
    """Set folded batch norms to the statistics of real crops, so that training mode works.

    Each norm's mean and variance become those of its convolution's output; its weight and bias
    compensate for them, so that the encoder computes the same function.

    The encoder comes from ``import_trunk``; the batches are uint8 crops (n, H, W, 3), a few hundred
    in total.
    """
    sums: dict[nn.Module, list[Tensor]] = {}

    def gather(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1).double()
        total = torch.stack(
            [values.sum(1), (values**2).sum(1), torch.full((len(values),), values.shape[1])]
        )
        sums.setdefault(norm, []).append(total)

    norms = [norm for _, _, norm in _convolutions(encoder)]
    hooks = [norm.register_forward_pre_hook(gather) for norm in norms]
    was_training = encoder.training
    encoder.eval()
    for batch in batches:
        encoder(batch.float().permute(0, 3, 1, 2))
    encoder.train(was_training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        total, squared, count = torch.stack(sums[norm]).sum(0)
        mean = (total / count).float()
        variance = (squared / count - (total / count) ** 2).clamp_min(0).float()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.bias.add_(scale * (mean - norm.running_mean))
        norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
