from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from slimpose.arrays import Image, Size
from slimpose.data.augment import Augmentation
from slimpose.data.order import SampleOrder
from slimpose.data.people import TeacherLabels, TrainingPeople, available_memory_bytes, load_people
from slimpose.data.pose_batches import PoseBatches
from slimpose.formats import coco
from slimpose.media.images import ImageError
from slimpose.runtime.machine import read_machine

Document = dict[str, Any]
Write = Callable[[Any], Path]
CROP = Size(height=64, width=48)
WHITE = (255, 255, 255)


def picture(path: Path, size: Size, dot: tuple[int, int] | None, *, radius: int = 3) -> None:
    """A black picture with a white dot."""
    image = np.zeros((*size, 3), np.uint8)
    if dot:
        cv2.circle(image, dot, radius, WHITE, -1)
    cv2.imwrite(str(path), image)


def dot_found(image: Image) -> np.ndarray:
    weight = image[..., 0].astype(np.float64)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def person(
    image_id: int, box: list[float], joint_0: tuple[float, float], **more: object
) -> Document:
    keypoints = [*joint_0, 2, *([0, 0, 0] * 16)]
    return {
        "id": 70 + image_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": box,
        "keypoints": keypoints,
        **more,
    }


def load(
    document: Document, write: Write, folder: Path, *, teacher: TeacherLabels | None = None
) -> TrainingPeople:
    annotations = coco.read(write(document), keypoints=True)
    return load_people(annotations, folder, crop_size=CROP, teacher=teacher or TeacherLabels())


