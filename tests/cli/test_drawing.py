"""Drawings of a young model are not empty without a word."""

from __future__ import annotations

import numpy as np

from slimpose.cli.drawing import PoseDrawing
from slimpose.cli.options import DrawingOptions
from slimpose.runtime.frame_result import FrameResult
from walkers import poses_of


def result(score: float) -> FrameResult:
    return FrameResult(
        source="a.png",
        stem="a",
        camera=0,
        frame_index=0,
        timestamp_s=0.0,
        image=np.zeros((160, 120, 3), np.uint8),
        poses=poses_of([(60, 80)], score=score, height_px=100),
    )


def test_empty_drawings_are_reported_with_the_option_that_fills_them() -> None:
    drawing = PoseDrawing(DrawingOptions(), is_used=True)
    empty = drawing.draw(result(0.12))
    (note,) = drawing.notes()
    assert note.startswith("NOTE: 1 of 1 people are drawn without a keypoint")
    assert "the best of all has 0.12" in note
    assert "--keypoint-threshold" in note
    lower = PoseDrawing(DrawingOptions(keypoint_threshold=0.1), is_used=True)
    assert not np.array_equal(lower.draw(result(0.12)), empty)
    assert lower.notes() == []


def test_few_undrawn_people_and_no_people_are_not_reported() -> None:
    drawing = PoseDrawing(DrawingOptions(), is_used=True)
    assert drawing.notes() == []
    for score in (0.9, 0.1, 0.9):
        drawing.draw(result(score))
    assert drawing.notes() == []
