"""``slimpose average``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from slimpose.cli.output_paths import check_output_paths
from slimpose.network.weights import LoadedNetwork, load_network, save_checkpoint


def average(
    weights: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    out: Path,
) -> int:
    """Make one net of several: the mean of their weights, often better than each of them and as fast as one.

    It works for runs that started from the same trained weights or from one another (Wortsman et
    al., "Model soups", ICML 2022); of strangers the mean knows nothing. So evaluate what comes out.

    Args:
        weights: Two or more runs' best.safetensors, of the same net.
        out: The safetensors file to write.
    """
    if len(weights) < 2:
        raise ValueError(f"got {len(weights)} weights file; expected two or more to average")
    check_output_paths({"--out": out}, {}, weights)
    first, *others = (load_network(path) for path in weights)
    for path, other in zip(weights[1:], others, strict=True):
        if (other.task, other.spec) != (first.task, first.spec):
            raise ValueError(
                f"{path} holds another net than {weights[0]}; expected runs of the same net"
            )
    parts = [first, *others]
    states = [part.net.state_dict() for part in parts]
    tensors = {name: _mean([state[name] for state in states]) for name in states[0]}
    told = ", ".join(
        f"{path.parent.name}/{path.name} {part.sha256[:12]}"
        for path, part in zip(weights, parts, strict=True)
    )
    what = {"task": first.task, "net": first.spec.to_json(), "start": f"mean of {told}"}
    save_checkpoint(out, tensors, {**_shared(parts), **what})
    print(f"{out}: the mean of {len(parts)}; its accuracy: slimpose export, then slimpose evaluate")
    return 0


def _mean(tensors: list[Tensor]) -> Tensor:
    """The mean in the first one's precision; counters are its own."""
    mine = tensors[0]
    return (
        torch.stack([one.double() for one in tensors]).mean(0).to(mine.dtype)
        if mine.is_floating_point()
        else mine
    )


def _shared(parts: list[LoadedNetwork]) -> dict[str, str]:
    """What all files say alike, but for what was measured of one of them."""
    told = parts[0].metadata.items()
    return {
        name: value
        for name, value in told
        if name not in ("figures", "samples", "start")
        and all(part.metadata.get(name) == value for part in parts)
    }
