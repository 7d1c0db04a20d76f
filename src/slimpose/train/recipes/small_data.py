"""Recipes for ten thousand people and two CPU cores: a trunk that knows people, pictures that grow."""

from __future__ import annotations

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.network.family import detector_of, member
from slimpose.train.recipe import Phase, Recipe


def mnv2() -> Recipe:
    """MobileNetV2 pose net, the shipped default.

    slimpose import-trunk movenet-lightning.onnx --out trunk.safetensors
    slimpose train mnv2 --start trunk.safetensors --train FILE --images DIR --val FILE --val-images DIR --out RUN

    160,000 crops; about an hour on two quiet Zen 4 cores. From MoveNet Lightning's trunk on 17,000 people it gives
    AP 47.7 on 300 COCO val2017 pictures (ground-truth boxes, no flip).
    """
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


def teacher() -> Recipe:
    """MobileNetV2 x1.75 pose net, which labels for the small ones; started from MoveNet Thunder's trunk.

    slimpose import-trunk movenet-thunder.onnx --net mnv2-wide --out trunk.safetensors
    slimpose train teacher --start trunk.safetensors --train FILE --images DIR --val FILE --val-images DIR --out RUN
    """
    return Recipe(
        name="teacher",
        task="pose",
        net=member("mnv2-wide"),
        phases=(
            Phase(size=Size(192, 160), samples=128_000),
            Phase(size=Size(256, 192), samples=64_000, augmentation=0.6),
        ),
        encoder_rate=0.3,
        frozen_stages=2,
        source_repeats={"coco": 3.0, "lspet": 1.0, "fashion": 0.5, "stanford40": 1.0, "pedestrian": 0.5},
    )


def detector() -> Recipe:
    """Person detector on the MobileNetV2 encoder; started and run like ``mnv2``.

    17,000 pictures; about 20 minutes on two Zen 4 cores. Person AP 18.3 on 300 COCO val2017 pictures: a first state.
    """
    return Recipe(
        name="detector",
        task="detect",
        net=detector_of(member("mnv2")),
        phases=(
            Phase(size=Size(224, 224), samples=10_000),
            Phase(size=Size(320, 320), samples=7_000, augmentation=0.7),
        ),
        batch=16,
        ema=0.995,
        evaluations=6,
        augmentation=Augmentation(flip=0.5, scale=0.4, shift=0.25, light=0.25, grey=0.05, blur=0.05),
        source_repeats={"coco": 1.0, "stanford40": 1.0},
    )
