from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.adapters.base import model_info
from slimpose.adapters.part_affinity import BottomUpEstimator, group_people
from slimpose.arrays import Size
from slimpose.skeleton import COCO17, OPENPOSE18, Skeleton
from slimpose.tasks import Task

STRIDE = 8
CELLS = Size(46, 60)

STICK = Skeleton(
    name="stick",
    joints=("head", "hip", "knee", "foot"),
    limbs=(("head", "hip"), ("hip", "knee"), ("knee", "foot")),
    sigmas=(0.1,) * 4,
    upper_body=("head",),
)


def standing(x: float, y: float, skeleton: Skeleton = STICK, height: float = 150.0) -> np.ndarray:
    """Return a person's joints, evenly spaced on a slightly leaning line."""
    share = np.linspace(0, 1, len(skeleton.joints), dtype=np.float32)
    return np.stack([x + 10 * share, y + height * share], axis=1).astype(np.float32)


def maps_of(people: list[np.ndarray], skeleton: Skeleton = STICK) -> tuple[np.ndarray, np.ndarray]:
    """Return ideal maps: Gaussians, and unit vectors within a cell of each limb; NaN is absent."""
    y, x = np.mgrid[: CELLS.height, : CELLS.width].astype(np.float32)
    heatmaps = np.zeros((len(skeleton.joints), *CELLS), np.float32)
    affinities = np.zeros((2 * len(skeleton.limbs), *CELLS), np.float32)
    for person in people:
        cells = (person - (STRIDE - 1) / 2) / STRIDE
        for joint, (joint_x, joint_y) in enumerate(cells):
            if np.isfinite(joint_x):
                gaussian = np.exp(-((x - joint_x) ** 2 + (y - joint_y) ** 2) / 2)
                heatmaps[joint] = np.maximum(heatmaps[joint], gaussian)
        for limb, (a, b) in enumerate(skeleton.limb_indices):
            start, end = cells[a], cells[b]
            length = float(np.hypot(*(end - start)))
            if not np.isfinite(length) or length < 1e-3:
                continue
            along = (end - start) / length
            ahead = (x - start[0]) * along[0] + (y - start[1]) * along[1]
            aside = np.abs((x - start[0]) * along[1] - (y - start[1]) * along[0])
            inside = (ahead >= -1) & (ahead <= length + 1) & (aside <= 1)
            affinities[2 * limb][inside], affinities[2 * limb + 1][inside] = along
    return heatmaps, affinities


@pytest.mark.parametrize(
    "skeleton", [STICK, COCO17, OPENPOSE18], ids=lambda skeleton: skeleton.name
)
def test_one_person_is_found_at_its_place(skeleton: Skeleton) -> None:
    rng = np.random.default_rng(0)
    person = rng.uniform((40, 40), (420, 320), (len(skeleton.joints), 2)).astype(np.float32)
    found = group_people(*maps_of([person], skeleton), skeleton, stride=STRIDE)
    assert found.points_image.shape == (1, len(skeleton.joints), 2)
    # A peak is taken to a quarter of a cell.
    np.testing.assert_allclose(found.points_image[0], person, atol=STRIDE / 4)
    assert found.scores.min() > 0.85
    assert 0.8 < found.person_scores[0] <= 1


@given(xs=st.permutations([60, 150, 240, 330, 420]), count=st.integers(1, 5))
def test_people_side_by_side_keep_their_own_joints(xs: list[int], count: int) -> None:
    people = [standing(float(x), 60 + 20.0 * i) for i, x in enumerate(xs[:count])]
    found = group_people(*maps_of(people), STICK, stride=STRIDE)
    assert len(found.points_image) == count
    for person in people:
        distance = np.abs(found.points_image - person).max(axis=(1, 2))
        assert distance.min() < STRIDE / 4


def test_affinity_separates_crossing_people() -> None:
    # Their legs cross: each foot is below the other person's hip.
    one = np.array([[100, 60], [100, 120], [150, 180], [200, 240]], np.float32)
    other = np.array([[200, 60], [200, 120], [150, 186], [100, 246]], np.float32)
    other[2, 0] = 152  # near the first person's knee, but not the same peak
    other[2, 1] = 220
    found = group_people(*maps_of([one, other]), STICK, stride=STRIDE)
    assert len(found.points_image) == 2
    order = np.argsort(found.points_image[:, 0, 0])
    np.testing.assert_allclose(found.points_image[order], [one, other], atol=STRIDE / 2)


def test_absent_joint_scores_0_and_the_rest_stay_one_person() -> None:
    person = standing(200, 80)
    person[3] = np.nan
    found = group_people(*maps_of([person]), STICK, stride=STRIDE)
    assert len(found.scores) == 1
    assert found.scores[0, 3] == 0
    assert found.points_image[0, 3].tolist() == [0, 0]
    assert (found.scores[0, :3] > 0.8).all()
    whole = group_people(*maps_of([standing(200, 80)]), STICK, stride=STRIDE)
    assert found.person_scores[0] < whole.person_scores[0]


def test_two_halves_are_joined_by_the_limb_between_them() -> None:
    # The limbs in another order: both ends are found before their middle.
    skeleton = Skeleton(
        name="stick",
        joints=STICK.joints,
        limbs=(("head", "hip"), ("knee", "foot"), ("hip", "knee")),
        sigmas=STICK.sigmas,
        upper_body=STICK.upper_body,
    )
    found = group_people(*maps_of([standing(200, 80)], skeleton), skeleton, stride=STRIDE)
    assert len(found.scores) == 1
    assert (found.scores > 0).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_joints_are_not_a_person(count: int) -> None:
    person = standing(200, 80)
    person[count:] = np.nan
    found = group_people(*maps_of([person]), STICK, stride=STRIDE)
    assert found.points_image.shape == (0, 4, 2)
    assert found.scores.shape == (0, 4)
    assert found.person_scores.shape == (0,)


