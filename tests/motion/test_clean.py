"""Cleaning: known walkers and pendulums with noise, outliers, gaps and irregular times planted."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest

from moving_person import SKELETONS, collect, poses_over_time, walk
from slimpose.motion import CleanSettings, Motion, Scale, clean, compute_angles
from slimpose.motion.angles import wrap
from slimpose.motion.cleaning import Filter
from slimpose.motion.outliers import find_outliers
from slimpose.skeleton import Skeleton


def motion_of(
    times_s: np.ndarray, points: np.ndarray, *, variances: np.ndarray | None = None
) -> Motion:
    """A motion of one keypoint (n, 2)."""
    n = len(times_s)
    covariances = np.tile(np.eye(2), (n, 1, 1, 1))
    if variances is not None:
        covariances = covariances * variances[:, None, None, None]
    return Motion(
        source="clip.mp4",
        track_id=1,
        joints=("left_wrist",),
        times_s=times_s,
        points_image=points[:, None].astype(float),
        scores=np.ones((n, 1)),
        covariances_image=covariances,
    )


def without(motion: Motion, rows: np.ndarray) -> Motion:
    """The motion without some frames."""
    kept = np.setdiff1d(np.arange(len(motion.times_s)), rows)
    arrays = ("times_s", "points_image", "scores", "covariances_image")
    return dataclasses.replace(motion, **{name: getattr(motion, name)[kept] for name in arrays})


def wave(times_s: np.ndarray, frequency_hz: float, amplitude_px: float = 50.0) -> np.ndarray:
    phase = 2 * np.pi * frequency_hz * times_s
    return np.stack([300 + amplitude_px * np.sin(phase), 200 + 0 * phase], axis=1)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("to_left", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_angles_of_a_walker_are_within_two_degrees(
    skeleton: Skeleton, to_left: bool, seed: int
) -> None:
    """525 px tall; noise of 1 px, 3 px where the covariance says so; 3 % outliers, gaps."""
    times_s = np.arange(240) / 30
    walker = walk(times_s, to_left=to_left)
    poses = poses_over_time(walker, skeleton, noise_px=1.0, outliers=0.03, gaps=0.05, seed=seed)
    cleaned = clean(collect(poses, times_s))
    assert cleaned.rate_hz == 30
    assert cleaned.outliers > 80
    assert cleaned.filled > 200
    angles = compute_angles(cleaned.joints, Scale().points(cleaned))
    for name, values in angles.degrees.items():
        if name not in walker.degrees:
            continue
        errors = wrap(values - walker.degrees[name])
        assert np.isfinite(errors).mean() > 0.7, name
        is_foot = name.endswith(("foot", "ankle"))  # 60 px long, 0.2 m
        assert np.sqrt(np.nanmean(errors**2)) < (3.0 if is_foot else 2.0), name


def test_covariances_make_angles_more_accurate() -> None:
    times_s = np.arange(240) / 30
    walker = walk(times_s)
    motion = collect(poses_over_time(walker, SKELETONS["coco17"], noise_px=1.5), times_s)
    unknown = dataclasses.replace(
        motion, covariances_image=np.tile(np.eye(2), (*motion.scores.shape, 1, 1))
    )
    true = walker.degrees["left_knee"]
    weighted, plain = (
        np.sqrt(np.mean((found.degrees["left_knee"] - true) ** 2))
        for found in (
            compute_angles(one.joints, Scale().points(clean(one))) for one in (motion, unknown)
        )
    )
    assert weighted < 0.9 * plain


@pytest.mark.parametrize("name", get_args(Filter))
def test_pendulum_with_irregular_times_gaps_and_outliers(name: Filter) -> None:
    """A camera that drops frames: intervals of 20 to 60 ms; one gap of 0.18 s, one of 1 s."""
    rng = np.random.default_rng(0)
    times_s = np.cumsum(rng.uniform(0.02, 0.06, 400))
    degrees = -90 + 40 * np.sin(2 * np.pi * 0.8 * times_s)
    pivot = np.array([400.0, 100.0])
    offset = np.stack([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))], axis=1)
    bob = pivot + 300 * offset + rng.normal(0, 1.5, (400, 2))
    bob[20::40] += rng.choice([-1, 1], (10, 2)) * 80
    gaps = (times_s > 3) & (times_s < 3.18) | (times_s > 9) & (times_s < 10)
    both = dataclasses.replace(
        motion_of(times_s, bob),
        joints=("left_elbow", "left_wrist"),
        points_image=np.stack([np.tile(pivot, (400, 1)), bob], axis=1),
        scores=np.ones((400, 2)),
        covariances_image=np.tile(np.eye(2), (400, 2, 1, 1)),
    )
    cleaned = clean(without(both, np.flatnonzero(gaps)), CleanSettings(filter=name, max_gap_s=0.4))
    assert "irregular" in cleaned.resampling
    assert 8 <= cleaned.outliers <= 14
    found = compute_angles(cleaned.joints, Scale().points(cleaned), "right").degrees["left_forearm"]
    true = -90 + 40 * np.sin(2 * np.pi * 0.8 * cleaned.times_s)
    assert np.nanmax(np.abs(found - true)) < (4 if name == "none" else 2)
    assert [joint for joint, _, _ in cleaned.gaps] == ["left_elbow", "left_wrist"]
    (_, first_s, last_s) = cleaned.gaps[1]
    assert first_s == pytest.approx(9, abs=0.15)
    assert last_s == pytest.approx(10, abs=0.15)


@pytest.mark.parametrize("name", ["spline", "butterworth"])
@pytest.mark.parametrize(("frequency_hz", "gain"), [(0.5, 1.0), (3, 0.94), (6, 0.5), (12, 0.06)])
def test_filters_halve_the_cutoff_frequency_without_delay(
    name: Filter, frequency_hz: float, gain: float
) -> None:
    times_s = np.arange(1000) / 100
    points = wave(times_s, frequency_hz)
    settings = CleanSettings(filter=name, outliers=False)
    cleaned = clean(motion_of(times_s, points), settings).points_image[200:800, 0, 0] - 300
    phase = 2 * np.pi * frequency_hz * times_s[200:800]
    sine, cosine = (2 * np.mean(cleaned * wave) / 50 for wave in (np.sin(phase), np.cos(phase)))
    assert sine == pytest.approx(gain, abs=0.02)
    assert cosine == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("name", get_args(Filter))
def test_line_stays_a_line(name: Filter) -> None:
    times_s = np.arange(50) / 25
    points = np.stack([100 + 80 * times_s, 500 - 20 * times_s], axis=1)
    cleaned = clean(motion_of(times_s, points), CleanSettings(filter=name))
    assert np.allclose(cleaned.points_image[:, 0], points, atol=1e-3)
    assert np.allclose(cleaned.times_s, times_s)
    assert (cleaned.outliers, cleaned.filled, cleaned.resampling) == (0, 0, "")


def test_missing_frames_are_filled_up_to_the_longest_gap() -> None:
    times_s = np.arange(100) / 25
    motion = without(motion_of(times_s, wave(times_s, 0.5)), np.r_[20:26, 60:70])
    cleaned = clean(motion, CleanSettings(max_gap_s=0.3, outliers=False))
    assert len(cleaned.times_s) == 100
    assert cleaned.filled == 6
    assert cleaned.gaps == [("left_wrist", pytest.approx(60 / 25), pytest.approx(69 / 25))]
    error = cleaned.points_image[20:26, 0, 0] - wave(times_s, 0.5)[20:26, 0]
    assert np.abs(error).max() < 1
    assert np.isnan(cleaned.points_image[60:70]).all()
    longer = clean(motion, CleanSettings(max_gap_s=0.5, outliers=False))
    assert longer.gaps == []
    none = clean(motion, CleanSettings(max_gap_s=0.0, outliers=False))
    assert len(none.gaps) == 2


def test_short_pieces_between_gaps_are_left_out() -> None:
    times_s = np.arange(100) / 25
    motion = without(motion_of(times_s, wave(times_s, 0.5)), np.r_[40:52, 55:70])
    cleaned = clean(motion)
    assert cleaned.gaps == [("left_wrist", pytest.approx(40 / 25), pytest.approx(69 / 25))]


def test_low_scores_are_missing() -> None:
    times_s = np.arange(100) / 25
    motion = motion_of(times_s, wave(times_s, 0.5))
    motion.scores[50:] = 0.1
    assert np.isnan(clean(motion).points_image[50:]).all()
    settings = CleanSettings(keypoint_threshold=0.05)
    assert np.isfinite(clean(motion, settings).points_image).all()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([50], "one"),
        ([50, 51], "two in a row"),
        ([50, 51, 52], "three in a row"),
        ([0], "the first"),
        ([1], "the second"),
        ([119], "the last"),
        ([20, 24, 60, 100], "several"),
    ],
)
def test_outliers_are_found_in_fast_motion(rows: list[int], reason: str) -> None:
    times_s = np.arange(120) / 30
    rng = np.random.default_rng(1)
    points = wave(times_s, 1.0, 100) + rng.normal(0, 1.0, (120, 2))
    points[rows] += (70, -60)
    motion = motion_of(times_s, points)
    outliers = np.flatnonzero(find_outliers(motion, np.ones((120, 1), bool))[:, 0]).tolist()
    assert set(rows) <= set(outliers), reason
    assert len(outliers) <= len(rows) + 2


@pytest.mark.parametrize(
    "points",
    [
        wave(np.arange(120) / 30, 3.0, 100),  # fast, without noise
        np.zeros((120, 2)),  # at rest
        np.random.default_rng(2).normal(0, 1, (120, 2)),
    ],
    ids=["fast", "rests", "noise"],
)
def test_motion_without_outliers_keeps_all_samples(points: np.ndarray) -> None:
    motion = motion_of(np.arange(120) / 30, points + 300.0)
    assert not find_outliers(motion, np.ones((120, 1), bool)).any()


def test_rate_can_be_chosen() -> None:
    times_s = np.arange(100) / 25
    cleaned = clean(motion_of(times_s, wave(times_s, 0.5)), CleanSettings(rate_hz=100.0))
    assert cleaned.rate_hz == 100
    assert len(cleaned.times_s) == 397
    assert cleaned.resampling == "resampled from 25 to 100 Hz"
    assert np.abs(cleaned.points_image[:, 0] - wave(cleaned.times_s, 0.5)).max() < 1


def test_rounded_times_of_a_video_are_uniform() -> None:
    times_s = np.round(np.arange(500) * 1001 / 30000, 6)
    cleaned = clean(motion_of(times_s, wave(times_s, 0.5)))
    assert cleaned.resampling == ""
    assert cleaned.rate_hz == pytest.approx(29.97003, abs=1e-4)
    assert len(cleaned.times_s) == 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cutoff_hz": 0.0}, "cutoff_hz is 0; expected Hz, over 0"),
        ({"cutoff_hz": float("inf")}, "cutoff_hz is inf"),
        ({"rate_hz": -1.0}, "rate_hz is -1"),
        ({"max_gap_s": -0.1}, "max_gap_s is -0.1"),
        ({"keypoint_threshold": 2.0}, "keypoint_threshold is 2"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CleanSettings(**settings)


def test_motion_that_cannot_be_cleaned_is_rejected() -> None:
    times_s = np.arange(100) / 10
    motion = motion_of(times_s, wave(times_s, 0.5))
    with pytest.raises(ValueError, match="6 at 10 Hz; expected less than half of the rate"):
        clean(motion, CleanSettings(filter="butterworth"))
    clean(motion)  # the spline takes any cutoff
    with pytest.raises(ValueError, match="is in 3 frames; expected 5 or more"):
        clean(without(motion, np.arange(3, 100)))
    motion.scores[:] = 0
    with pytest.raises(ValueError, match="no keypoint is seen in 5 frames without gaps"):
        clean(motion)
    long = motion_of(np.array([0.0, 0.01, 0.02, 0.03, 1e6]), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="lasts 1e\\+06 s, 1e\\+08 samples at 100 Hz"):
        clean(long)
