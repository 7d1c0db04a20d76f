"""Drawn videos of ``live`` without a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from run_cli import frames_in
from run_main import run_main
from slimpose.cli.drawing import PoseDrawing
from slimpose.cli.options import DrawingOptions
from slimpose.cli.video_output import VideoOutputs
from slimpose.media.stream import StreamStatus
from slimpose.poses import Poses
from slimpose.runtime.frame_result import FrameResult
from slimpose.skeleton import COCO17


def result(timestamp_s: float) -> FrameResult:
    return FrameResult(
        source="a.mp4",
        stem="a",
        camera=0,
        frame_index=0,
        timestamp_s=timestamp_s,
        image=np.zeros((48, 64, 3), np.uint8),
        poses=Poses.empty(COCO17),
    )


@pytest.mark.parametrize("use_clock", [False, True])
def test_mosaic_survives_batches_without_a_frame(use_clock: bool, tmp_path: Path) -> None:
    # The first frame of a slow source comes after several empty batches.
    videos = VideoOutputs(
        None,
        tmp_path / "all.mp4",
        names=["a.mp4"],
        use_clock=use_clock,
        drawing=PoseDrawing(DrawingOptions(), is_used=True),
    )
    status = StreamStatus(name="a.mp4")
    for batch in ([], [], [result(0.0)], [], [result(7.5)], [result(7.5)], []):
        videos.write(batch, [status])
    videos.finish()
    assert frames_in(tmp_path / "all.mp4") >= (1 if use_clock else 2)


@pytest.mark.parametrize("name", ["all.jpg", "all", "all.avi", "all.mp4.png"])
def test_mosaic_of_another_format_is_rejected(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "a.mp4"
    video.touch()
    assert run_main("live", video, "--mosaic", tmp_path / name) == 2
    assert f"{name}; expected a name that ends in .mp4" in capsys.readouterr().err
