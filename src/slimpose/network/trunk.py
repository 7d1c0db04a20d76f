"""A training start from a published graph: MoveNet's MobileNetV2 trunk, read out of its ONNX file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slimpose.network.encoder import Encoder


def _convolutions(encoder: Encoder) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """The encoder's convolutions in graph order, each with the batch norm behind it."""
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

    The graph has its batch norm folded; each of the encoder's becomes "add the folded bias" until
    ``unfold_batch_norm`` gives it back its statistics.

    Raises:
        ValueError: If the file is no ONNX graph, or a layer differs: its place, name and both
            shapes are told.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:
        raise ValueError(f"{path} is not an ONNX file: {str(error).splitlines()[0]}") from error
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}

    def constant(name: str) -> np.ndarray | None:
        tensor = constants.get(casts.get(name, name))
        return None if tensor is None else numpy_helper.to_array(tensor).astype(np.float32)

    found = [
        (node.name, weight, bias)
        for node in graph.node
        if node.op_type == "Conv" and len(node.input) == 3
        if (weight := constant(node.input[1])) is not None
        and (bias := constant(node.input[2])) is not None
    ]
    wanted = _convolutions(encoder)
    for place, (name, convolution, _) in enumerate(wanted):
        expected = tuple(convolution.weight.shape)
        if place >= len(found):
            raise ValueError(
                f"{path} does not fit: it ends after {len(found)} biased convolutions; "
                f"expected {len(wanted)}, next {name} with weights {expected}"
            )
        if found[place][1].shape != expected:
            raise ValueError(
                f"{path} does not fit: convolution {place} ({found[place][0] or 'unnamed'}) has weights "
                f"{found[place][1].shape}; expected {expected} for {name} "
                "(another width, or another network?)"
            )
    with torch.no_grad():
        for (_, convolution, norm), (_, weight, bias) in zip(wanted, found, strict=False):
            convolution.weight.copy_(torch.from_numpy(weight))
            norm.running_mean.zero_()  # pyright: ignore[reportOptionalMemberAccess]
            norm.running_var.fill_(1 - norm.eps)  # pyright: ignore[reportOptionalMemberAccess]
            norm.weight.fill_(1)
            norm.bias.copy_(torch.from_numpy(bias))


@torch.no_grad()
def unfold_batch_norm(encoder: Encoder, batches: Iterable[Tensor]) -> None:
    """Give folded batch norms the statistics of real crops, so that training mode computes the same function.

    Each norm's mean and variance become those of its convolution's output; its weight and bias undo
    them.

    Args:
        encoder: As ``import_trunk`` left it.
        batches: uint8 crops (n, H, W, 3), a few hundred together.
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
