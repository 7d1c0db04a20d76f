"""Live sources served by real programs: GStreamer's RTSP server, ffmpeg's HLS, v4l2loopback."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fake_camera import FakeCamera, fake_camera
from hls_server import hls_server
from rtsp_server import ClockJumps, rtsp_server
from run_cli import DEADLINE_S
from slimpose.arrays import Size
from slimpose.media.camera_file import read_cameras
from slimpose.media.frame import Frame
from slimpose.media.stream import FreezeCheck
from slimpose.media.stream_reader import StreamTimeouts
from slimpose.runtime.multi_camera import CameraGroup

SHORT = StreamTimeouts(open_s=8.0, read_s=2.0, first_retry_s=0.1, longest_retry_s=0.5, steady_s=0.2)


def take_frames(cameras: CameraGroup, count: int) -> list[Frame]:
    frames: list[Frame] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while len(frames) < count:
        assert time.monotonic() < deadline_s, (len(frames), cameras.statuses(), cameras.notices())
        frames += cameras.take(0.1)
    return frames


def take_until(cameras: CameraGroup, is_enough: Callable[[list[str]], bool]) -> list[str]:
    """Take frames until the messages fulfill a condition; return them."""
    messages: list[str] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_enough(messages):
        assert time.monotonic() < deadline_s, (messages, cameras.statuses())
        cameras.take(0.05)
        messages += [notice.message for notice in cameras.notices()]
    return messages


def has(text: str) -> Callable[[list[str]], bool]:
    return lambda messages: any(text in message for message in messages)


@pytest.mark.parametrize(
    ("options", "login", "query"),
    [
        (["--codec", "h264"], "", ""),
        (["--codec", "h265"], "", ""),
        (["--transport", "tcp"], "", ""),
        (["--transport", "udp"], "", ""),  # tried second by itself
        ([], "", "?udp"),  # FFmpeg's way to choose it in the address
        (["--login", "ann:p@ss word"], "ann:p%40ss%20word", ""),
    ],
)
def test_rtsp_stream_is_read(options: list[str], login: str, query: str) -> None:
    with rtsp_server(*options) as server:
        with CameraGroup(server.url(login, query), timeouts=SHORT) as cameras:
            frames = take_frames(cameras, 10)
            (status,) = cameras.statuses()
        assert (status.state, status.size) == ("live", Size(120, 160))
        assert "p@ss" not in status.name
        # The square is brighter than its background.
        assert all(180 < frame.image[60].max() < 255 for frame in frames)
        assert all(60 < frame.image[10].mean() < 100 for frame in frames)
        times_s = [frame.timestamp_s for frame in frames]
        assert times_s == sorted(set(times_s))


@pytest.mark.parametrize(
    ("login", "path", "message"),
    [
        ("", "/stream", "a user and a password are required (RTSP 401)"),
        (
            "ann:wrong",
            "/stream",
            "no video with this login (are the user, the password and the path right?)",
        ),
        ("ann:secret", "/other", "nothing is at this path (RTSP 404)"),
    ],
)
def test_login_that_fails_is_explained_without_it(login: str, path: str, message: str) -> None:
    with rtsp_server("--login", "ann:secret") as server:
        address = server.url(login).replace("/stream", path)
        with CameraGroup(address, timeouts=SHORT) as cameras:
            (reported, *_) = take_until(cameras, bool)
            (status,) = cameras.statuses()
        assert message in reported
        assert not {"wrong", "secret"} & set(f"{reported} {status.name} {status.problem}".split())


def test_missing_path_of_an_open_server_is_explained() -> None:
    with rtsp_server() as server:
        with CameraGroup(server.url().replace("/stream", "/other"), timeouts=SHORT) as cameras:
            (reported, *_) = take_until(cameras, bool)
        assert "nothing is at this path (RTSP 404)" in reported


def test_killed_rtsp_server_comes_back() -> None:
    with rtsp_server() as server, CameraGroup(server.url(), timeouts=SHORT) as cameras:
        take_frames(cameras, 5)
        server.kill()
        take_until(cameras, has("the host refuses the connection"))
        assert cameras.statuses()[0].state in ("waiting", "connecting")
        server.start()
        take_until(cameras, has("frames again after"))
        assert take_frames(cameras, 3)[-1].image.shape == (120, 160, 3)
        assert cameras.statuses()[0].connections == 2


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_silent_rtsp_server_is_found_out_and_reopened(transport: str) -> None:
    with (
        rtsp_server("--transport", transport) as server,
        CameraGroup(server.url(), timeouts=SHORT) as cameras,
    ):
        take_frames(cameras, 5)
        server.obey("silence")
        take_until(cameras, has("no frame arrived in time; trying again"))
        server.obey("go")
        take_until(cameras, has("frames again after"))
        take_frames(cameras, 3)


def test_stopped_rtsp_server_is_found_out() -> None:
    """The connection stays open: the process hangs, as cameras do."""
    with rtsp_server() as server, CameraGroup(server.url(), timeouts=SHORT) as cameras:
        take_frames(cameras, 5)
        os.kill(server.pid, signal.SIGSTOP)
        take_until(cameras, has("no frame arrived in time; trying again"))
        os.kill(server.pid, signal.SIGCONT)
        take_until(cameras, has("frames again after"))


def test_rtsp_stream_that_repeats_one_image_is_reported_and_reopened() -> None:
    timeouts = dataclasses.replace(SHORT, frozen_s=3.0)
    with rtsp_server() as server, CameraGroup(server.url(), timeouts=timeouts) as cameras:
        take_frames(cameras, 5)
        server.obey("freeze")
        (message, *_) = take_until(cameras, bool)
        assert message.startswith("the same image for")
        assert message.endswith("(frozen?); trying again")
        take_until(cameras, has("frames again after"))
        assert cameras.statuses()[0].connections == 2
        assert cameras.statuses()[0].problem == "frozen image"
        server.obey("go")
        take_until(cameras, has("its image changes again"))
        assert cameras.statuses()[0].text == "live"


def test_frozen_image_is_reopened_less_and_less_often() -> None:
    check, image = FreezeCheck(30.0), np.full((16, 16, 3), 90, np.uint8)
    begins = [second for second in range(200) if check.begins(image.copy(), float(second))]
    assert begins == [30, 90]  # the next one after 120 s more
    image[3, 5, 1] += 1  # one pixel of a sensor's noise
    assert not check.begins(image, 200.0)
    assert not check.is_frozen
    assert [at for at in range(201, 240) if check.begins(image, float(at))] == [230]


def test_clock_of_an_rtsp_server_may_jump() -> None:
    with rtsp_server("--transport", "tcp") as server:
        proxy = ClockJumps(server)
        with CameraGroup(proxy.url(), timeouts=SHORT) as cameras:
            frames = take_frames(cameras, 10)
            for jump_s in (3600.0, -3600.0):
                proxy.jump_s, shifted = jump_s, proxy.shifted
                deadline_s = time.monotonic() + DEADLINE_S
                while proxy.shifted < shifted + 15:  # what was buffered before has no jump
                    assert time.monotonic() < deadline_s
                    frames += take_frames(cameras, 1)
                frames += take_frames(cameras, 15)
            assert cameras.notices() == []
            assert cameras.statuses()[0].connections == 1
        proxy.close()
    steps_s = np.diff([frame.timestamp_s for frame in frames])
    assert (steps_s > 0).all()
    assert steps_s.sum() < DEADLINE_S


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_hls_stream_is_returned_by_its_clock(tmp_path: Path, is_encrypted: bool) -> None:
    with (
        hls_server(tmp_path, is_encrypted=is_encrypted) as (url, writer),
        CameraGroup(url, timeouts=SHORT) as cameras,
    ):
        take_frames(cameras, 1)
        first, first_s = cameras.statuses()[0].received, time.monotonic()
        while time.monotonic() - first_s < 3:
            cameras.take(0.1)
        rate = (cameras.statuses()[0].received - first) / (time.monotonic() - first_s)
        assert 5 < rate < 35, "25 a second, not whole segments at once"
        writer.kill()  # what it wrote stays on the web server
        take_until(cameras, has("it has sent nothing new since it was lost"))
        assert cameras.statuses()[0].state != "live"


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_motion_jpeg_of_ffmpeg_is_read(tmp_path: Path, is_encrypted: bool) -> None:
    """Frames that ffmpeg encoded, over HTTP and HTTPS; ``test_stream.py`` has what goes wrong."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: apt install ffmpeg")
    command = "ffmpeg -v error -f lavfi -i testsrc=size=160x120:rate=25 -frames:v 30 f%02d.jpg"
    subprocess.run(command.split(), cwd=tmp_path, check=True, timeout=60)
    images = [path.read_bytes() for path in sorted(tmp_path.glob("f*.jpg"))]
    served = FakeCamera(
        frame=lambda number: images[number % len(images)], is_encrypted=is_encrypted
    )
    with fake_camera(served) as camera, CameraGroup(camera.url, timeouts=SHORT) as cameras:
        assert take_frames(cameras, 5)[0].image.shape == (120, 160, 3)


