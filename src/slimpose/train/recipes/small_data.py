"""Recipes for some ten thousand people and two CPU cores: start from a trunk that knows people, grow the pictures."""

from __future__ import annotations

from slimpose.arrays import Size
from slimpose.network.family import member
from slimpose.train.recipe import Phase, Recipe


def mnv2() -> Recipe:
    """MobileNetV2 pose net, the shipped default."""
    return Recipe(
        name="mnv2",
        task="pose",
        net=member("mnv2"),
        phases=(
            Phase(size=Size(128, 96), samples=32_000),
            Phase(size=Size(192, 160), samples=80_000),
            Phase(size=Size(256, 192), samples=48_000, augmentation=0.6),
        ),
        source_repeats={"coco": 2.0, "lspet": 1.0, "fashion": 1.0, "stanford40": 1.0, "pedestrian": 0.5},
    )
