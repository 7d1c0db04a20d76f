"""Recipes for small data sets of one's own, of 100 to 2,000 instances with any keypoints."""

from __future__ import annotations

import dataclasses

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.network.family import family_spec
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.recipes.small_data import detector


def own() -> Recipe:
    r"""Pose network for your own keypoints of any object, from the shipped ``mnv2``.

    slimpose train own --train labels.json --images DIR --out RUN

    A fifth of the images is held out to measure AP (or --val and --val-images, or --folds 5). The
    encoder was trained on people; its first three stages are kept, the head is new except for
    keypoints of the same name. Crops have the shape of most boxes. 12,800 crops: minutes on two
    cores (docs/own-data.md).
    """
    return Recipe(
        name="own",
        task="pose",
        net=family_spec("mnv2"),
        start="mnv2",
        phases=(
            Phase(size=Size(192, 160), samples=8_000),
            Phase(size=Size(256, 192), samples=4_800, augmentation=0.7),
        ),
        sizes_from_boxes=True,
        batch=16,
        learning_rate=2e-3,
        encoder_rate=0.3,
        frozen_stages=3,
        warmup_share=0.03,
        flat=0.4,
        ema=0.99,
        augmentation=Augmentation(half_body=0.1, truncate=0.1),
        evaluations=16,
        patience=6,
    )


def own_teacher() -> Recipe:
    r"""Larger network for your own keypoints, to be the ``--teacher`` of ``own``.

    slimpose train own-teacher --start models/teacher/weights.safetensors \
        --train labels.json --images DIR --out TEACHER
    slimpose train own --teacher TEACHER/best.safetensors \
        --train labels.json --images DIR --out RUN
    """
    return dataclasses.replace(
        own(), name="own-teacher", net=family_spec("mnv2-wide"), start="teacher", frozen_stages=2
    )


def own_detector() -> Recipe:
    r"""Detector for your own objects, from the shipped ``detector``, which finds people only.

    slimpose train own-detector --train labels.json --images DIR --out RUN

    From the boxes of the same label file. 6,400 images (docs/own-data.md).
    """
    return dataclasses.replace(
        detector(),
        name="own-detector",
        start="detector",
        phases=(
            Phase(size=Size(256, 256), samples=4_000),
            Phase(size=Size(320, 352), samples=2_400, augmentation=0.5),
        ),
        learning_rate=3e-3,
        warmup_share=0.03,
        flat=0.4,
        ema=0.99,
        augmentation=Augmentation(scale=0.4, shift=0.25, mosaic=0.4),
        patience=4,
    )
