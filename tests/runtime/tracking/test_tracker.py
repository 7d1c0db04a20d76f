"""Ids of one camera's people: born, confirmed, kept through crossings and losses, ended by time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.arrays import Size
from slimpose.poses import Poses
from slimpose.runtime.tracking.tracker import Origin, Tracker
from slimpose.runtime.tracking.tracks import TrackerSettings
from slimpose.skeleton import COCO17, Skeleton
from walkers import person, poses_of

FPS = 10.0
PICTURE = Size(300, 640)


def ids_of(
    tracker: Tracker,
    frames: Sequence[Sequence[tuple[float, float]]],
    *,
    fps: float = FPS,
    start_s: float = 0.0,
) -> list[list[int]]:
    """The ids of each frame's people, in the order of ``frames``; 0 for whom the tracker says nothing of."""
    told = []
    for index, places in enumerate(frames):
        result = tracker.update(poses_of(places), start_s + index / fps)
        by_place = {
            tuple(points[0]): int(number)
            for points, number in zip(result.points_image, result.ids, strict=True)
        }
        told.append([by_place.get(tuple(person(x, y)[0]), 0) for x, y in places])
    return told


def walk(x: float, y: float, speed_px: float, frames: int) -> list[tuple[float, float]]:
    return [(x + speed_px * frame, y) for frame in range(frames)]


# birth


def test_whoever_is_there_from_the_first_frame_is_told_of_at_once() -> None:
    assert ids_of(Tracker(COCO17), [[(100, 100), (300, 100)]]) == [[1, 2]]


def test_whoever_comes_later_is_told_of_in_their_third_frame() -> None:
    frames = [[(100.0, 100.0)], *([[(100.0, 100.0), (400.0, 100.0)]] * 3)]
    assert ids_of(Tracker(COCO17), frames) == [[1], [1, 0], [1, 0], [1, 2]]


def test_what_is_seen_only_twice_is_never_told_of() -> None:
    frames = [
        [(100.0, 100.0)],
        [(100.0, 100.0), (400.0, 100.0)],
        [(100.0, 100.0), (400.0, 100.0)],
        [(100.0, 100.0)],
    ]
    tracker = Tracker(COCO17)
    assert ids_of(tracker, frames) == [[1], [1, 0], [1, 0], [1]]
    assert len(tracker) == 1


def test_a_pose_of_nobody_starts_no_track() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(100, 100)], score=0.2), 0.0)
    assert len(tracker) == 0


def test_only_the_detector_brings_new_people() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(100, 100)]), 0.0, origins=np.array([Origin.TRACKED]))
    assert len(tracker) == 0


def test_one_person_seen_twice_is_one_person() -> None:
    result = Tracker(COCO17).update(poses_of([(100, 100), (101, 100), (300, 100)]), 0.0)
    np.testing.assert_array_equal(result.ids, [1, 2])


# carrying on


@pytest.mark.parametrize("fps", [5.0, 12.5, 30.0])
def test_ids_survive_the_crossing_of_two_walkers(fps: float) -> None:
    # 70 px a second each: a person of 100 px walks so.
    frames = round(6 * fps)
    right, left = walk(100, 100, 70 / fps, frames), walk(520, 104, -70 / fps, frames)
    told = ids_of(Tracker(COCO17), list(zip(right, left, strict=True)), fps=fps)
    assert told[0] == told[-1] == [1, 2]


def test_ids_survive_when_the_hidden_walker_is_not_found_while_they_cross() -> None:
    # The one behind is missing while the two are less than half a person's width apart.
    frames = 60
    right, left = walk(100, 100, 7, frames), walk(520, 104, -7, frames)
    told = ids_of(
        Tracker(COCO17),
        [[a, b] if abs(a[0] - b[0]) > 20 else [a] for a, b in zip(right, left, strict=True)],
    )
    assert told[0] == told[-1] == [1, 2]


def test_a_walker_hidden_for_a_second_keeps_the_id_and_walks_on_meanwhile() -> None:
    way = walk(100, 100, 7, 40)
    told = ids_of(
        Tracker(COCO17),
        [[place] if not 15 <= index < 25 else [] for index, place in enumerate(way)],
    )
    assert told[14] == told[25] == told[39] == [1]


def test_a_walker_is_not_held_back_by_poses_squeezed_onto_what_a_pillar_leaves_of_them() -> None:
    # From x = 240 on a pillar hides more and more of the walker: poor poses at its edge, then none,
    # then whole again.
    tracker, numbers = Tracker(COCO17), []
    for index, (x, y) in enumerate(walk(100, 100, 7, 50)):
        if 240 <= x < 275:
            result = tracker.update(poses_of([(238, y)], score=0.5), index / FPS)
        else:
            result = tracker.update(poses_of([] if 275 <= x < 320 else [(x, y)]), index / FPS)
        numbers.append(result.ids.tolist())
    assert numbers[-1] == numbers[0] == [1]
    assert {tuple(ids) for ids in numbers} == {(1,), ()}


