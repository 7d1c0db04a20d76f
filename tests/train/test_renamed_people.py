"""COCO's people with other names of the same keypoints train and are evaluated alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.data.augment import Augmentation
from slimpose.data.order import SampleOrder
from slimpose.data.people import TeacherLabels, load_people
from slimpose.data.pose_batches import PoseBatches
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.evaluate.pose import pose_ap, pose_records, predict_from_heatmaps
from slimpose.formats import coco
from slimpose.formats.coco_skeleton import complete_skeleton
from slimpose.skeleton import COCO17

GERMAN = {
    "nose": "Nase", "eye": "Auge", "ear": "Ohr", "shoulder": "Schulter", "elbow": "Ellbogen",
    "wrist": "Handgelenk", "hip": "Hüfte", "knee": "Knie", "ankle": "Knöchel",
    "left": "links", "right": "rechts",
}  # fmt: skip
NAMINGS = {
    "LShoulder": lambda side, part: f"{side[0].upper()}{part.capitalize()}",
    "shoulder_left": lambda side, part: f"{part}_{side}",
    "l_shoulder": lambda side, part: f"{side[0]}_{part}",
    "Shoulder.L": lambda side, part: f"{part.capitalize()}.{side[0].upper()}",
    "Schulter links": lambda side, part: f"{GERMAN[part]} {GERMAN[side]}",
}


def read(folder: Path, naming: str) -> coco.CocoFile:
    """The people of ``write_people`` with other names, and with no other field of the category."""
    document = json.loads((folder / "people.json").read_text())
    rename = NAMINGS.get(naming, lambda side, part: f"{side}_{part}")
    names = [rename(*j.split("_")) if "_" in j else GERMAN[j] for j in COCO17.joints]
    document["categories"] = [{"id": 1, "name": naming, "keypoints": names}]
    file = coco.parse(document, folder / f"{naming}.json", keypoints=True)
    assert complete_skeleton(file).skeleton == file.skeleton
    return file


def batches(folder: Path, file: coco.CocoFile) -> PoseBatches:
    people = load_people(file, folder, crop_size=Size(64, 64), teacher=TeacherLabels())
    order = SampleOrder(np.ones(len(people)), seed=1)
    return PoseBatches(people=people, order=order, stride=4, sigma_share=1 / 8, seed=1)


@pytest.mark.parametrize("naming", NAMINGS)
def test_batches_are_bit_identical(people_folder: Path, naming: str) -> None:
    augmentation = Augmentation(half_body=0.8, truncate=0.3, mixup=0.1)
    expected = batches(people_folder, coco.read(people_folder / "people.json", keypoints=True))
    renamed = batches(people_folder, read(people_folder, naming))
    for first in (0, 16):
        a, b = (one.batch(first, 16, Size(64, 64), augmentation) for one in (expected, renamed))
        for name in ("crops", "heatmaps", "weights"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def dot_heatmaps(crops: Crops) -> Heatmaps:
    """Find each joint by the color of its dot (``write_people``); mirrored, joints stay."""
    joint = np.arange(17)
    colors = np.stack([255 - 8 * joint, 8 * joint, 40 + 10 * joint], axis=1)[:, ::-1]
    cells = crops[:, 2::4, 2::4].astype(np.float32)
    distance = ((cells[:, None] - colors[:, None, None].astype(np.float32)) ** 2).sum(axis=4)
    return np.exp(-distance / 400).astype(np.float32)


def flip_ap(folder: Path, file: coco.CocoFile) -> dict[str, float]:
    predict = predict_from_heatmaps(dot_heatmaps, file.skeleton, stride=4, flip=True)
    boxes = ground_truth_boxes(file)
    return pose_ap(file, pose_records(file, folder, boxes, predict, crop_size=Size(128, 128)))


def test_flip_ap_is_equal(people_folder: Path) -> None:
    expected = flip_ap(people_folder, coco.read(people_folder / "people.json", keypoints=True))
    assert 0 < expected["AP"] < 1
    for naming in NAMINGS:
        assert flip_ap(people_folder, read(people_folder, naming)) == expected
