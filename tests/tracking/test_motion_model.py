from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.tracking.motion_model import MotionModel, fit_shift_scale
from walkers import box, person

ALL = np.full(17, 0.8, np.float32)


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.85, 1.2))
def test_shift_and_scale_are_recovered(dx: float, dy: float, scale: float) -> None:
    before = person(100, 100)
    after = ((before - 100) * scale + np.array([100 + dx, 100 + dy])).astype(np.float32)
    motion = fit_shift_scale(before, after, ALL)
    assert motion.scale == pytest.approx(scale, rel=1e-3)
    np.testing.assert_allclose(motion.move_points(before), after, atol=1e-2)
    np.testing.assert_allclose(
        motion.move_box(box(100, 100)), box(100 + dx, 100 + dy, height_px=100 * scale), atol=2e-2
    )


def test_nothing_moves_where_no_joint_is_visible() -> None:
    motion = fit_shift_scale(person(0, 0), person(50, 0), np.zeros(17, np.float32))
    np.testing.assert_allclose(motion.move_points(person(7, 7)), person(7, 7), atol=1e-4)


@pytest.mark.parametrize("fps", [5.0, 25.0, 60.0])
def test_velocity_of_a_walker_is_estimated_at_any_frame_rate(fps: float) -> None:
    model = MotionModel(size_px=65.0)
    for frame in range(round(2 * fps)):
        before, after = person(60 * frame / fps, 0), person(60 * (frame + 1) / fps, 0)
        model.update(fit_shift_scale(before, after, ALL), 1 / fps, 65.0)
    np.testing.assert_allclose(model.velocity, [60, 0], atol=1.5)
    # A twentieth less than 12, since the expected velocity falls.
    np.testing.assert_allclose(model.expected_shift(0.2), [11.4, 0], atol=0.6)


def test_position_variance_grows_with_time_up_to_a_limit() -> None:
    model = MotionModel(size_px=65.0)
    variances = [model.position_variance(seconds) for seconds in (0.0, 0.1, 0.4, 5.0, 50.0)]
    assert variances[0] < variances[1] < variances[2] < variances[3] == variances[4]