def test_where_people_overlap_a_pose_in_other_clothes_is_somebody_else() -> None:
    def after_a_step(color: int) -> list[int]:
        tracker, places = Tracker(COCO17), [(200.0, 100.0), (225.0, 100.0)]
        image = np.full((*PICTURE, 3), 90, np.uint8)
        image[50:150, 180:220], image[50:150, 220:245] = (250, 60, 5), (5, 60, 250)
        for index in range(10):
            tracker.update(poses_of(places), index / FPS, image=image)
        later = image.copy()
        later[50:150, 180:220] = (color, 60, 255 - color)
        return tracker.update(poses_of(places), 1.0, image=later).ids.tolist()

    assert after_a_step(250) == [1, 2]
    assert after_a_step(100) == [2]


def test_after_a_gap_in_the_film_people_are_new() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(100, 100)]), 0.0)
    told = [
        tracker.update(poses_of([(100, 100)]), 60.0 + frame / FPS).ids.tolist()
        for frame in range(3)
    ]
    assert told == [[2], [2], [2]]
    assert len(tracker.expected(90.0, PICTURE).origins) == 0


def test_a_pose_that_is_no_number_is_nobody() -> None:
    broken = poses_of([(100, 100), (300, 100)])
    broken.points_image[0, 5] = np.nan
    assert len(Tracker(COCO17).update(broken, 0.0)) == 1


def test_who_comes_back_is_known_by_the_colors_of_their_clothes() -> None:
    # Both stand hidden for a second; then they come back where they were, or each where the other
    # was.
    def picture(places: Sequence[tuple[float, float]], colors: Sequence[int]) -> np.ndarray:
        image = np.full((*PICTURE, 3), 90, np.uint8)
        for (x, y), color in zip(places, colors, strict=True):
            image[int(y) - 50 : int(y) + 50, int(x) - 20 : int(x) + 20] = (color, 60, 255 - color)
        return image

    def last_ids(colors: Sequence[int]) -> list[int]:
        tracker, before, after = (
            Tracker(COCO17),
            [(200.0, 100.0), (260.0, 100.0)],
            [(209.0, 100.0), (251.0, 100.0)],
        )
        for index in range(10):
            tracker.update(poses_of(before), index / FPS, image=picture(before, (250, 5)))
        for index in range(10, 20):
            tracker.update(poses_of([]), index / FPS, image=picture([], []))
        result = tracker.update(poses_of(after), 2.0, image=picture(after, colors))
        return [int(number) for number in result.ids[np.argsort(result.points_image[:, 0, 0])]]

    assert last_ids((250, 5)) == [1, 2]
    assert last_ids((5, 250)) == [2, 1]


def test_where_people_should_be_follows_their_walk_and_ends_at_the_border() -> None:
    tracker = Tracker(COCO17)
    ids_of(tracker, [[place] for place in walk(100, 100, 7, 20)])
    there = tracker.expected(2.0, PICTURE)
    np.testing.assert_allclose(
        (there.boxes_image[0, :2] + there.boxes_image[0, 2:]) / 2, [240, 100], atol=2
    )
    np.testing.assert_array_equal(there.origins, [Origin.TRACKED])
    assert tracker.expected(2.0, Size(300, 230)).boxes_image[0, 2] == 229.5


# loss and end


@pytest.mark.parametrize("fps", [4.0, 25.0])
def test_a_lost_person_is_forgotten_after_a_time_not_after_frames(fps: float) -> None:
    tracker = Tracker(COCO17, settings=TrackerSettings(lost_track_buffer_s=2.0))
    tracker.update(poses_of([(300, 100)]), 0.0)
    kept = [
        len(tracker)
        for frame in range(round(3 * fps))
        if tracker.update(poses_of([]), (frame + 1) / fps) is not None
    ]
    assert sum(kept) == pytest.approx(2 * fps, abs=1)


def test_whoever_was_forgotten_comes_back_as_somebody_new() -> None:
    tracker = Tracker(COCO17, settings=TrackerSettings(lost_track_buffer_s=1.0))
    told = ids_of(tracker, [[(300.0, 100.0)]] * 5 + [[]] * 12 + [[(300.0, 100.0)]] * 3)
    assert told[0] == [1]
    assert told[-1] == [2]


def test_the_lost_are_looked_for_where_they_should_be_for_a_while() -> None:
    tracker = Tracker(COCO17, settings=TrackerSettings(coast_s=0.5))
    tracker.update(poses_of([(300, 100)]), 0.0)
    tracker.update(poses_of([]), 0.1)
    assert tracker.needs_detection
    np.testing.assert_array_equal(tracker.expected(0.4, PICTURE).origins, [Origin.COASTED])
    assert len(tracker.expected(0.6, PICTURE).origins) == 0