@pytest.mark.parametrize(
    ("size", "box", "dot"),
    [
        (Size(48, 64), [10.0, 8.0, 20.0, 30.0], (22, 20)),  # a small person: cut, not shrunk
        (
            Size(600, 800),
            [200.0, 100.0, 220.0, 400.0],
            (310, 280),
        ),  # a large one: shrunk about eightfold
        (
            Size(600, 800),
            [0.0, 0.0, 300.0, 400.0],
            (51, 60),
        ),  # in the corner: the cut ends with the picture
        (
            Size(601, 801),
            [500.0, 300.0, 299.0, 299.0],
            (777, 555),
        ),  # in the other corner, odd sides
        (Size(300, 300), [-40.0, -30.0, 200.0, 280.0], (33, 44)),  # a box that begins outside
    ],
)
def test_points_and_boxes_lie_on_the_cuts_own_pixels(
    document: Document,
    write_coco: Write,
    tmp_path: Path,
    size: Size,
    box: list[float],
    dot: tuple[int, int],
) -> None:
    picture(tmp_path / "street.png", size, dot, radius=max(2, size.height // 40))
    document["images"][0] |= {"height": size.height, "width": size.width}
    document["annotations"] = [person(7, box, dot)]
    people = load(document, write_coco, tmp_path)
    np.testing.assert_allclose(
        people.points_stored[0, 0], dot_found(people.stored_crops[0]), atol=0.15
    )
    # The box keeps its place about the joint.
    share = (people.points_stored[0, 0] - people.boxes_stored[0, :2]) / (
        people.boxes_stored[0, 2:] - people.boxes_stored[0, :2]
    )
    np.testing.assert_allclose(share, (np.array(dot) - box[:2]) / box[2:], atol=0.01)


def test_a_cut_is_no_larger_than_training_needs(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    picture(tmp_path / "street.png", Size(1000, 1000), (500, 500))
    document["annotations"] = [person(7, [300.0, 200.0, 400.0, 600.0], (500, 500))]
    (cut,) = load(document, write_coco, tmp_path).stored_crops
    assert cut.shape[0] <= 1.6 / 1.25 * CROP.height + 2
    assert cut.shape[1] <= 1.6 / 1.25 * CROP.width + 2


def test_crowds_and_the_unlabeled_are_left_out(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    picture(tmp_path / "street.png", Size(48, 64), (20, 20))
    unlabeled = person(7, [1.0, 1.0, 20.0, 30.0], (0, 0), source="nobody")
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
        (TeacherLabels(weight=0.5), 0.9, 0.5 * 0.8),  # believed: its own score times the weight
        (TeacherLabels(weight=0.0), 0.9, 0.0),  # switched off
        (
            TeacherLabels(min_agreement=0.95),
            0.9,
            0.0,
        ),  # it missed too many known joints of this person
        (TeacherLabels(min_score=0.85), 0.9, 0.0),  # it is not sure of this joint
        (TeacherLabels(), float("nan"), 0.0),  # nobody compared it
    ],
)
def test_a_teacher_labels_only_what_nobody_annotated_and_only_when_believed(
    document: Document,
    write_coco: Write,
    tmp_path: Path,
    teacher: TeacherLabels,
    agreement: float,
    weight: float,
) -> None:
    picture(tmp_path / "street.png", Size(48, 64), (20, 20))
    guess = [5.0, 6.0, 0.8] * 17
    document["annotations"] = [
        person(
            7,
            [10.0, 8.0, 20.0, 30.0],
            (20, 20),
            teacher_keypoints=guess,
            teacher_agreement=agreement,
        )
    ]
    people = load(document, write_coco, tmp_path, teacher=teacher)
    assert people.weights[0, 0] == 1  # annotated: the teacher is not asked
    np.testing.assert_allclose(people.weights[0, 1:], weight, rtol=1e-6)
    offset = people.points_stored[0, 1] - people.points_stored[0, 0]
    np.testing.assert_allclose(offset, [5 - 20, 6 - 20], atol=1e-3)


def test_progress_is_told_a_picture_at_a_time(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    picture(tmp_path / "street.png", Size(48, 64), (20, 20))
    told: list[tuple[int, int]] = []
    annotations = coco.read(write_coco(document), keypoints=True)
    load_people(
        annotations,
        tmp_path,
        crop_size=CROP,
        teacher=TeacherLabels(),
        on_progress=lambda *done: told.append(done),
    )
    assert told == [(1, 1)]


# batches


@pytest.fixture
def one_dot(document: Document, write_coco: Write, tmp_path: Path) -> TrainingPeople:
    """One person whose left eye (joint 1) is the white dot; the nose is not labeled."""
    picture(tmp_path / "street.png", Size(200, 160), (75, 60), radius=4)
    entry = person(7, [40.0, 30.0, 70.0, 110.0], (0, 0))
    entry["keypoints"] = [0, 0, 0, 75, 60, 2, *([0, 0, 0] * 15)]
    document["annotations"] = [entry]
    return load(document, write_coco, tmp_path)


def batches_of(people: TrainingPeople, *, sigma_share: float = 1 / 32) -> PoseBatches:
    return PoseBatches(
        people=people,
        order=SampleOrder(np.ones(len(people)), seed=0),
        stride=4,
        sigma_share=sigma_share,
        seed=0,
    )


GEOMETRY_ONLY = Augmentation(
    color_jitter=0.0, grayscale=0.0, blur=0.0, random_erase=0.0, half_body=0.0
)


def test_the_target_of_a_mirrored_left_eye_is_in_the_right_eyes_map(
    one_dot: TrainingPeople,
) -> None:
    always = GEOMETRY_ONLY.scaled(0.0)
    for flip, eye in ((0.0, 1), (1.0, 2)):
        how = dataclasses.replace(always, flip=flip)
        batch = batches_of(one_dot).batch(0, 1, CROP, how)
        assert batch.weights[0].nonzero()[0].tolist() == [eye]
        x, y = dot_found(batch.crops[0])
        row, column = np.unravel_index(batch.heatmaps[0, eye].argmax(), (16, 12))
        assert (4 * column + 1.5, 4 * row + 1.5) == (
            pytest.approx(x, abs=2.2),
            pytest.approx(y, abs=2.2),
        )


def test_every_augmented_target_lies_on_its_pixels(one_dot: TrainingPeople) -> None:
    from slimpose import geometry, heatmap

    wide = batches_of(one_dot, sigma_share=1 / 8)  # 2 cells: what DARK decodes exactly
    batch = wide.batch(0, 40, CROP, GEOMETRY_ONLY)
    decoded = geometry.heatmap_to_crop(heatmap.decode(batch.heatmaps).points_heatmap, 4)
    checked = 0
    for crop, points, weights in zip(batch.crops, decoded, batch.weights, strict=True):
        for joint in weights.nonzero()[0]:
            if (points[joint] > 8).all() and (
                points[joint] < [CROP.width - 9, CROP.height - 9]
            ).all():
                np.testing.assert_allclose(points[joint], dot_found(crop), atol=0.3)
                checked += 1
    assert checked > 20


def test_a_joint_outside_the_crop_does_not_count(one_dot: TrainingPeople) -> None:
    far = dataclasses.replace(GEOMETRY_ONLY.scaled(0.0), shift=3.0)
    batch = batches_of(one_dot).batch(0, 30, CROP, far)
    lost = batch.weights.sum(axis=1) == 0
    assert lost.any()
    assert (batch.crops[lost].max(axis=(1, 2, 3)) < 255).any()


def test_a_batch_is_a_function_of_its_position(one_dot: TrainingPeople) -> None:
    how = Augmentation()
    together = batches_of(one_dot).batch(10, 4, CROP, how)
    for row in range(4):
        alone = batches_of(one_dot).batch(10 + row, 1, CROP, how)
        np.testing.assert_array_equal(together.crops[row], alone.crops[0])
        np.testing.assert_array_equal(together.heatmaps[row], alone.heatmaps[0])
        np.testing.assert_array_equal(together.weights[row], alone.weights[0])


def test_a_blend_carries_no_label_and_is_a_function_of_its_position(
    one_dot: TrainingPeople,
) -> None:
    how = Augmentation(mixup=0.5)
    together, unblended = (
        batches_of(one_dot).batch(0, 20, CROP, how),
        batches_of(one_dot).batch(0, 20, CROP, Augmentation()),
    )
    blended = (together.crops != unblended.crops).any(axis=(1, 2, 3))
    assert 0 < blended.sum() < 20
    assert not together.weights[blended].any()
    labeled = together.weights.any(axis=1)
    assert labeled.any()
    np.testing.assert_array_equal(together.weights[labeled], unblended.weights[labeled])
    np.testing.assert_array_equal(
        batches_of(one_dot).batch(7, 1, CROP, how).crops[0], together.crops[7]
    )


# errors


def test_a_missing_picture_is_named(document: Document, write_coco: Write, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=re.escape(f"{tmp_path / 'street.png'}: no such file")):
        load(document, write_coco, tmp_path)


def test_a_file_where_nobody_is_labeled_is_refused(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    document["annotations"] = []
    with pytest.raises(ValueError, match="nobody has a labeled joint"):
        load(document, write_coco, tmp_path)


def test_a_labeled_person_with_an_empty_box_is_named(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    picture(tmp_path / "street.png", Size(48, 64), (20, 20))
    document["annotations"][0]["bbox"] = [10, 8, 0, 32]
    with pytest.raises(
        ValueError, match=re.escape("annotation 70: box has no area: x1=10 y1=8 x2=10 y2=40")
    ):
        load(document, write_coco, tmp_path)


@pytest.mark.parametrize(
    "bbox", [[-40, 10, 30, 30], [64, 10, 30, 30], [10, -32, 30, 32], [10, 48, 9, 9]]
)
def test_a_labeled_person_outside_the_picture_is_named(
    document: Document, write_coco: Write, tmp_path: Path, bbox: list[float]
) -> None:
    picture(tmp_path / "street.png", Size(48, 64), (20, 20))
    document["annotations"][0]["bbox"] = bbox
    with pytest.raises(
        ValueError, match=r"annotation 70: box lies outside the image: .* 64 wide and 48 high"
    ):
        load(document, write_coco, tmp_path)


def test_cuts_that_do_not_fit_in_memory_are_kept_compressed_and_look_the_same(
    tmp_path: Path, document: Document, write_coco: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "a.jpg", Size(96, 96), (40, 40), radius=8)
    document["images"] = [{"id": 1, "file_name": "a.jpg", "height": 96, "width": 96}]
    document["annotations"] = [person(1, [20.0, 20.0, 40.0, 50.0], (40.0, 40.0))]
    raw = load(document, write_coco, tmp_path)
    monkeypatch.setattr("slimpose.data.people.available_memory_bytes", lambda: 0)
    packed = load(document, write_coco, tmp_path)
    assert raw.stored_crops[0].shape == packed.stored_crops[0].shape
    assert np.abs(raw.stored_crops[0].astype(int) - packed.stored_crops[0]).mean() < 3
    np.testing.assert_array_equal(raw.points_stored, packed.points_stored)


def test_processes_of_a_machine_share_half_of_what_its_control_group_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimpose.data.people.read_machine", lambda: read_machine(tmp_path))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert available_memory_bytes() == 4 << 30  # nothing is known
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
