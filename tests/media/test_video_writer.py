from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from slimpose.arrays import Image, Size
from slimpose.media import mp4
from slimpose.media.video_writer import VideoWriter


def gray(level: int, size: Size = Size(48, 64)) -> Image:
    return np.full((*size, 3), level, np.uint8)


def frames_of(path: Path) -> list[tuple[float, int]]:
    """The time in seconds and the mean gray of every frame."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found: list[tuple[float, int]] = []
    while (frame := capture.read())[0]:
        found.append(
            (round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, 4), round(float(frame[1].mean())))
        )
    return found


def test_a_film_holds_its_pictures_in_order(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=10.0)
    for number in range(20):
        film.write(gray(10 * number), number / 10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.mp4"]
    film.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    found = frames_of(tmp_path / "a.mp4")
    np.testing.assert_allclose(
        [level for _, level in found], [10 * number for number in range(20)], atol=6
    )
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_system_without_named_pipes_films_through_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "mkfifo")
    film = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=10.0)
    for number in range(20):
        film.write(gray(10 * number), number / 10)
    film.finish()
    assert len(frames_of(tmp_path / "a.mp4")) == 20
    with pytest.raises(RuntimeError, match="OpenCV encodes no film"):
        VideoWriter(tmp_path / "b.mp4", Size(100_000, 100_000), fps=25.0)


def test_each_picture_has_its_own_time(tmp_path: Path) -> None:
    times_s = [
        1e9,
        1e9 + 0.04,
        1e9 + 0.5,
        1e9 + 0.501,
        1e9 + 60,
        1e9 + 60.1,
    ]  # a live one's, with gaps
    film = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    for number, time_s in enumerate(times_s):
        film.write(gray(40 * number), time_s)
    film.finish()
    found = frames_of(tmp_path / "a.mp4")
    np.testing.assert_allclose([time_s for time_s, _ in found], np.array(times_s) - 1e9, atol=1e-3)


def test_times_that_do_not_advance_do_not_break_the_film(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    for number, time_s in enumerate([5.0, 5.0, 4.0, 5.1]):
        film.write(gray(40 * number), time_s)
    film.finish()
    assert len(frames_of(tmp_path / "a.mp4")) == 4


@pytest.mark.parametrize(
    ("given", "kept"), [(Size(49, 65), (48, 64)), (Size(1, 1), (2, 2)), (Size(3, 500), (2, 500))]
)
def test_odd_sides_lose_their_last_row(tmp_path: Path, given: Size, kept: tuple[int, int]) -> None:
    film = VideoWriter(tmp_path / "a.mp4", given, fps=25.0)
    film.write(gray(200, given), 0.0)
    film.finish()
    sound, frame = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()
    assert sound
    assert frame.shape[:2] == kept


def test_pictures_of_another_size_are_fitted_in(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "a.mp4", Size(100, 100), fps=25.0)
    film.write(gray(200, Size(100, 100)), 0.0)
    film.write(gray(200, Size(50, 200)), 1.0)  # four times as wide as high: black above and below
    film.finish()
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
from slimpose.media.video_writer import Recording
film = Recording(Path(sys.argv[1]), Size(48, 64), fps=10.0)
for number in range(10_000):
    film.write(np.full((48, 64, 3), number % 20 * 10, np.uint8), number / 10)
    time.sleep(0.02)  # twice as fast as a camera; the film is written by another thread, milliseconds later
    print(number, flush=True)
"""


@pytest.mark.parametrize("written", [1, 40])
def test_a_killed_film_plays_up_to_the_last_picture_or_two(tmp_path: Path, written: int) -> None:
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
    found = frames_of(tmp_path / "a.partial.mp4")
    assert last - 1 <= len(found) <= last + 2
    np.testing.assert_allclose(
        [level for _, level in found], [n % 20 * 10 for n in range(len(found))], atol=6
    )


def test_no_thread_nor_descriptor_nor_pipe_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    VideoWriter(
        tmp_path / "warm.mp4", Size(48, 64), fps=25.0
    ).discard()  # what OpenCV keeps after the first
    before = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    for number in range(5):
        film = VideoWriter(tmp_path / f"{number}.mp4", Size(48, 64), fps=25.0)
        film.write(gray(9), 0.0)
        if number % 2:
            film.finish()
        else:
            film.discard()
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.mp4", "3.mp4"]


def test_an_interrupted_film_stays_under_its_partial_name(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    film.write(gray(9), 0.0)
    film.close()
    assert len(frames_of(tmp_path / "a.partial.mp4")) == 1


def test_a_size_that_cannot_be_encoded_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"a\.mp4: OpenCV encodes no film of \(100000, 100000\) pixels"
    ):
        VideoWriter(tmp_path / "a.mp4", Size(100_000, 100_000), fps=25.0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_what_was_written_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    film.write(gray(9), 0.0)
    while not frames_of(tmp_path / "a.partial.mp4"):
        pass
    write = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) > 100:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("slimpose.formats.partial_file.os.write", full)
    for number in range(1, 30):
        try:
            film.write(gray(8 * number), number / 25)
        except RuntimeError:
            break
    with pytest.raises(RuntimeError, match="No space left on device"):
        film.finish()
    film.close()
    assert len(frames_of(tmp_path / "a.partial.mp4")) >= 1


# The container alone.


def test_a_picture_without_its_header_is_refused() -> None:
    with pytest.raises(ValueError, match="expected MPEG-4 with its header"):
        mp4.header(Size(48, 64), b"\x00\x00\x01\xb6\x10")
    with pytest.raises(ValueError, match="a picture starts with ff d8"):
        mp4.header(Size(48, 64), b"\xff\xd8\xff")


def test_boxes_tell_their_length_and_where_the_picture_is() -> None:
    picture = b"\x00\x00\x01\xb6\x10" + bytes(50)
    data = mp4.fragment(3, picture, start=2**33, duration=9000)
    length, name = struct.unpack_from(">I4s", data)
    assert name == b"moof"
    assert data[length + 4 : length + 8] == b"mdat"
    assert struct.unpack_from(">I", data, length)[0] == len(picture) + 8
    place = data.index(b"trun") + 12
    assert data[struct.unpack_from(">i", data, place)[0] :] == picture
    assert struct.unpack_from(">Q", data, data.index(b"tfdt") + 8)[0] == 2**33  # beyond a day


@pytest.mark.parametrize(("vop", "key"), [(0x10, True), (0x50, False), (0x90, False)])
def test_an_intra_picture_is_a_key_picture(vop: int, key: bool) -> None:
    assert mp4.is_key_frame(b"\x00\x00\x01\xb6" + bytes([vop, 0])) == key
    assert not mp4.is_key_frame(b"\x00\x00\x01\xb6")
