"""``slimpose average``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from slimpose.cli.output_paths import check_output_paths, check_suffix

if TYPE_CHECKING:
    from torch import Tensor

    from slimpose.network.weights import LoadedNetwork


def average(
    weights: list[Path],
    /,
    out: Path,
) -> int:
    """Average the weights of several runs into one network, often better than each of them.

    This works for runs that started from the same trained weights or from one another (Wortsman et
    al., "Model soups", ICML 2022), not for unrelated runs. Evaluate the result.

    Args:
        weights: best.safetensors of two or more runs of the same network.
        out: The safetensors file to write.
    """
    if len(weights) < 2:
        raise ValueError(f"got {len(weights)} weights file; expected two or more to average")
    check_output_paths({"--out": out}, {}, weights)
    check_suffix("--out", out, ".safetensors")
    import torch

    from slimpose.network.weights import load_network, save_checkpoint

    first, *others = (load_network(path) for path in weights)
    for path, other in zip(weights[1:], others, strict=True):
        if (other.task, other.spec) != (first.task, first.spec):
            raise ValueError(
                f"{path} holds another network than {weights[0]}; expected runs of the same network"
            )
    networks = [first, *others]
    states = [network.net.state_dict() for network in networks]
    for one, other in itertools.combinations(range(len(states)), 2):
        if all(torch.equal(tensor, states[other][name]) for name, tensor in states[one].items()):
            raise ValueError(
                f"{weights[other]} and {weights[one]} hold the same weights, which would count"
                " twice; expected different runs"
            )
    tensors = {name: _mean([state[name] for state in states]) for name in states[0]}
    origins = ", ".join(
        f"{path.parent.name}/{path.name} {network.sha256[:12]}"
        for path, network in zip(weights, networks, strict=True)
    )
    metadata = _shared_metadata(networks)
    metadata |= {"task": first.task, "net": first.spec.to_json(), "start": f"mean of {origins}"}
    save_checkpoint(out, tensors, metadata)
    print(f"{out}: the mean of {len(networks)} networks; evaluate it with slimpose evaluate")
    return 0


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean in the first tensor's precision, or the first tensor if of integers."""
    import torch

    first = tensors[0]
    if not first.is_floating_point():
        return first
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(first.dtype)


def _shared_metadata(networks: list[LoadedNetwork]) -> dict[str, str]:
    """Return the metadata that all files share, without measured results."""
    return {
        key: value
        for key, value in networks[0].metadata.items()
        if key not in ("figures", "samples", "start")
        and all(network.metadata.get(key) == value for network in networks)
    }
