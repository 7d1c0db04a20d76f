from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.arrays import Size
from slimpose.poses import Poses
from slimpose.skeleton import COCO17, Skeleton
from slimpose.tracking.tracker import Origin, Tracker
from slimpose.tracking.tracks import TrackerSettings
from walkers import person, poses_of

FPS = 10.0
IMAGE = Size(300, 640)


def ids_of(
    tracker: Tracker,
    frames: Sequence[Sequence[tuple[float, float]]],
    *,
    fps: float = FPS,
    start_s: float = 0.0,
) -> list[list[int]]:
    """The ids of the people in each frame, in the order of ``frames``; 0 for no id."""
    ids = []
    for index, places in enumerate(frames):
        result = tracker.update(poses_of(places), start_s + index / fps)
        by_point = {
            tuple(points[0]): int(track_id)
            for points, track_id in zip(result.points_image, result.ids, strict=True)
        }
        ids.append([by_point.get(tuple(person(x, y)[0]), 0) for x, y in places])
    return ids


def walk(x: float, y: float, speed_px: float, frames: int) -> list[tuple[float, float]]:
    return [(x + speed_px * frame, y) for frame in range(frames)]


# Start and confirmation.


def test_people_in_the_first_frame_are_returned_at_once() -> None:
    assert ids_of(Tracker(COCO17), [[(100, 100), (300, 100)]]) == [[1, 2]]


def test_later_person_is_returned_in_the_third_frame() -> None:
    frames = [[(100.0, 100.0)], *([[(100.0, 100.0), (400.0, 100.0)]] * 3)]
    assert ids_of(Tracker(COCO17), frames) == [[1], [1, 0], [1, 0], [1, 2]]


def test_person_in_only_two_frames_is_never_returned() -> None:
    frames = [
        [(100.0, 100.0)],
        [(100.0, 100.0), (400.0, 100.0)],
        [(100.0, 100.0), (400.0, 100.0)],
        [(100.0, 100.0)],
    ]
    tracker = Tracker(COCO17)
    assert ids_of(tracker, frames) == [[1], [1, 0], [1, 0], [1]]
    assert len(tracker) == 1


def test_pose_of_low_quality_starts_no_track() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(100, 100)], score=0.2), 0.0)
    assert len(tracker) == 0


def test_only_detections_start_tracks() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(100, 100)]), 0.0, origins=np.array([Origin.TRACKED]))
    assert len(tracker) == 0


def test_duplicate_poses_are_one_person() -> None:
    result = Tracker(COCO17).update(poses_of([(100, 100), (101, 100), (300, 100)]), 0.0)
    np.testing.assert_array_equal(result.ids, [1, 2])


# Association.


@pytest.mark.parametrize("fps", [5.0, 12.5, 30.0])
def test_crossing_walkers_keep_their_ids(fps: float) -> None:
    # 70 px per second is a walking speed for a person of 100 px.
    frames = round(6 * fps)
    right, left = walk(100, 100, 70 / fps, frames), walk(520, 104, -70 / fps, frames)
    ids = ids_of(Tracker(COCO17), list(zip(right, left, strict=True)), fps=fps)
    assert ids[0] == ids[-1] == [1, 2]


def test_crossing_walkers_keep_their_ids_if_the_hidden_one_is_not_found() -> None:
    # The one behind is missing while the two are less than half a person's width apart.
    frames = 60
    right, left = walk(100, 100, 7, frames), walk(520, 104, -7, frames)
    ids = ids_of(
        Tracker(COCO17),
        [[a, b] if abs(a[0] - b[0]) > 20 else [a] for a, b in zip(right, left, strict=True)],
    )
    assert ids[0] == ids[-1] == [1, 2]


def test_walker_hidden_for_a_second_keeps_the_id() -> None:
    path = walk(100, 100, 7, 40)
    ids = ids_of(
        Tracker(COCO17),
        [[place] if not 15 <= index < 25 else [] for index, place in enumerate(path)],
    )
    assert ids[14] == ids[25] == ids[39] == [1]


