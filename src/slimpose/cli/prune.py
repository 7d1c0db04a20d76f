"""``slimpose prune``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from rich.progress import Progress

from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.sample_crops import sample_crops
from slimpose.network import pruning, unit_pruning
from slimpose.network.cost import cost_of_spec
from slimpose.network.high_resolution import HighResolutionNet
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_network, save_checkpoint

_BATCH = 16
_Value = TypeVar("_Value")


def prune(
    weights: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    images: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    out: Path,
    gmac: float | None = None,
    inner_widths: str | None = None,
    annotations: Path | None = None,
    people: int = 256,
) -> int:
    """Prune a trained pose network: remove hidden channels of its blocks and refit the rest.

    The result has lost much of its accuracy and regains it quickly in training: pass it to slimpose
    train as --start, with the recipe ``pruned`` or the network's own, and the unpruned network as
    --teacher.

    Args:
        weights: best.safetensors of a run: a pose network of inverted residual blocks (MobileNetV2,
            EfficientNet-Lite), or hr.
        gmac: Multiply-adds of the pruned network, in 1e9; not for hr.
        inner_widths: For hr only: inner channels of the units of each branch, finest first, such
            as 16,32,80,160.
        images: Folder of images of people, such as the training images.
        out: The safetensors file to write.
        annotations: COCO file with the people in the images (default: run the shipped detector).
        people: Number of people to use; each takes about 3 MB of memory.
    """
    if people < 1:
        raise ValueError(f"--people is {people}; expected 1 or more, such as 256")
    check_output_paths({"--out": out}, {}, [weights, annotations])
    loaded = load_network(weights)
    net = loaded.net
    if isinstance(net, PoseNet):
        pruning_of = partial(pruning.prune, net, gmac=_required(gmac, "--gmac", "0.3"))
    elif isinstance(net, HighResolutionNet):
        text = _required(inner_widths, "--inner-widths", "16,32,80,160")
        pruning_of = partial(unit_pruning.prune_units, net, inner_widths=_widths(text))
    else:
        raise ValueError(
            f"{weights} does not hold a pose network of the family; "
            "expected one with an encoder such as MobileNetV2, or hr"
        )
    crops, _ = sample_crops(images, annotations, size=net.spec.size, people=people)
    batches = [crops[first : first + _BATCH] for first in range(0, len(crops), _BATCH)]
    with Progress() as progress:
        task = progress.add_task("blocks", total=None)
        pruned = pruning_of(
            batches,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    before, after = cost_of_spec(net.spec), cost_of_spec(pruned.spec)
    origin = loaded.metadata.get("start", "start unknown")
    metadata = {
        "net": pruned.spec.to_json(),
        "start": f"{weights.name} pruned to {after.gmac:.3f} GMAC ({origin})",
    }
    for key in ("skeleton", "alignment", "task"):
        if key in loaded.metadata:
            metadata[key] = loaded.metadata[key]
    save_checkpoint(out, pruned.state_dict(), metadata)
    print(
        f"{out}: {before.gmac:.3f} -> {after.gmac:.3f} GMAC, "
        f"{before.params:,} -> {after.params:,} parameters"
    )
    print(f"hidden channels: {', '.join(map(str, pruned.spec.inner_widths))}")
    return 0


def _required(value: _Value | None, option: str, example: str) -> _Value:
    if value is None:
        raise ValueError(f"{option} is missing; expected for example {option} {example}")
    return value


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise ValueError(
            f"--inner-widths is {text!r}; expected integers such as 16,32,80,160"
        ) from None
