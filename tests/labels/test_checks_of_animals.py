"""Swaps and duplicates in labels of animals seen from above, at any rotation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slimpose.formats import coco
from slimpose.labels.checks.check import check_poses
from slimpose.labels.checks.pose_arrays import PoseArrays

JOINTS = ["nose", "left ear", "right ear", "neck", "left hip", "right hip", "left paw",
          "right paw", "tail base", "tail tip"]  # fmt: skip
MEAN = [[0, -1], [-0.3, -0.7], [0.3, -0.7], [0, -0.6], [-0.35, 0.5], [0.35, 0.5], [-0.5, -0.35],
        [0.5, -0.35], [0, 0.8], [0, 1.7]]  # fmt: skip
FLIP = [0, 2, 1, 3, 5, 4, 7, 6, 8, 9]


def mouse(generator: np.random.Generator) -> np.ndarray:
    """A bent body with moving paws and tail, 10 keypoints of size about 100 px."""
    points = np.array(MEAN)
    bend = generator.normal(0, 0.35)
    angle = bend * np.clip(points[:, 1], -1, 1.7)
    x = points[:, 0] * np.cos(angle) - 0.6 * bend * points[:, 1] ** 2
    points = np.stack([x, points[:, 1] + points[:, 0] * np.sin(angle)], axis=1)
    points += generator.normal(0, 0.03, points.shape)
    points[6:8] += generator.normal(0, 0.15, (2, 2))
    points[9] += generator.normal(0, 0.4, 2)
    turn = generator.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ rotation.T * generator.uniform(60, 140) + 500


@pytest.mark.parametrize("seed", [0, 1])
def test_swaps_and_duplicates_are_found(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images, annotations, swapped, doubled = [], [], set(), set()
    for number in range(1, 901):
        points = mouse(generator)
        copies = [points]
        if number % 15 == 0:
            swapped.add(number)
            copies = [points[FLIP]]
        elif number % 15 == 1:
            doubled.add(number)
            copies.append(points + generator.normal(0, 2, points.shape))
        images.append({"id": number, "file_name": f"{number}.png", "width": 1000, "height": 1000})
        for part, one in enumerate(copies):
            low, size = one.min(axis=0) - 10, np.ptp(one, axis=0) + 20
            annotations.append(
                {"id": number + 1000 * part, "image_id": number, "category_id": 1,
                 "bbox": [*low, *size], "iscrowd": 0,
                 "keypoints": np.c_[one, np.full(len(one), 2)].ravel().tolist()}
            )  # fmt: skip
    categories = [{"id": 1, "name": "mouse", "keypoints": JOINTS}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    file = coco.parse(document, Path("mice.json"), keypoints=True, areas=False)
    found: dict[str, set[int | None]] = {"swap": set(), "duplicate": set()}
    for one in check_poses(PoseArrays.of(file), file):
        found.setdefault(one.kind, set()).add(one.image_id)
    for kind, planted, least in (("swap", swapped, 0.95), ("duplicate", doubled, 0.9)):
        assert len(found[kind] & planted) >= least * len(planted), kind
        assert len(found[kind] - planted) <= 0.05 * len(found[kind]), kind
