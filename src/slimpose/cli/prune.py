"""``slimpose prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import Progress

from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.cli.sample_crops import sample_crops
from slimpose.network import pruning
from slimpose.network.cost import cost_of_spec
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_network, save_checkpoint

_BATCH = 16


def prune(
    weights: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    gmac: float,
    images: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    out: Path,
    annotations: Path | None = None,
    people: int = 256,
) -> int:
    """Prune a trained network: remove hidden channels of its encoder's blocks and refit the rest.

    The result has lost much of its accuracy and regains it quickly in training: pass it to slimpose
    train as --start, with the recipe ``pruned`` or the network's own, and the unpruned network as
    --teacher.

    Args:
        weights: best.safetensors of a run: a pose network of inverted residual blocks (MobileNetV2,
            EfficientNet-Lite).
        gmac: Multiply-adds of the pruned network, in 1e9.
        images: Folder of images of people, such as the training images.
        out: The safetensors file to write.
        annotations: COCO file with the people in the images (default: run the shipped detector).
        people: Number of people to use; each takes about 3 MB of memory.
    """
    if people < 1:
        raise ValueError(f"--people is {people}; expected 1 or more, such as 256")
    check_output_paths({"--out": out}, {}, [weights, annotations])
    check_suffix("--out", out, ".safetensors")
    loaded = load_network(weights)
    net = loaded.net
    if not isinstance(net, PoseNet):
        raise ValueError(
            f"{weights} does not hold a pose network of the family; "
            "expected one with an encoder such as MobileNetV2"
        )
    crops, _ = sample_crops(images, annotations, size=net.spec.size, people=people)
    batches = [crops[first : first + _BATCH] for first in range(0, len(crops), _BATCH)]
    with Progress() as progress:
        task = progress.add_task("blocks", total=None)
        pruned = pruning.prune(
            net,
            batches,
            gmac=gmac,
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