@pytest.mark.parametrize(("kept", "people"), [(0.9, 1), (0.7, 0)])
def test_affinity_must_cover_four_fifths_of_a_limb(kept: float, people: int) -> None:
    person = np.array([[40, 60], [440, 60], [440, 180], [440, 340]], np.float32)
    heatmaps, affinities = maps_of([person])
    start, end = (int((x - 3.5) / STRIDE) for x in (40, 440))
    affinities[:2, :, round(start + kept * (end - start)) :] = 0  # the first limb ends there
    found = group_people(heatmaps, affinities, STICK, stride=STRIDE)
    assert (found.scores[:, 0] > 0).sum() == people
    assert len(found.scores) == 1  # the other three joints are a person in any case


def test_opposite_affinity_joins_nothing() -> None:
    heatmaps, affinities = maps_of([standing(200, 80)])
    assert len(group_people(heatmaps, -affinities, STICK, stride=STRIDE).scores) == 0


def test_empty_maps_have_no_people_and_noise_gives_finite_points() -> None:
    empty = np.zeros((4, *CELLS), np.float32), np.zeros((6, *CELLS), np.float32)
    assert len(group_people(*empty, STICK, stride=STRIDE).scores) == 0
    rng = np.random.default_rng(0)
    noise = rng.random((4, *CELLS), np.float32), rng.normal(size=(6, *CELLS)).astype(np.float32)
    found = group_people(*noise, STICK, stride=STRIDE)
    assert np.isfinite(found.points_image).all()


def test_people_are_sorted_by_score() -> None:
    faint, clear = standing(100, 60), standing(300, 60)
    heatmaps, affinities = maps_of([faint, clear])
    heatmaps[:, :, :25] *= 0.6
    found = group_people(heatmaps, affinities, STICK, stride=STRIDE)
    assert found.person_scores[0] > found.person_scores[1]
    assert found.points_image[0, 0, 0] == pytest.approx(300, abs=2)


def test_maps_of_another_skeleton_are_rejected() -> None:
    heatmaps, affinities = maps_of([standing(200, 80)])
    with_background = np.concatenate([heatmaps, heatmaps[:1]])
    with pytest.raises(
        ValueError, match="got 5 heatmaps and 6 affinity maps; stick has 4 joints and 3 limbs"
    ):
        group_people(with_background, affinities, STICK, stride=STRIDE)


def test_limbs_of_openpose18_are_in_the_order_of_its_affinity_maps() -> None:
    # Published pairs of joint numbers and the first of their two channels.
    pairs = (
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
        (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
    )  # fmt: skip
    channels = (12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26)
    assert {(*pair, channel) for pair, channel in zip(pairs, channels, strict=True)} == {
        (*pair, 2 * limb) for limb, pair in enumerate(OPENPOSE18.limb_indices)
    }


class FakeNet:
    """Returns the same maps for any image, and stores the image."""

    def __init__(
        self, skeleton: Skeleton, people: list[np.ndarray], task: Task = "bottom-up"
    ) -> None:
        size = Size(CELLS.height * STRIDE, CELLS.width * STRIDE)
        self.info = model_info(
            Path("net"), size=size, stride=STRIDE, skeleton=skeleton, origin="", task=task
        )
        self.outputs = ("heatmaps", "affinities")
        self.maps = maps_of(people, skeleton)

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        self.batch = batch
        assert tuple(outputs) == self.outputs
        return [maps[None] for maps in self.maps]


def test_people_of_whole_images_have_cocos_joints_in_image_pixels() -> None:
    places = {
        "nose": (200, 40),
        "neck": (200, 100),
        "right_shoulder": (140, 100),
        "left_shoulder": (260, 100),
    }
    person = np.array(
        [places.get(joint, (np.nan, np.nan)) for joint in OPENPOSE18.joints], np.float32
    )
    net = FakeNet(OPENPOSE18, [person])
    image = np.full((736, 960, 3), 7, np.uint8)  # twice the input size
    poses = BottomUpEstimator(net)(image)
    assert net.batch.shape == (1, 368, 480, 3)
    assert (len(poses), poses.skeleton) == (1, COCO17)
    found = dict(zip(COCO17.joints, poses.points_image[0], strict=True))
    for joint in ("nose", "right_shoulder", "left_shoulder"):
        np.testing.assert_allclose(found[joint], np.array(places[joint]) * 2 + 0.5, atol=STRIDE / 2)
    assert poses.scores[0].astype(bool).sum() == 3  # the neck is not one of COCO's
    np.testing.assert_allclose(poses.boxes_image[0], [280.5, 80.5, 520.5, 200.5], atol=STRIDE / 2)
    assert len(BottomUpEstimator(FakeNet(OPENPOSE18, []))(np.zeros((90, 70, 3), np.uint8))) == 0


def test_model_of_another_task_or_without_cocos_joints_is_rejected() -> None:
    with pytest.raises(ValueError, match="net is a pose model; expected one for whole images"):
        BottomUpEstimator(FakeNet(OPENPOSE18, [], task="pose"))
    with pytest.raises(
        ValueError, match=r"net has no nose, left_eye, .*expected all of COCO's joints"
    ):
        BottomUpEstimator(FakeNet(STICK, []))
