"""``slimpose prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import Progress

from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.sample_crops import sample_crops
from slimpose.network.cost import cost_of_spec
from slimpose.network.pose_net import PoseNet
from slimpose.network.pruning import prune as pruned
from slimpose.network.weights import load_network, save_checkpoint

_AT_A_TIME = 16


def prune(
    weights: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    gmac: float,
    images: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    out: Path,
    annotations: Path | None = None,
    people: int = 256,
) -> int:
    """Make a smaller net out of a trained one: inner channels of its encoder's blocks go, the others make up for them.

    What comes out has lost much of its accuracy and little of what it knows: slimpose train takes
    it as --start, of the recipe ``pruned`` or of any whose net it was, and the unpruned one as
    --teacher.

    Args:
        weights: A run's best.safetensors: a pose net of inverted residual blocks (MobileNetV2,
            EfficientNet-Lite).
        gmac: True multiply-adds to come down to, in 1e9.
        images: Folder of pictures of people, such as those it was trained on.
        out: The safetensors file to write.
        annotations: COCO file that says where the people are; without, the shipped detector does.
        people: How many to look at; some 3 MB of memory each.
    """
    if people < 1:
        raise ValueError(f"--people is {people}; expected 1 or more, such as 256")
    check_output_paths({"--out": out}, {}, [weights, annotations])
    loaded = load_network(weights)
    net = loaded.net
    if not isinstance(net, PoseNet):
        raise ValueError(
            f"{weights} holds no pose net of the family; expected one with a MobileNetV2 encoder or the like"
        )
    crops, _ = sample_crops(images, annotations, size=net.spec.size, people=people)
    batches = [crops[first : first + _AT_A_TIME] for first in range(0, len(crops), _AT_A_TIME)]
    with Progress() as bar:
        refitting = bar.add_task("blocks", total=None)
        small = pruned(
            net,
            batches,
            gmac=gmac,
            on_progress=lambda done, total: bar.update(refitting, completed=done, total=total),
        )
    kept = {
        name: loaded.metadata[name]
        for name in ("skeleton", "alignment", "task")
        if name in loaded.metadata
    }
    before, after = cost_of_spec(net.spec), cost_of_spec(small.spec)
    start = f"{weights.name} pruned to {after.gmac:.3f} GMAC ({loaded.metadata.get('start', 'start unknown')})"
    save_checkpoint(out, small.state_dict(), {**kept, "net": small.spec.to_json(), "start": start})
    print(
        f"{out}: {before.gmac:.3f} -> {after.gmac:.3f} GMAC, {before.params:,} -> {after.params:,} parameters"
    )
    print(f"inner channels: {', '.join(map(str, small.spec.inner_widths))}")
    return 0
