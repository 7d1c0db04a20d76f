from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from run_cli import wait_until
from slimpose.arrays import Image, Size
from slimpose.media import video_writer
from slimpose.media.sources import open_media
from slimpose.media.video_writer import VideoWriter


@pytest.fixture(autouse=True, params=["h264", "mpeg4"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with both encoders."""
    if request.param == "mpeg4":
        monkeypatch.setattr(video_writer, "has_h264", lambda: False)
    return request.param


def gray(level: int, size: Size = Size(48, 64)) -> Image:
    return np.full((*size, 3), level, np.uint8)


def frames_of(path: Path) -> list[tuple[float, int]]:
    """The time in seconds and the mean gray level of every frame."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames: list[tuple[float, int]] = []
    while (frame := capture.read())[0]:
        time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        frames.append((round(time_s, 4), round(float(frame[1].mean()))))
    return frames


def test_video_contains_its_frames_in_order(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=10.0)
    for number in range(20):
        video.write(gray(10 * number), number / 10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.mp4"]
    video.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    levels = [level for _, level in frames_of(tmp_path / "a.mp4")]
    np.testing.assert_allclose(levels, [10 * number for number in range(20)], atol=6)
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_socket_is_used_where_named_pipes_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_writer, "has_h264", lambda: False)
    monkeypatch.delattr(os, "mkfifo")
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=10.0)
    for number in range(20):
        video.write(gray(10 * number), number / 10)
    video.finish()
    assert len(frames_of(tmp_path / "a.mp4")) == 20
    monkeypatch.setattr(video_writer, "MAX_SIDE", 200_000)
    with pytest.raises(RuntimeError, match="OpenCV cannot encode video"):
        VideoWriter(tmp_path / "b.mp4", Size(100_000, 100_000), fps=25.0)


def test_each_frame_has_its_own_time(tmp_path: Path) -> None:
    # Times of a live source, with gaps.
    times_s = [1e9, 1e9 + 0.04, 1e9 + 0.5, 1e9 + 0.501, 1e9 + 60, 1e9 + 60.1]
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    for number, time_s in enumerate(times_s):
        video.write(gray(40 * number), time_s)
    video.finish()
    read_s = [time_s for time_s, _ in frames_of(tmp_path / "a.mp4")]
    np.testing.assert_allclose(read_s, np.array(times_s) - 1e9, atol=1e-3)


def test_times_that_do_not_increase_are_accepted(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    for number, time_s in enumerate([5.0, 5.0, 4.0, 5.1]):
        video.write(gray(40 * number), time_s)
    video.finish()
    assert len(frames_of(tmp_path / "a.mp4")) == 4


@pytest.mark.parametrize(
    ("size", "written"), [(Size(49, 65), (48, 64)), (Size(1, 1), (2, 2)), (Size(3, 500), (2, 500))]
)
def test_odd_sides_are_rounded_down(tmp_path: Path, size: Size, written: tuple[int, int]) -> None:
    video = VideoWriter(tmp_path / "a.mp4", size, fps=25.0)
    video.write(gray(200, size), 0.0)
    video.finish()
    is_read, frame = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()
    assert is_read
    assert frame.shape[:2] == written


def test_frame_of_another_size_is_scaled_to_fit(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(100, 100), fps=25.0)
    video.write(gray(200, Size(100, 100)), 0.0)
    video.write(gray(200, Size(50, 200)), 1.0)  # four times as wide as high: black above and below
    video.finish()
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    capture.read()
    _, frame = capture.read()
    assert frame[50].mean() == pytest.approx(200, abs=5)
    assert frame[10].mean() < 20
    assert frame[90].mean() < 20


PROGRAM = """
import sys, time
import numpy as np
from pathlib import Path
from slimpose.arrays import Size
from slimpose.media.video_writer import VideoWriter
video = VideoWriter(Path(sys.argv[1]), Size(48, 64), fps=10.0)
for number in range(10_000):
    video.write(np.full((48, 64, 3), number % 20 * 10, np.uint8), number / 10)
    time.sleep(0.02)  # a thread writes the file milliseconds later
    print(number, flush=True)
"""


@pytest.mark.parametrize("written", [1, 40])
def test_video_of_a_killed_program_plays_up_to_the_last_frames(
    tmp_path: Path, written: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path / "a.mp4"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = 0
    while last < written:
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    last = int(rest[-1]) if rest else last
    levels = [level for _, level in frames_of(tmp_path / "a.partial.mp4")]
    assert last - 1 <= len(levels) <= last + 2
    np.testing.assert_allclose(levels, [n % 20 * 10 for n in range(len(levels))], atol=6)


def test_threads_descriptors_and_pipes_are_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # OpenCV keeps some resources after the first video.
    VideoWriter(tmp_path / "warm.mp4", Size(48, 64), fps=25.0).discard()
    before = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    for number in range(5):
        video = VideoWriter(tmp_path / f"{number}.mp4", Size(48, 64), fps=25.0)
        video.write(gray(9), 0.0)
        if number % 2:
            video.finish()
        else:
            video.discard()
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.mp4", "3.mp4"]


def test_closed_video_keeps_its_partial_name(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    video.write(gray(9), 0.0)
    video.close()
    assert len(frames_of(tmp_path / "a.partial.mp4")) == 1


def test_frames_wider_than_the_format_allows_are_scaled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(64, 9000), fps=25.0)
    assert video.size == Size(58, 8190)
    video.write(np.full((64, 9000, 3), 200, np.uint8), 0.0)
    video.finish()
    (frame,) = open_media(tmp_path / "a.mp4").frames
    assert frame.image.shape == (58, 8190, 3)
    assert "a.mp4: its frames are 8190x58 instead of 9000x64 pixels" in caplog.text


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(64, 45), Fraction(8, 9)])
def test_shape_of_pixels_is_kept(tmp_path: Path, aspect: Fraction) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0, pixel_aspect=aspect)
    video.write(gray(9), 0.0)
    video.finish()
    assert open_media(tmp_path / "a.mp4").pixel_aspect == aspect


def test_invalid_size_is_rejected_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_writer, "MAX_SIDE", 200_000)
    with pytest.raises(
        RuntimeError,
        match=r"a\.mp4: (OpenCV|x264) cannot encode video of \(100000, 100000\) pixels",
    ):
        VideoWriter(tmp_path / "a.mp4", Size(100_000, 100_000), fps=25.0)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_reported_and_the_written_part_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    video.write(gray(9), 0.0)
    video.write(gray(9), 0.02)  # H.264 is a frame behind
    wait_until(lambda: len(frames_of(tmp_path / "a.partial.mp4")) >= 1)
    write = os.write

    def write_to_full_disk(handle: int, data: bytes) -> int:
        if len(data) > 100:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("slimpose.formats.partial_file.os.write", write_to_full_disk)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for number in range(2, 30):
        try:
            video.write(np.roll(noise, number, axis=0), number / 25)
        except RuntimeError:
            break
    with pytest.raises(RuntimeError, match="No space left on device"):
        video.finish()
    video.close()
    assert len(frames_of(tmp_path / "a.partial.mp4")) >= 1
