"""``slimpose prune``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress

from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.cli.sample_crops import sample_crops

if TYPE_CHECKING:
    from slimpose.network.high_resolution import HighResolutionNet
    from slimpose.network.pose_net import PoseNet
    from slimpose.network.weights import LoadedNetwork

_BATCH = 16


def prune(
    weights: Path,
    /,
    images: Path,
    out: Path,
    gmac: float | None = None,
    inner_widths: tuple[int, ...] = (),
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
            as 16 32 64 128.
        images: Folder of images of people, such as the training images.
        out: The safetensors file to write.
        annotations: COCO file with the people in the images (default: run the shipped detector).
        people: Number of people to use; each takes about 3 MB of memory.
    """
    if people < 1:
        raise ValueError(f"--people is {people}; expected 1 or more, such as 256")
    check_output_paths({"--out": out}, {}, [weights, annotations])
    check_suffix("--out", out, ".safetensors")
    from slimpose.network.cost import cost_of_spec
    from slimpose.network.weights import load_network, save_checkpoint

    loaded = load_network(weights)
    pruning_of = _pruning_of(loaded, weights, gmac=gmac, inner_widths=inner_widths)
    crops, _ = sample_crops(images, annotations, size=loaded.spec.size, people=people)
    batches = [crops[first : first + _BATCH] for first in range(0, len(crops), _BATCH)]
    with Progress() as progress:
        task = progress.add_task("blocks", total=None)
        pruned = pruning_of(
            batches,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    before, after = cost_of_spec(loaded.spec), cost_of_spec(pruned.spec)
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


def _pruning_of(
    loaded: LoadedNetwork, file: Path, *, gmac: float | None, inner_widths: tuple[int, ...]
) -> Callable[..., PoseNet | HighResolutionNet]:
    """Return the function that prunes a network, with the size that was asked for.

    Raises:
        ValueError: If the network cannot be pruned, or the size is missing or of the other kind.
    """
    from slimpose.network import pruning, unit_pruning
    from slimpose.network.high_resolution import HighResolutionNet
    from slimpose.network.pose_net import PoseNet

    net = loaded.net
    if isinstance(net, PoseNet):
        if gmac is None or inner_widths:
            raise ValueError(
                f"{file} holds a network of inverted residual blocks; expected --gmac, such as "
                "--gmac 0.3, and no --inner-widths"
            )
        return partial(pruning.prune, net, gmac=gmac)
    if isinstance(net, HighResolutionNet):
        if gmac is not None or not inner_widths:
            raise ValueError(
                f"{file} holds a high-resolution network; expected --inner-widths, such as "
                "--inner-widths 16 32 64 128, and no --gmac"
            )
        return partial(unit_pruning.prune_units, net, inner_widths=inner_widths)
    raise ValueError(
        f"{file} does not hold a pose network of the family; "
        "expected one with an encoder such as MobileNetV2, or hr"
    )
