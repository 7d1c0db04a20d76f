from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.tracking.smoothing import OneEuroSettings, PoseSmoother
from walkers import person, poses_of


def jitter(track: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(track, n=2, axis=0), axis=-1).mean())


def run(
    smoother: PoseSmoother,
    tracks: np.ndarray,
    times_s: np.ndarray,
    *,
    score: float = 0.8,
    spread_px: float = 4.5,
) -> np.ndarray:
    """The smoothed points (frames, 17, 2) of person 1."""
    out = []
    for points, time_s in zip(tracks, times_s, strict=True):
        poses = poses_of([(0, 0)], ids=[1], score=score, spread_px=spread_px)
        poses.points_image[0] = points
        out.append(smoother(poses, float(time_s)).points_image[0])
    return np.array(out)


def standing(rng: np.random.Generator, frames: int, noise_px: float = 0.5) -> np.ndarray:
    return (person(100, 100) + noise_px * rng.standard_normal((frames, 17, 2))).astype(np.float32)


def lag_frames(track: np.ndarray, truth: np.ndarray, angle: np.ndarray) -> float:
    """The lag of a swing in frames, by its phase."""
    basis = np.stack([np.sin(angle), np.cos(angle), np.ones_like(angle)], axis=1)
    (a, b, _), (c, d, _) = (np.linalg.lstsq(basis, x, rcond=None)[0] for x in (truth, track))
    return float((np.arctan2(b, a) - np.arctan2(d, c)) / (angle[1] - angle[0]))


# Known behavior.


def test_jitter_of_still_joints_falls_by_more_than_60_percent() -> None:
    noisy = standing(np.random.default_rng(0), 100)
    smooth = run(PoseSmoother(), noisy, np.arange(100) / 25)
    assert jitter(smooth) < 0.4 * jitter(noisy)


@pytest.mark.parametrize("fps", [10.0, 25.0])
@pytest.mark.parametrize("hertz", [0.5, 1.0, 2.0])
def test_waving_hand_lags_less_than_half_a_frame(fps: float, hertz: float) -> None:
    # A quarter of the size (65 px for a person of 100 px) to either side.
    times_s = np.arange(round(6 * fps)) / fps
    angle = 2 * np.pi * hertz * times_s
    waving = np.tile(person(100, 100), (len(times_s), 1, 1))
    waving[:, 9, 0] += 16 * np.sin(angle)
    settled = slice(round(fps), None)
    smooth = run(PoseSmoother(), waving.astype(np.float32), times_s)
    assert -0.05 < lag_frames(smooth[settled, 9, 0], waving[settled, 9, 0], angle[settled]) < 0.5


def test_first_pose_of_a_person_is_unchanged() -> None:
    poses = poses_of([(10, 20)], ids=[4])
    np.testing.assert_array_equal(PoseSmoother()(poses, 0.0).points_image, poses.points_image)


def test_gap_resets_the_filter() -> None:
    smoother = PoseSmoother(OneEuroSettings(max_gap_s=0.5))
    smoother(poses_of([(0, 0)], ids=[1]), 0.0)
    np.testing.assert_array_equal(
        smoother(poses_of([(50, 0)], ids=[1]), 0.51).points_image[0], person(50, 0)
    )
    assert (
        abs(smoother(poses_of([(51, 0)], ids=[1]), 0.55).points_image[0] - person(51, 0)).max()
        > 0.01
    )


def test_time_that_goes_back_resets_the_filter() -> None:
    smoother = PoseSmoother()
    smoother(poses_of([(0, 0)], ids=[1]), 7.0)
    np.testing.assert_array_equal(
        smoother(poses_of([(50, 0)], ids=[1]), 2.0).points_image[0], person(50, 0)
    )


def test_people_are_smoothed_by_id_and_those_without_one_are_unchanged() -> None:
    smoother = PoseSmoother()
    smoother(poses_of([(0, 0), (200, 0), (400, 0)], ids=[1, 2, -1]), 0.0)
    points = smoother(poses_of([(410, 0), (200, 0), (5, 0)], ids=[-1, 2, 1]), 0.04).points_image
    np.testing.assert_array_equal(points[0], person(410, 0))
    np.testing.assert_array_equal(points[1], person(200, 0))
    assert (points[2, :, 0] > person(0, 0)[:, 0]).all()
    assert (points[2, :, 0] < person(5, 0)[:, 0]).all()


@pytest.mark.parametrize(("score", "spread_px"), [(0.1, 4.5), (0.8, 13.0)])
def test_uncertain_joint_is_smoothed_more(score: float, spread_px: float) -> None:
    noisy = standing(np.random.default_rng(1), 60)
    certain = run(PoseSmoother(), noisy, np.arange(60) / 25)
    uncertain = run(PoseSmoother(), noisy, np.arange(60) / 25, score=score, spread_px=spread_px)
    assert jitter(uncertain) < 0.7 * jitter(certain)


def test_joint_is_smoothed_along_the_axis_of_its_larger_variance() -> None:
    def moved(x: float, y: float, time_s: float, smoother: PoseSmoother) -> np.ndarray:
        poses = poses_of([(x, y)], ids=[1])
        poses.covariances_image[:] = np.diag([15.0**2, 4.5**2])  # larger along x
        return smoother(poses, time_s).points_image[0, 0]

    smoother = PoseSmoother()
    start = moved(0, 0, 0.0, smoother)
    along, across = moved(3, 3, 0.04, smoother) - start
    assert along < 0.3 * across


def test_smoothing_depends_on_time_not_on_the_frame_rate() -> None:
    # A step sampled at 50 frames per second is after 0.2 s about where it is at 10.
    def after(frames: int) -> float:
        smoother = PoseSmoother(OneEuroSettings(beta=0.0))
        smoother(poses_of([(0, 0)], ids=[1]), 0.0)
        poses = [
            smoother(poses_of([(10, 0)], ids=[1]), 0.4 * (frame + 1) / frames)
            for frame in range(frames)
        ]
        return float((poses[-1].points_image[0] - person(0, 0))[0, 0])

    assert after(20) == pytest.approx(after(4), rel=0.15)


# Properties.


@given(st.lists(st.floats(0.005, 0.4), min_size=3, max_size=20), st.integers(0, 2**32 - 1))
def test_smoothed_joint_stays_in_the_range_of_its_observations(
    intervals_s: list[float], seed: int
) -> None:
    times_s = np.cumsum(intervals_s)
    noisy = standing(np.random.default_rng(seed), len(times_s), noise_px=10.0)
    smooth = run(PoseSmoother(), noisy, times_s)
    low, high = np.minimum.accumulate(noisy), np.maximum.accumulate(noisy)
    assert (smooth >= low - 1e-3).all()
    assert (smooth <= high + 1e-3).all()


def test_state_of_absent_people_is_removed() -> None:
    smoother = PoseSmoother()
    for number in range(200):
        smoother(poses_of([(0, 0)], ids=[number]), number * 0.1)
    assert len(smoother._states) <= 7


# Errors.


@pytest.mark.parametrize(
    "field",
    ["min_cutoff_hz", "derivative_cutoff_hz", "max_gap_s", "typical_spread", "confident_score"],
)
def test_setting_of_zero_is_rejected(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is 0; expected a finite number over 0"):
        OneEuroSettings(**{field: 0.0})