def test_walker_passing_behind_a_pillar_keeps_the_id() -> None:
    # From x = 240 on a pillar hides more and more of the walker: poor poses at its edge that must
    # not stop the track, then none, then complete ones again.
    tracker, ids = Tracker(COCO17), []
    for index, (x, y) in enumerate(walk(100, 100, 7, 50)):
        if 240 <= x < 275:
            result = tracker.update(poses_of([(238, y)], score=0.5), index / FPS)
        else:
            result = tracker.update(poses_of([] if 275 <= x < 320 else [(x, y)]), index / FPS)
        ids.append(tuple(result.ids.tolist()))
    assert ids[-1] == ids[0] == (1,)
    assert set(ids) == {(1,), ()}


def test_pose_with_other_colors_does_not_match_where_people_overlap() -> None:
    def after_a_step(color: int) -> list[int]:
        tracker, places = Tracker(COCO17), [(200.0, 100.0), (225.0, 100.0)]
        image = np.full((*IMAGE, 3), 90, np.uint8)
        image[50:150, 180:220], image[50:150, 220:245] = (250, 60, 5), (5, 60, 250)
        for index in range(10):
            tracker.update(poses_of(places), index / FPS, image=image)
        later = image.copy()
        later[50:150, 180:220] = (color, 60, 255 - color)
        return tracker.update(poses_of(places), 1.0, image=later).ids.tolist()

    assert after_a_step(250) == [1, 2]
    assert after_a_step(100) == [2]


def test_gap_in_the_video_gives_new_ids() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(100, 100)]), 0.0)
    ids = [
        tracker.update(poses_of([(100, 100)]), 60.0 + frame / FPS).ids.tolist()
        for frame in range(3)
    ]
    assert ids == [[2], [2], [2]]
    assert len(tracker.expected(90.0, IMAGE).origins) == 0


def test_pose_with_nan_is_dropped() -> None:
    broken = poses_of([(100, 100), (300, 100)])
    broken.points_image[0, 5] = np.nan
    assert len(Tracker(COCO17).update(broken, 0.0)) == 1


def test_returning_person_is_recognized_by_color() -> None:
    # Both are hidden for a second; then they return to their places or to each other's.
    def image_of(places: Sequence[tuple[float, float]], colors: Sequence[int]) -> np.ndarray:
        image = np.full((*IMAGE, 3), 90, np.uint8)
        for (x, y), color in zip(places, colors, strict=True):
            image[int(y) - 50 : int(y) + 50, int(x) - 20 : int(x) + 20] = (color, 60, 255 - color)
        return image

    def last_ids(colors: Sequence[int]) -> list[int]:
        tracker = Tracker(COCO17)
        before, after = [(200.0, 100.0), (260.0, 100.0)], [(209.0, 100.0), (251.0, 100.0)]
        for index in range(10):
            tracker.update(poses_of(before), index / FPS, image=image_of(before, (250, 5)))
        for index in range(10, 20):
            tracker.update(poses_of([]), index / FPS, image=image_of([], []))
        result = tracker.update(poses_of(after), 2.0, image=image_of(after, colors))
        return result.ids[np.argsort(result.points_image[:, 0, 0])].tolist()

    assert last_ids((250, 5)) == [1, 2]
    assert last_ids((5, 250)) == [2, 1]


def test_expected_box_follows_the_walk_and_is_clipped_to_the_image() -> None:
    tracker = Tracker(COCO17)
    ids_of(tracker, [[place] for place in walk(100, 100, 7, 20)])
    expected = tracker.expected(2.0, IMAGE)
    np.testing.assert_allclose(
        (expected.boxes_image[0, :2] + expected.boxes_image[0, 2:]) / 2, [240, 100], atol=2
    )
    np.testing.assert_array_equal(expected.origins, [Origin.TRACKED])
    assert tracker.expected(2.0, Size(300, 230)).boxes_image[0, 2] == 229.5


# Loss and end.


@pytest.mark.parametrize("fps", [4.0, 25.0])
def test_lost_track_ends_after_a_time_independent_of_the_frame_rate(fps: float) -> None:
    tracker = Tracker(COCO17, settings=TrackerSettings(lost_track_buffer_s=2.0))
    tracker.update(poses_of([(300, 100)]), 0.0)
    kept = [
        len(tracker)
        for frame in range(round(3 * fps))
        if tracker.update(poses_of([]), (frame + 1) / fps) is not None
    ]
    assert sum(kept) == pytest.approx(2 * fps, abs=1)


