from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from image_files import find_dot
from slimpose.arrays import Size
from slimpose.data.people import TeacherLabels, TrainingPeople, available_memory_bytes, load_people
from slimpose.formats import coco
from slimpose.media.images import ImageError
from slimpose.runtime.machine import read_machine

Document = dict[str, Any]
Write = Callable[[Any], Path]
CROP = Size(height=64, width=48)
WHITE = (255, 255, 255)


def write_image(path: Path, size: Size, dot: tuple[int, int] | None, *, radius: int = 3) -> None:
    """Write a black image with a white dot."""
    image = np.zeros((*size, 3), np.uint8)
    if dot:
        cv2.circle(image, dot, radius, WHITE, -1)
    cv2.imwrite(str(path), image)


def person(
    image_id: int, box: list[float], joint_0: tuple[float, float], **more: object
) -> Document:
    person = {"id": 70 + image_id, "image_id": image_id, "category_id": 1, "bbox": box}
    return person | {"keypoints": [*joint_0, 2, *([0, 0, 0] * 16)], **more}


def load(
    document: Document, write: Write, folder: Path, *, teacher: TeacherLabels | None = None
) -> TrainingPeople:
    annotations = coco.read(write(document), keypoints=True, areas=False)
    return load_people(annotations, folder, crop_size=CROP, teacher=teacher or TeacherLabels())


