"""The synthetic videos of ``benchmarks/scene.py``, and the tracking accuracy on them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import slimpose
from walkers import HALF_BOX, person

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DEV = Path("/work/shared/data/dev")
HEIGHT_PX = 200


@pytest.fixture(scope="module")
def scene() -> ModuleType:
    return benchmark("scene")


def benchmark(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


def red_people(scene: ModuleType, count: int) -> list:
    """Red rectangles with a person's joints."""
    width = round(2 * float(HALF_BOX[0]) * HEIGHT_PX)
    joints = np.concatenate(
        [person(width / 2, HEIGHT_PX / 2, height_px=HEIGHT_PX), np.full((17, 1), 2)], axis=1
    )
    return [
        scene.Cutout(
            rgb=np.tile(np.array([220, 30, 30], np.uint8), (HEIGHT_PX, width, 1)),
            alpha=np.ones((HEIGHT_PX, width), np.float32),
            joints=joints.astype(np.float64),
            box=np.array([-0.5, -0.5, width - 0.5, HEIGHT_PX - 0.5]),
        )
        for _ in range(count)
    ]


def gray(scene: ModuleType) -> np.ndarray:
    return np.full((scene.HEIGHT, scene.WIDTH, 3), 90, np.uint8)


def test_video_depends_on_its_seed_only(scene: ModuleType) -> None:
    people = red_people(scene, 9)
    first, again, other = (
        [scene.crossings(people, gray(scene), seed).frame(index) for index in (0, 40)]
        for seed in (5, 5, 6)
    )
    for (time_a, image_a, truth_a), (time_b, image_b, truth_b) in zip(first, again, strict=True):
        assert time_a == time_b
        np.testing.assert_array_equal(image_a, image_b)
        assert [person.number for person in truth_a] == [person.number for person in truth_b]
    assert any((a[1] != b[1]).any() for a, b in zip(first, other, strict=True))


def test_ground_truth_matches_the_image(scene: ModuleType) -> None:
    video = scene.crossings(red_people(scene, 9), gray(scene), 1)
    visible = hidden = 0
    for index in range(0, video.frame_count, 9):
        _, image, truth = video.frame(index)
        for shown in truth:
            x1, y1, x2, y2 = shown.box_image.round().astype(int)
            middle = image[(y1 + y2) // 2, np.clip((x1 + x2) // 2, 0, scene.WIDTH - 1)]
            if shown.visible > 0.97:
                visible += 1
                assert middle[0] > 180
                assert middle[1] < 80
            hidden += shown.visible < 0.5
    assert visible > 20
    assert hidden > 5


def test_person_behind_the_pillar_is_not_visible(scene: ModuleType) -> None:
    (cutout,) = red_people(scene, 1)
    path = scene.Path2D(times_s=(0.0, 4.0), x=(100.0, 540.0), y=(400.0, 400.0))
    actor = scene.Actor(number=0, cutout=cutout, path=path, role="crossing")
    video = scene.SceneVideo(
        background=gray(scene),
        actors=(actor,),
        pillars=((260, 120, 480),),
        fps=10.0,
        frame_count=41,
        seed=0,
    )
    visible = [truth[0].visible for _, _, truth in video.frames()]
    assert visible[0] == pytest.approx(1, abs=0.02)
    assert visible[20] == 0
    assert visible[40] == pytest.approx(1, abs=0.02)


def test_wrists_of_a_swinging_person_follow_a_sine(scene: ModuleType) -> None:
    video = scene.still_and_swinging(red_people(scene, 4), gray(scene), 0, fps=10.0, swing_hz=1.0)
    frames = [{one.number: one for one in truth} for _, _, truth in video.frames()]
    wrist = np.array([people[1].joints_image[9, 0] for people in frames])
    turn = 2 * np.pi * np.arange(len(frames)) / 10
    amplitude_px = video.actors[1].path.swing_px
    np.testing.assert_allclose(wrist - wrist[0], amplitude_px * np.sin(turn), atol=1e-6)
    standing = np.array([people[0].joints_image[:, :2] for people in frames])
    np.testing.assert_array_equal(standing, standing[:1].repeat(len(frames), axis=0))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not DEV.is_dir(), reason="needs the shared data")
def test_tracking_and_smoothing_reach_their_accuracy() -> None:
    # Two videos; benchmarks/tracking.py has six. IDF1 5 points above plain box overlap, 60 % less
    # jitter, less than half a frame of additional lag of a moving wrist.
    pytest.importorskip("trackeval")
    scene, tracking = benchmark("scene"), benchmark("tracking")
    pipeline = tracking.load(threads=1)
    cutouts, backgrounds = benchmark("cutouts").read_cutouts(
        DEV / "person_keypoints.json", DEV / "images"
    )
    runs: dict[str, list] = {}
    for seed in (0, 1):
        frames = tracking.all_frames(scene.crossings(cutouts, backgrounds[seed], seed))
        for name, results in tracking.all_trackers(frames, pipeline, None).items():
            runs.setdefault(name, []).append((frames, results))
    idf1 = {name: tracking.scores(videos)["idf1_box"] for name, videos in runs.items()}
    plain = max(idf1["plain IoU"], idf1["plain IoU, keeps 3 s"])
    assert idf1["Tracker"] >= plain + 5
    assert idf1["Follower, 1 in 8"] >= plain + 5
    video = scene.still_and_swinging(cutouts, backgrounds[0], 0, swing_hz=1.0)
    found = tracking.motion_figures(video, pipeline, swing_hz=1.0, smoother=tracking.PoseSmoother())
    assert found.jitter_smoothed_px <= 0.4 * found.jitter_px
    assert found.lag_smoothed_frames - found.lag_frames < 0.5


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not DEV.is_dir(), reason="needs shared data")
def test_no_face_flashes_in_a_made_video_with_occlusions() -> None:
    """People of photos who pass a pillar and each other, with the shipped models."""
    scene, cutouts, privacy = map(benchmark, ("scene", "cutouts", "privacy_video"))
    people, backgrounds = cutouts.read_cutouts(DEV / "person_keypoints.json", DEV / "images")
    video = scene.crossings(people, backgrounds[1 % len(backgrounds)], 1)
    figures = privacy.measure(video, slimpose.load(threads=1), "heads", 0)
    assert figures["faces"] > 500
    assert (figures["faces_seen"], figures["flashes"]) == (0, [])