def test_person_returning_after_the_buffer_gets_a_new_id() -> None:
    tracker = Tracker(COCO17, settings=TrackerSettings(lost_track_buffer_s=1.0))
    ids = ids_of(tracker, [[(300.0, 100.0)]] * 5 + [[]] * 12 + [[(300.0, 100.0)]] * 3)
    assert ids[0] == [1]
    assert ids[-1] == [2]


def test_lost_person_is_expected_for_a_while() -> None:
    tracker = Tracker(COCO17, settings=TrackerSettings(coast_s=0.5))
    tracker.update(poses_of([(300, 100)]), 0.0)
    tracker.update(poses_of([]), 0.1)
    assert tracker.needs_detection
    np.testing.assert_array_equal(tracker.expected(0.4, IMAGE).origins, [Origin.COASTED])
    assert len(tracker.expected(0.6, IMAGE).origins) == 0


def test_undetected_pose_must_be_confident_to_end_a_loss() -> None:
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


def test_person_entering_where_another_left_gets_a_new_id() -> None:
    # The second one enters at the same border before the buffer of the first one expires.
    tracker, image = Tracker(COCO17), np.zeros((*IMAGE, 3), np.uint8)
    ids: set[int] = set()
    leaving, entering = walk(580, 100, 8, 8), walk(640, 100, -8, 8)
    frames = [[place] for place in leaving] + [[]] * 5 + [[place] for place in entering]
    for index, places in enumerate(frames):
        ids |= set(tracker.update(poses_of(places), index / FPS, image=image).ids.tolist())
    assert ids == {1, 2}


@pytest.mark.parametrize(("score", "seconds"), [(0.4, 3), (0.8, 9)])
def test_track_without_detections_is_lost_later_with_confident_poses(
    score: float, seconds: int
) -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([(300, 100)], score=max(score, 0.8)), 0.0)
    origins = np.array([Origin.TRACKED])
    tracked_s = 0.0
    for step in range(1, 200):
        at_s = step / FPS
        result = tracker.update(
            poses_of([(300, 100)], score=score), at_s, origins=origins, detector_ran=step % 5 == 0
        )
        tracked_s = at_s if len(result) else tracked_s
    assert tracked_s == pytest.approx(seconds, abs=1.2)


def test_pose_much_worse_than_usual_requests_a_detection() -> None:
    tracker = Tracker(COCO17)
    ids_of(tracker, [[(300.0, 100.0)]] * 5)
    assert not tracker.needs_detection
    tracker.update(poses_of([(300, 100)], score=0.4), 0.5)
    assert tracker.needs_detection


# Several cameras.


def test_cameras_with_a_shared_id_source_have_distinct_ids() -> None:
    new_ids = itertools.count(1)
    first, second = Tracker(COCO17, new_ids=new_ids), Tracker(COCO17, new_ids=new_ids)
    assert ids_of(first, [[(100, 100)]]) == [[1]]
    assert ids_of(second, [[(100, 100), (300, 100)]]) == [[2, 3]]


# Properties.


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.floats(0, 200)), max_size=5),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 1000),
)
def test_ids_of_a_frame_are_unique_and_ascending_and_poses_unchanged(
    frames: list[list[tuple[int, float]]], seed: int
) -> None:
    tracker, rng = Tracker(COCO17), np.random.default_rng(seed)
    for index, places in enumerate(frames):
        poses = poses_of([(100.0 * x, y) for x, y in places], noise_px=2.0, rng=rng)
        result = tracker.update(poses, index / FPS)
        assert (np.diff(result.ids) > 0).all()
        input_points = {points.tobytes() for points in poses.points_image}
        assert all(points.tobytes() in input_points for points in result.points_image)


# Errors.


def test_time_that_does_not_increase_is_rejected() -> None:
    tracker = Tracker(COCO17)
    tracker.update(poses_of([]), 1.0)
    with pytest.raises(ValueError, match=r"the time went from 1 s to 1 s; expected it to increase"):
        tracker.update(poses_of([]), 1.0)