@pytest.mark.parametrize(
    ("size", "box", "dot"),
    [
        (Size(48, 64), [10.0, 8.0, 20.0, 30.0], (22, 20)),  # a small person: not resized
        # a large one: downscaled about eightfold
        (Size(600, 800), [200.0, 100.0, 220.0, 400.0], (310, 280)),
        # in a corner: the crop ends with the image
        (Size(600, 800), [0.0, 0.0, 300.0, 400.0], (51, 60)),
        # in the other corner, odd sides
        (Size(601, 801), [500.0, 300.0, 299.0, 299.0], (777, 555)),
        (Size(300, 300), [-40.0, -30.0, 200.0, 280.0], (33, 44)),  # a box that starts outside
    ],
)
def test_points_and_boxes_are_in_the_stored_crops_pixels(
    document: Document,
    write_coco: Write,
    tmp_path: Path,
    size: Size,
    box: list[float],
    dot: tuple[int, int],
) -> None:
    write_image(tmp_path / "street.png", size, dot, radius=max(2, size.height // 40))
    document["images"][0] |= {"height": size.height, "width": size.width}
    document["annotations"] = [person(7, box, dot)]
    people = load(document, write_coco, tmp_path)
    np.testing.assert_allclose(
        people.points_stored[0, 0], find_dot(people.stored_crops[0]), atol=0.15
    )
    # The box keeps its position relative to the joint.
    share = (people.points_stored[0, 0] - people.boxes_stored[0, :2]) / (
        people.boxes_stored[0, 2:] - people.boxes_stored[0, :2]
    )
    np.testing.assert_allclose(share, (np.array(dot) - box[:2]) / box[2:], atol=0.01)


def test_stored_crop_is_no_larger_than_needed(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    write_image(tmp_path / "street.png", Size(1000, 1000), (500, 500))
    document["images"][0] |= {"height": 1000, "width": 1000}
    document["annotations"] = [person(7, [300.0, 200.0, 400.0, 600.0], (500, 500))]
    (crop,) = load(document, write_coco, tmp_path).stored_crops
    assert crop.shape[0] <= 1.6 / 1.25 * CROP.height + 2
    assert crop.shape[1] <= 1.6 / 1.25 * CROP.width + 2


def test_crowds_and_unlabeled_people_are_left_out(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    write_image(tmp_path / "street.png", Size(48, 64), (20, 20))
    unlabeled = person(7, [1.0, 1.0, 20.0, 30.0], (0, 0), source="unlabeled")
    unlabeled |= {"id": 1, "keypoints": [0] * 51}
    crowd = person(7, [10.0, 8.0, 20.0, 30.0], (20, 20), iscrowd=1, source="crowd") | {"id": 2}
    document["annotations"] = [
        person(7, [10.0, 8.0, 20.0, 30.0], (20, 20), source="lspet"),
        crowd,
        unlabeled,
    ]
    assert load(document, write_coco, tmp_path).sources == ["lspet"]


@pytest.mark.parametrize(
    ("teacher", "agreement", "weight"),
    [
        (TeacherLabels(weight=0.5), 0.9, 0.5 * 0.8),  # used: its own score times the weight
        (TeacherLabels(weight=0.0), 0.9, 0.0),  # turned off
        (TeacherLabels(min_agreement=0.95), 0.9, 0.0),  # it missed too many annotated joints
        (TeacherLabels(min_score=0.85), 0.9, 0.0),  # its score is too low
        (TeacherLabels(), float("nan"), 0.0),  # agreement unknown
    ],
)
def test_teacher_labels_only_joints_without_annotation(
    document: Document,
    write_coco: Write,
    tmp_path: Path,
    teacher: TeacherLabels,
    agreement: float,
    weight: float,
) -> None:
    write_image(tmp_path / "street.png", Size(48, 64), (20, 20))
    prediction = {"teacher_keypoints": [5.0, 6.0, 0.8] * 17, "teacher_agreement": agreement}
    document["annotations"] = [person(7, [10.0, 8.0, 20.0, 30.0], (20, 20), **prediction)]
    people = load(document, write_coco, tmp_path, teacher=teacher)
    assert people.weights[0, 0] == 1  # annotated: the teacher is not used
    np.testing.assert_allclose(people.weights[0, 1:], weight, rtol=1e-6)
    offset = people.points_stored[0, 1] - people.points_stored[0, 0]
    np.testing.assert_allclose(offset, [5 - 20, 6 - 20], atol=1e-3)


def test_progress_is_reported_per_image(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    write_image(tmp_path / "street.png", Size(48, 64), (20, 20))
    calls: list[tuple[int, int]] = []
    annotations = coco.read(write_coco(document), keypoints=True)
    options = {"teacher": TeacherLabels(), "on_progress": lambda *done: calls.append(done)}
    load_people(annotations, tmp_path, crop_size=CROP, **options)
    assert calls == [(1, 1)]


# errors


def test_image_of_another_size_is_rejected(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    write_image(tmp_path / "street.png", Size(24, 32), (10, 10))
    message = "image 7, street.png, is declared 64 wide and 48 high; the file is 32 wide and 24"
    with pytest.raises(ValueError, match=message):
        load(document, write_coco, tmp_path)


def test_missing_image_is_rejected(document: Document, write_coco: Write, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=re.escape(f"{tmp_path / 'street.png'}: no such file")):
        load(document, write_coco, tmp_path)


def test_file_without_labeled_joints_is_rejected(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    document["annotations"] = []
    with pytest.raises(ValueError, match="no person has a labeled joint"):
        load(document, write_coco, tmp_path)


def test_empty_box_is_rejected(document: Document, write_coco: Write, tmp_path: Path) -> None:
    write_image(tmp_path / "street.png", Size(48, 64), (20, 20))
    document["annotations"][0]["bbox"] = [10, 8, 0, 32]
    with pytest.raises(
        ValueError,
        match=re.escape(
            "the bbox of 1 people with keypoints has no area; the first is annotation 70: x=10 y=8"
        ),
    ):
        load(document, write_coco, tmp_path)


@pytest.mark.parametrize(
    "bbox", [[-40, 10, 30, 30], [64, 10, 30, 30], [10, -32, 30, 32], [10, 48, 9, 9]]
)
def test_box_outside_the_image_is_rejected(
    document: Document, write_coco: Write, tmp_path: Path, bbox: list[float]
) -> None:
    write_image(tmp_path / "street.png", Size(48, 64), (20, 20))
    document["annotations"][0]["bbox"] = bbox
    with pytest.raises(
        ValueError, match=r"annotation 70: box lies outside the image: .* 64 wide and 48 high"
    ):
        load(document, write_coco, tmp_path)


# memory


def test_crops_are_compressed_if_memory_is_short(
    tmp_path: Path, document: Document, write_coco: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.jpg", Size(96, 96), (40, 40), radius=8)
    document["images"] = [{"id": 1, "file_name": "a.jpg", "height": 96, "width": 96}]
    document["annotations"] = [person(1, [20.0, 20.0, 40.0, 50.0], (40.0, 40.0))]
    raw = load(document, write_coco, tmp_path)
    monkeypatch.setattr("slimpose.data.people.available_memory_bytes", lambda: 0)
    packed = load(document, write_coco, tmp_path)
    assert raw.stored_crops[0].shape == packed.stored_crops[0].shape
    assert np.abs(raw.stored_crops[0].astype(int) - packed.stored_crops[0]).mean() < 3
    np.testing.assert_array_equal(raw.points_stored, packed.points_stored)


def test_processes_share_half_of_the_control_groups_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimpose.data.people.read_machine", lambda: read_machine(tmp_path))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert available_memory_bytes() == 4 << 30  # unknown memory
    for name, content in {
        "proc/meminfo": "MemTotal: 8000000 kB",
        "proc/self/cgroup": "0::/",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert available_memory_bytes() == 4_096_000_000
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1000000000\n")
    assert available_memory_bytes() == 500_000_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert available_memory_bytes() == 125_000_000