def test_a_guess_must_be_a_sure_pose_to_bring_a_lost_person_back() -> None:
    def after(score: float, origin: Origin) -> int:
        tracker = Tracker(COCO17)
        tracker.update(poses_of([(300, 100)]), 0.0)
        tracker.update(poses_of([]), 0.1)
        return len(
            tracker.update(poses_of([(300, 100)], score=score), 0.2, origins=np.array([origin]))
        )

    assert after(0.4, Origin.COASTED) == 0
    assert after(0.4, Origin.DETECTED) == 1
    assert after(0.8, Origin.COASTED) == 1


def test_whoever_leaves_the_picture_takes_the_id_along() -> None:
    # The next one enters at the same border within the time that the lost are kept.
    tracker, image = Tracker(COCO17), np.zeros((*PICTURE, 3), np.uint8)
    numbers: set[int] = set()
    out, into = walk(580, 100, 8, 8), walk(640, 100, -8, 8)
    for index, places in enumerate(
        [[place] for place in out] + [[]] * 5 + [[place] for place in into]
    ):
        numbers |= set(tracker.update(poses_of(places), index / FPS, image=image).ids.tolist())
    assert numbers == {1, 2}


@pytest.mark.parametrize(("score", "seconds"), [(0.4, 3), (0.8, 9)])
def test_whom_the_detector_does_not_see_is_lost_in_the_end_a_sure_pose_later(
    score: float, seconds: int
) -> None:
    tracker = Tracker(COCO17)
    sure = poses_of([(300, 100)], score=max(score, 0.8))
    tracker.update(sure, 0.0)
    carried = np.array([Origin.TRACKED])
    followed_s = 0.0
    for step in range(1, 200):
        at_s = step / FPS
        result = tracker.update(
            poses_of([(300, 100)], score=score), at_s, origins=carried, detector_ran=step % 5 == 0
        )
        followed_s = at_s if len(result) else followed_s
    assert followed_s == pytest.approx(seconds, abs=1.2)


def test_a_pose_much_worse_than_usual_worries() -> None:
    tracker = Tracker(COCO17)
    ids_of(tracker, [[(300.0, 100.0)]] * 5)
    assert not tracker.needs_detection
    tracker.update(poses_of([(300, 100)], score=0.4), 0.5)
    assert tracker.needs_detection


# several cameras


def test_cameras_that_share_their_numbers_share_no_id() -> None:
    numbers = itertools.count(1)
    first, second = Tracker(COCO17, new_ids=numbers), Tracker(COCO17, new_ids=numbers)
    assert ids_of(first, [[(100, 100)]]) == [[1]]
    assert ids_of(second, [[(100, 100), (300, 100)]]) == [[2, 3]]


# properties


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.floats(0, 200)), max_size=5),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 1000),
)
def test_ids_of_a_frame_ascend_none_twice_and_belong_to_poses_that_were_given(
    frames: list[list[tuple[int, float]]], seed: int
) -> None:
    tracker, rng = Tracker(COCO17), np.random.default_rng(seed)
    for index, places in enumerate(frames):
        poses = poses_of([(100.0 * x, y) for x, y in places], noise_px=2.0, rng=rng)
        result = tracker.update(poses, index / FPS)
        assert (np.diff(result.ids) > 0).all()
        given_points = {points.tobytes() for points in poses.points_image}
        assert all(points.tobytes() in given_points for points in result.points_image)


# errors


def test_time_that_stands_still_is_told() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([]), 1.0)
    with pytest.raises(ValueError, match=r"the time went from 1 s to 1 s; expected it to advance"):
        tracker.update(poses_of([]), 1.0)


def test_another_skeleton_is_told() -> None:
    other = Skeleton(name="two", joints=("a", "b"), limbs=(), sigmas=(0.1, 0.1), upper_body=())
    with pytest.raises(ValueError, match="poses are of skeleton 'two'; this tracker's is 'coco17'"):
        Tracker(COCO17).update(Poses.empty(other), 0.0)


def test_origins_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match=r"origins have shape \(1,\); expected \(2,\), one a pose"):
        Tracker(COCO17).update(poses_of([(0, 0), (300, 0)]), 0.0, origins=np.zeros(1, np.int64))


def test_rules_that_make_no_sense_are_told() -> None:
    with pytest.raises(ValueError, match=r"least_quality is 2; expected 0\.\.1"):
        TrackerSettings(minimum_quality=2.0)
    with pytest.raises(ValueError, match=r"lost_s is -1; expected a finite number, 0 or more"):
        TrackerSettings(lost_track_buffer_s=-1.0)
