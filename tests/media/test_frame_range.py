from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from run_cli import write_walk
from slimpose.media.addresses import SourceError
from slimpose.media.frame import FrameRange
from slimpose.media.sources import open_media
from slimpose.media.video_reader import DamagedFrameError


def read(path: Path, **frames: float) -> list[tuple[int, float]]:
    media = open_media(path, FrameRange(**frames))  # type: ignore[arg-type]
    return [(frame.index, round(frame.timestamp_s, 3)) for frame in media.frames]


def write_animation(path: Path, frames: int) -> Path:
    animation = cv2.Animation()
    animation.frames = [np.full((32, 32, 3), 9 * number, np.uint8) for number in range(frames)]
    animation.durations = np.full(frames, 100, np.int32)
    assert cv2.imwriteanimation(str(path), animation)
    return path


def write_motion_jpeg(path: Path, frames: int) -> Path:
    image = np.zeros((32, 32, 3), np.uint8)
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for _ in range(frames)))
    return path


@pytest.mark.parametrize(
    ("write", "name", "fps"),
    [
        (lambda path, frames: write_walk(path, frames, fps=10.0), "a.avi", 10),
        (lambda path, frames: write_walk(path, frames, fps=10.0, codec="mp4v"), "a.mp4", 10),
        (write_animation, "a.webp", 10),
        (write_animation, "a.gif", 10),
        (write_motion_jpeg, "a.mjpeg", 25),
    ],
)
def test_frames_of_the_range_keep_their_numbers_and_times(
    tmp_path: Path, write: Callable[[Path, int], Path], name: str, fps: int
) -> None:
    path = write(tmp_path / name, 20)
    every_frame = read(path)
    assert [index for index, _ in every_frame] == list(range(20))
    start_s, end_s = 5 / fps, 14.5 / fps
    inside = [(index, at_s) for index, at_s in every_frame if start_s <= at_s < end_s]
    assert len(inside) in (9, 10)
    assert read(path, start_s=start_s, end_s=end_s) == inside
    assert read(path, every=6) == every_frame[::6]
    assert read(path, start_s=start_s, every=6) == [
        every_frame[6],
        every_frame[12],
        every_frame[18],
    ]
    media = open_media(path, FrameRange(every=2, start_s=start_s))
    assert media.fps == pytest.approx(fps / 2, rel=0.1)
    with pytest.raises(SourceError, match=r"no frame from 60 to inf s .*; the last frame is at"):
        read(path, start_s=60.0)


def test_damage_outside_of_the_range_is_not_reported(tmp_path: Path) -> None:
    path = write_walk(tmp_path / "a.avi", 12, fps=10.0)
    data = path.read_bytes()
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\xd8\xff", at)]
    path.write_bytes(data[: starts[5]] + bytes(200) + data[starts[5] + 200 :])
    assert len(read(path, end_s=0.45)) == 5
    assert len(read(path, start_s=0.65)) == 5
    with pytest.raises(DamagedFrameError, match=r"1 damaged frame .* is frame 5"):
        read(path, start_s=0.3, end_s=0.9)


def test_pages_and_single_images_have_no_times(tmp_path: Path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), [image] * 3)
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    for name, count in (("a.tif", 3), ("a.png", 1)):
        assert len(read(tmp_path / name, start_s=5.0, every=2)) == count


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": 0}, "every is 0; expected 1 or more"),
        ({"start_s": -1.0}, "start_s is -1; expected seconds, 0 or more"),
        ({"start_s": math.inf}, "start_s is inf; expected"),
        ({"start_s": 3.0, "end_s": 3.0}, "end_s is 3; expected a time after start_s, 3"),
        ({"end_s": math.nan}, "end_s is nan; expected a time after"),
    ],
)
def test_invalid_ranges_are_rejected(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameRange(**values)  # type: ignore[arg-type]