def test_other_skeleton_is_rejected() -> None:
    other = Skeleton(name="two", joints=("a", "b"), limbs=(), sigmas=(0.1, 0.1), upper_body=())
    with pytest.raises(
        ValueError, match="the poses have skeleton 'two'; expected this tracker's 'coco17'"
    ):
        Tracker(COCO17).update(Poses.empty(other), 0.0)


def test_wrong_number_of_origins_is_rejected() -> None:
    with pytest.raises(
        ValueError, match=r"origins have shape \(1,\); expected \(2,\), one per pose"
    ):
        Tracker(COCO17).update(poses_of([(0, 0), (300, 0)]), 0.0, origins=np.zeros(1, np.int64))


def test_invalid_setting_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"minimum_quality is 2; expected 0\.\.1"):
        TrackerSettings(minimum_quality=2.0)
    with pytest.raises(
        ValueError, match=r"lost_track_buffer_s is -1; expected a finite number, 0 or more"
    ):
        TrackerSettings(lost_track_buffer_s=-1.0)
    with pytest.raises(ValueError, match=r"duplicate_oks is 1\.5; expected 0\.\.1"):
        TrackerSettings(duplicate_oks=1.5)
    with pytest.raises(ValueError, match=r"minimum_consecutive_frames is 0, minimum_similarity"):
        TrackerSettings(minimum_consecutive_frames=0)


# Slow frames and gaps.


@pytest.mark.parametrize("interval_s", [1.0, 2.9, 3.1, 5.0, 10.0])
def test_person_in_slow_frames_is_returned_in_each_with_one_id(interval_s: float) -> None:
    frames = [[(100.0, 100.0)]] * 12
    assert ids_of(Tracker(COCO17), frames, fps=1 / interval_s) == [[1]] * 12


@pytest.mark.parametrize("interval_s", [1.0, 5.0, 60.0, 3600.0])
def test_person_in_one_slow_frame_only_is_returned(interval_s: float) -> None:
    frames = [[(100.0, 100.0)], [], [(400.0, 100.0)], [], [(250.0, 100.0)]]
    found = [ids != [] for ids in ids_of(Tracker(COCO17), frames, fps=1 / interval_s)]
    assert found == [bool(places) for places in frames]


@pytest.mark.parametrize("interval_s", [2.0, 5.0, 30.0, 600.0])
def test_unconfident_person_is_returned_from_the_second_slow_frame_on(interval_s: float) -> None:
    tracker = Tracker(COCO17)
    counts = [
        len(tracker.update(poses_of([(100, 100)], score=0.4), index * interval_s))
        for index in range(6)
    ]
    assert counts == [0, 1, 1, 1, 1, 1]


def test_person_missed_in_two_slow_frames_keeps_the_id() -> None:
    place = [(100.0, 100.0)]
    ids = ids_of(Tracker(COCO17), [place, place, [], [], place], fps=1 / 4)
    assert [ids[0], ids[-1]] == [[1], [1]]


def test_ids_are_new_after_half_a_minute_without_frames() -> None:
    ids = ids_of(Tracker(COCO17), [[(100.0, 100.0)]] * 4, fps=1 / 31)
    assert ids == [[1], [2], [3], [4]]


def test_stalled_stream_returns_people_at_once_with_new_ids_after_the_buffer() -> None:
    tracker = Tracker(COCO17)
    before = [tracker.update(poses_of([(100, 100)]), index / FPS) for index in range(20)]
    after = [tracker.update(poses_of([(100, 100)]), 7 + index / FPS) for index in range(3)]
    assert [poses.ids.tolist() for poses in before] == [[1]] * 20
    assert [poses.ids.tolist() for poses in after] == [[2]] * 3


def test_bursts_of_frames_return_the_people_of_each_from_its_first_frame_on() -> None:
    tracker = Tracker(COCO17)
    for burst in range(5):
        place = [(100.0 + 80 * burst, 100.0)]
        for index in range(4):
            assert len(tracker.update(poses_of(place), 300 * burst + index / FPS)) == 1
