"""Events of one camera: made walks, and a made video with the tracker in between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from slimpose.areas import Line, Zone
from slimpose.arrays import Size
from slimpose.events.camera_events import CameraEvents
from slimpose.events.event import Event
from slimpose.events.posture import postures_of
from slimpose.poses import Poses
from slimpose.skeleton import COCO17
from slimpose.tracking.tracker import Tracker
from walkers import HEIGHT_PX, person, poses_of

SIZE = Size(400, 600)
FPS = 10.0
FEET_PX = 0.45 * HEIGHT_PX  # below the center
ZONE = Zone(name="shop", points=((0.3, 0.0), (0.7, 0.0), (0.7, 1.0), (0.3, 1.0)), dwell_s=2.0)
LINE = Line(name="door", start=(0.5, 0.0), end=(0.5, 1.0))
"""Downward: its right side, in, is the left of the image."""


def run(
    areas: Sequence[Zone | Line],
    frames: Sequence[dict[int, tuple[float, float]]],
    *,
    fps: float = FPS,
    end_s: float | None = None,
    postures: bool = False,
) -> list[Event]:
    """Return the events of frames, each the centers of people by their ids."""
    camera = CameraEvents("hall", areas, postures=postures)
    events: list[Event] = []
    for index, people in enumerate(frames):
        poses = poses_of(list(people.values()), ids=list(people))
        events += camera.update(poses, 100 + index / fps, SIZE)
    return events + (camera.advance(end_s) if end_s is not None else [])


def walk(start: float, end: float, frames: int, *, y: float = 200.0) -> list[tuple[float, float]]:
    return [(float(x), y) for x in np.linspace(start, end, frames)]


def short(events: Sequence[Event]) -> list[tuple[object, ...]]:
    return [
        (event.kind, event.area, event.people if event.kind == "count" else event.track_id)
        for event in events
    ]


def test_walk_through_a_zone_enters_dwells_and_leaves() -> None:
    frames = [{4: center} for center in walk(60, 540, 81)]  # 6 px a frame, in from 180 to 420
    events = run([ZONE], frames)
    assert short(events) == [
        ("enter", "shop", 4),
        ("count", "shop", 1),
        ("dwell", "shop", 4),
        ("leave", "shop", 4),
        ("count", "shop", 0),
    ]
    enter, count, dwell, leave, _ = events
    assert enter.time_s == pytest.approx(102.0, abs=0.11)
    assert count.time_s >= enter.time_s
    assert dwell.seconds == pytest.approx(2.0, abs=0.11)
    assert leave.time_s == pytest.approx(106.0, abs=0.11)
    assert leave.seconds == pytest.approx(4.0, abs=0.11)


def test_flicker_at_the_border_is_no_event() -> None:
    frames = [{1: (182.0 if index % 2 else 178.0, 200.0)} for index in range(60)]
    assert run([ZONE], frames) == []


def test_one_frame_in_the_zone_is_no_event_at_one_frame_per_second() -> None:
    frames = [{1: (x, 200.0)} for x in (100.0, 300.0, 100.0, 100.0)]
    assert run([ZONE], frames, fps=1.0) == []


def test_people_who_vanish_leave_after_a_while() -> None:
    frames: list[dict[int, tuple[float, float]]] = [{1: (300.0, 200.0), 2: (310.0, 200.0)}] * 10
    events = run([ZONE], frames, end_s=105.0)
    assert short(events)[-3:] == [
        ("leave", "shop", 1),
        ("leave", "shop", 2),
        ("count", "shop", 0),
    ]
    assert events[-3].time_s == pytest.approx(100.9)  # when they were last there
    assert short(run([ZONE], frames, end_s=101.5))[-1] == ("count", "shop", 2)


def test_gap_in_a_track_is_no_leave() -> None:
    frames: list[dict[int, tuple[float, float]]] = [{1: (300.0, 200.0)}] * 10
    frames += [{}] * 15 + [{1: (300.0, 200.0)}] * 10
    assert short(run([ZONE], frames)) == [
        ("enter", "shop", 1),
        ("count", "shop", 1),
        ("dwell", "shop", 1),
    ]


@pytest.mark.parametrize(("way", "directions"), [
    ([100, 500], ["out"]),
    ([500, 100], ["in"]),
    ([100, 500, 100], ["out", "in"]),
    ([100, 299], []),
    ([100, 302, 100], []),  # not clearly beyond it
])  # fmt: skip
def test_line_is_crossed_in_a_direction(way: list[float], directions: list[str]) -> None:
    frames = [{1: center} for start, end in pairwise(way) for center in walk(start, end, 40)]
    events = run([LINE], frames)
    assert [event.direction for event in events] == directions
    assert {event.kind for event in events} <= {"line"}


def test_line_has_two_ends() -> None:
    line = Line(name="gap", start=(0.5, 0.0), end=(0.5, 0.4))  # above the feet
    assert run([line], [{1: center} for center in walk(100, 500, 40)]) == []


@pytest.mark.parametrize("start_s", [0.0, 0.4, 1.7e9 + 0.4])
@pytest.mark.parametrize("fps", [10.0, 25.0, 30.0])
def test_limits_of_time_hold_at_the_frame_that_reaches_them(start_s: float, fps: float) -> None:
    camera = CameraEvents("hall", [ZONE], postures=True)
    events: list[tuple[str, int]] = []
    confirmed, dwelled = round(0.3 * fps + 0.499), round(2 * fps)
    for index in range(3 * round(fps)):
        x = 60.0 if index < 2 else 300.0
        poses = poses_of([(x, 200.0)], ids=[4])
        found = camera.update(poses, start_s + index / fps, SIZE)
        events += [(event.kind, index - 2) for event in found if event.kind in ("enter", "dwell")]
    assert events == [("enter", confirmed), ("dwell", dwelled)]


def test_people_without_ids_have_no_events() -> None:
    camera = CameraEvents("hall", [ZONE])
    for index in range(20):
        assert camera.update(poses_of([(300, 200)]), index / FPS, SIZE) == []


def test_feet_are_the_box_where_ankles_are_hidden() -> None:
    low = Zone(name="low", points=((0.0, 0.62), (1.0, 0.62), (1.0, 1.0), (0.0, 1.0)))
    camera = CameraEvents("hall", [low])
    for index in range(20):
        poses = poses_of([(300, 200)], ids=[1])
        poses.scores[:, -2:] = 0.1
        camera.update(poses, index / FPS, SIZE)
    assert camera.counts() == {"low": {"people": 1}}  # 250 of 400 px; the ankles are at 245


def test_feet_beyond_the_edge_of_the_image_are_in_the_zone_at_the_edge() -> None:
    for y in (SIZE.height - FEET_PX, SIZE.height + 20.0):  # ankles below the last row of pixels
        events = run([ZONE], [{4: (400 * 0.5, y)}] * 10)
        assert [event.kind for event in events] == ["enter", "count"], y
    across = [{4: center} for center in walk(60, 340, 81, y=SIZE.height + 20.0)]
    assert [event.direction for event in run([LINE], across)] == ["out"]
    cut_off = poses_of([(200.0, 500.0)], ids=[4], score=0.1)
    cut_off.boxes_image[0] = 150, 400, 250, SIZE.height - 0.5  # as detectors cut boxes
    camera = CameraEvents("hall", [ZONE])
    assert [e.kind for t in range(9) for e in camera.update(cut_off, t / FPS, SIZE)][:1] == [
        "enter"
    ]


def test_counts_equal_the_truth_with_the_tracker_in_between() -> None:
    """Eight people walk to and fro on lanes; their noisy poses go through the tracker."""
    rng = np.random.default_rng(3)
    lanes = np.linspace(60, 340, 8)
    speeds = rng.uniform(25, 60, 8)
    phases = rng.uniform(0, 1, 8)
    zone = Zone(name="shop", points=ZONE.points)
    camera, tracker = CameraEvents("hall", [zone, LINE]), Tracker(COCO17)
    wrong, compared, crossings = 0, 0, {"in": 0, "out": 0}
    before = np.zeros(8)
    for index in range(600):
        time_s = index / FPS
        x = 60 + 480 * (0.5 - 0.5 * np.cos(2 * np.pi * (phases + speeds * time_s / 960)))
        poses = poses_of(
            [(float(a), float(b)) for a, b in zip(x, lanes, strict=True)],
            noise_px=1.0,
            rng=rng,
            height_px=40.0,
        )
        tracked = tracker.update(poses, time_s)
        camera.update(tracked, time_s, SIZE)
        if index > 30:
            compared += 1
            inside = (x > 0.3 * SIZE.width) & (x < 0.7 * SIZE.width)
            near = (np.abs(x - 180) < 40) | (np.abs(x - 420) < 40)  # may not be confirmed yet
            counted = camera.counts()["shop"]["people"]
            wrong += not inside[~near].sum() <= counted <= (inside | near).sum()
        crossings["out"] += int(((before < 300) & (x >= 300)).sum()) if index else 0
        crossings["in"] += int(((before >= 300) & (x < 300)).sum()) if index else 0
        before = x
    assert compared > 500
    assert wrong == 0
    counted = camera.counts()["door"]
    assert abs(counted["in"] - crossings["in"]) <= 1  # one may be on the line at the end
    assert abs(counted["out"] - crossings["out"]) <= 1
    assert crossings["in"] >= 8


def lying() -> Poses:
    """A person turned by 90 degrees."""
    poses = poses_of([(300, 200)], ids=[1])
    points = person(0, 0)
    poses.points_image[0] = np.stack([-points[:, 1] + 300, points[:, 0] + 200], axis=1)
    return poses


def sitting() -> Poses:
    """Knees at the height of the hips."""
    poses = poses_of([(300, 200)], ids=[1])
    joints = [COCO17.joints.index(f"{side}_knee") for side in ("left", "right")]
    poses.points_image[0, joints, 1] = 205
    return poses


def test_postures_of_drawn_people() -> None:
    unseen = poses_of([(300, 200)], score=0.1)
    standing = poses_of([(300, 200)])
    found = [postures_of(poses)[0] for poses in (standing, sitting(), lying(), unseen)]
    assert found == ["standing", "sitting", "lying", "unknown"]
    assert postures_of(Poses.empty(COCO17)) == []


def test_posture_must_hold_for_a_second() -> None:
    camera = CameraEvents("hall", [], postures=True)
    standing = poses_of([(300, 200)], ids=[1])
    frames = [standing] * 15 + [sitting()] * 5 + [standing] * 15 + [sitting()] * 15
    events = [
        event
        for index, poses in enumerate(frames)
        for event in camera.update(poses, index / FPS, SIZE)
    ]
    assert [(event.posture, event.time_s) for event in events] == [
        ("standing", 1.0),
        ("sitting", 4.5),
    ]
    assert events[1].text == "hall: person 1 is sitting"
    assert events[1].document() == {
        "kind": "posture",
        "camera": "hall",
        "time_s": 4.5,
        "track_id": 1,
        "posture": "sitting",
    }


@pytest.mark.parametrize("between", ["unknown", "absent"])
def test_single_frames_of_a_posture_are_no_second_of_it(between: str) -> None:
    camera = CameraEvents("hall", [], postures=True)
    unseen = poses_of([(300, 200)], ids=[1])
    unseen.scores[:] = 0.0
    gap = unseen if between == "unknown" else Poses.empty(COCO17)
    frames = [poses_of([(300, 200)], ids=[1])] * 15 + [sitting()] + [gap] * 14 + [sitting()]
    events = [
        event
        for index, poses in enumerate(frames)
        for event in camera.update(poses, index / FPS, SIZE)
    ]
    assert [event.posture for event in events] == ["standing"]


def test_memory_is_bounded_by_the_people_of_the_last_seconds() -> None:
    camera = CameraEvents("hall", [ZONE, LINE], postures=True)
    for index in range(3000):
        camera.update(poses_of([(300, 200)], ids=[index]), index / FPS, SIZE)
    assert len(camera._people) < 30
    assert camera._postures is not None
    assert len(camera._postures._seen_s) < 60