def test_addresses_and_passwords_come_from_a_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rtsp_server("--login", "ann:p@ss/word") as server:
        monkeypatch.setenv("DOOR_USER", "ann")
        monkeypatch.setenv("DOOR_PASSWORD", "p@ss/word")  # as it is, not as in an address
        monkeypatch.setenv("YARD", server.url("ann:p%40ss%2Fword"))
        file = tmp_path / "cameras.toml"
        file.write_text(
            f'[cameras.door]\naddress = "{server.url("${DOOR_USER}:${DOOR_PASSWORD}")}"\n'
            '[cameras.yard]\naddress = "${YARD}"\n'
        )
        addresses = [camera.address for camera in read_cameras(file)]
        with CameraGroup(*addresses, timeouts=SHORT) as cameras:
            seen = {frame.camera for frame in take_frames(cameras, 20)}
            assert [status.name for status in cameras.statuses()] == ["door", "yard"]
    assert seen == {0, 1}


def test_usb_camera_is_read() -> None:
    """ffmpeg plays into a loopback device, as a driver would."""
    names = Path("/sys/devices/virtual/video4linux").glob("video*")
    device = next((Path("/dev") / name.name for name in names), None)
    if device is None or shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg and a kernel with v4l2loopback: modprobe v4l2loopback")
    source = "-re -f lavfi -i testsrc=size=320x240:rate=25 -pix_fmt yuyv422 -f v4l2"
    command = ["ffmpeg", "-v", "error", *source.split(), str(device)]
    writer = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        time.sleep(2)
        with CameraGroup(str(device), timeouts=SHORT) as cameras:
            frames = take_frames(cameras, 10)
        assert frames[0].image.shape == (240, 320, 3)
        assert cv2.cvtColor(frames[0].image, cv2.COLOR_RGB2HSV)[..., 1].max() > 100
    finally:
        writer.kill()
        writer.wait()
