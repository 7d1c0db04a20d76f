from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from fake_camera import CERTIFICATE, FakeCamera, fake_camera, walking_dot
from image_files import encoded
from run_cli import DEADLINE_S, wait_until, write_walk
from slimpose.arrays import Size
from slimpose.media import mjpeg
from slimpose.media.addresses import SourceError
from slimpose.media.frame import Frame
from slimpose.media.stream_reader import ReadLimit, StreamTimeouts, clock_s
from slimpose.poses import Poses
from slimpose.runtime.follower import Follower
from slimpose.runtime.multi_camera import CameraGroup, follow_cameras
from slimpose.skeleton import COCO17

SHORT = StreamTimeouts(
    open_s=2.0, read_s=1.0, first_retry_s=0.05, longest_retry_s=0.2, steady_s=0.2, black_s=0.3
)


@pytest.fixture
def camera() -> Iterator[FakeCamera]:
    with fake_camera() as served:
        yield served


def take_until(cameras: CameraGroup, is_enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Take frames until there are enough."""
    frames: list[Frame] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_enough(frames):
        assert time.monotonic() < deadline_s, (len(frames), cameras.statuses(), cameras.notices())
        if cameras.have_ended:
            frames += cameras.take(0.0)
            assert is_enough(frames), (len(frames), cameras.statuses(), cameras.notices())
            break
        frames += cameras.take(0.1)
    return frames


def take_until_notice(cameras: CameraGroup, text: str) -> list[str]:
    """Take frames until a notice contains the text; return all notices."""
    messages: list[str] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not any(text in message for message in messages):
        assert time.monotonic() < deadline_s, (text, messages, cameras.statuses())
        assert not cameras.have_ended, (text, messages, cameras.statuses())
        cameras.take(0.05)
        messages += [notice.message for notice in cameras.notices()]
    return messages


# One stream.


def test_network_stream_returns_newest_frames_with_arrival_times(camera: FakeCamera) -> None:
    before_s = clock_s()
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        frames = take_until(cameras, lambda frames: len(frames) >= 10)
        (status,) = cameras.statuses()
    assert (status.state, status.size) == ("live", Size(96, 96))
    assert (status.damaged, status.connections) == (0, 1)
    assert [frame.is_new_view for frame in frames] == [True] + [False] * 9
    times_s = [frame.timestamp_s for frame in frames]
    assert times_s == sorted(set(times_s))
    assert before_s <= times_s[0] <= times_s[-1] <= clock_s()
    assert abs(times_s[-1] - time.time()) < 5  # the time of the clock


def test_frames_not_taken_in_time_are_dropped_and_counted(camera: FakeCamera) -> None:
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        first = take_until(cameras, lambda frames: len(frames) == 1)[0]
        wait_until(lambda: cameras.statuses()[0].received >= first.index + 10)
        (late,) = cameras.take(0.0)
        (status,) = cameras.statuses()
    assert late.index >= first.index + 9
    assert status.dropped >= late.index - first.index - 1
    assert status.received >= 2 + status.dropped


def test_lost_stream_is_reopened(camera: FakeCamera) -> None:
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        take_until(cameras, lambda frames: len(frames) >= 3)
        camera.is_up = False
        messages = take_until_notice(cameras, "the host refuses (HTTP 503); trying again")
        assert cameras.statuses()[0].state in ("waiting", "connecting")
        requests = camera.requests
        while camera.requests < requests + 3:  # the same failure is reported once
            cameras.take(0.05)
        camera.is_up = True
        frames = take_until(cameras, lambda frames: len(frames) >= 3)
        messages += [notice.message for notice in cameras.notices()]
        assert cameras.statuses()[0].connections == 2
    assert [frame.is_new_view for frame in frames[:3]] == [True, False, False]
    assert [text.partition(" after")[0] for text in messages] == [
        "the stream ended; trying again",
        "the host refuses (HTTP 503); trying again",
        "frames again",
    ]


def test_retry_interval_doubles_up_to_its_limit(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera.is_up = False
    waits_s: list[float] = []
    wait = threading.Event.wait

    def short_wait(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name.startswith("stream"):
            waits_s.append(timeout or 0.0)
            return wait(event, 0.001)
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", short_wait)
    timeouts = StreamTimeouts(open_s=2.0, read_s=1.0, first_retry_s=0.5, longest_retry_s=5.0)
    with CameraGroup(camera.url, timeouts=timeouts) as cameras:
        wait_until(lambda: cameras.take(0.05) is not None and len(waits_s) >= 7)
    assert waits_s[:7] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_silent_stream_is_lost_after_the_read_timeout(camera: FakeCamera) -> None:
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        take_until(cameras, lambda frames: len(frames) >= 3)
        camera.is_silent = True
        take_until_notice(cameras, "no frame arrived in time; trying again")
        camera.is_silent = False
        take_until_notice(cameras, "frames again after")


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_stream_that_never_completes_a_frame_is_reopened(is_encrypted: bool) -> None:
    """Each byte arrives in time, the frame never does."""
    with (
        fake_camera(FakeCamera(is_encrypted=is_encrypted)) as camera,
        CameraGroup(camera.url, timeouts=SHORT) as cameras,
    ):
        take_until(cameras, lambda frames: len(frames) >= 3)
        requests = camera.requests
        camera.is_trickling = True
        take_until_notice(cameras, "no frame arrived in time; trying again")
        wait_until(lambda: cameras.take(0.05) is not None and camera.requests >= requests + 2)
        camera.is_trickling = False
        take_until_notice(cameras, "frames again after")


@pytest.mark.parametrize("sends_lengths", [True, False])
def test_camera_of_rare_images_stays_connected(sends_lengths: bool) -> None:
    """Its images come further apart than the time limit, which adapts; none waits for the next."""
    timeouts = dataclasses.replace(SHORT, read_s=0.25, longest_read_s=20.0)
    rare = FakeCamera(fps=1.6, sends_lengths=sends_lengths)
    with fake_camera(rare) as camera, CameraGroup(camera.url, timeouts=timeouts) as cameras:
        take_until_notice(cameras, "no frame arrived in time; trying again")
        wait_until(lambda: cameras.take(0.05) is not None and cameras.statuses()[0].received >= 4)
        requests = camera.requests
        taken = take_until(cameras, lambda frames: len(frames) >= 3)
        assert camera.requests == requests < 8
    assert all(frame.image.shape == (96, 96, 3) for frame in taken)


def test_limit_follows_the_times_of_frames() -> None:
    limit = ReadLimit(StreamTimeouts(read_s=8.0, longest_read_s=60.0))
    assert (limit.seconds, limit.is_extended) == (8.0, False)
    for waited_s, expected_s in [(8.0, 16.0), (12.0, 24.0), (60.0, 60.0), (0.04, 8.0)]:
        limit.adapt(waited_s)
        assert limit.seconds == expected_s


def test_answer_that_never_completes_its_headers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def trickle() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Camera: ")
                while not ended.wait(0.05):
                    connection.sendall(b"a")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        started_s = time.monotonic()
        stream = mjpeg.open_stream(
            url, timeout_s=0.5, frame_timeout_s=0.5, report=lambda message: None
        )
        assert stream is None
        assert time.monotonic() - started_s < 10
        ended.set()
        thread.join(5)


def test_encrypted_motion_jpeg_is_read_and_its_certificate_reported_once() -> None:
    """By our own reader: FFmpeg would scale all frames to the size of the first."""
    served = FakeCamera(is_encrypted=True, login="admin:geheim")
    with fake_camera(served) as camera:
        url = camera.url.replace("https://", "https://admin:geheim@")
        with CameraGroup(url, timeouts=SHORT) as cameras:
            take_until(cameras, lambda frames: len(frames) >= 3)
            camera.frame = lambda number: walking_dot(number, size=Size(120, 160))
            messages = take_until_notice(cameras, "its frame size changed from 96x96 to 160x120")
            camera.is_up = False
            messages += take_until_notice(cameras, "trying again")
            camera.is_up = True
            messages += take_until_notice(cameras, "frames again")
    unverified = [text for text in messages if "its certificate cannot be verified" in text]
    assert len(unverified) == 1
    assert "geheim" not in str(messages)


def test_certificate_that_is_trusted_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with (
        fake_camera(FakeCamera(is_encrypted=True)) as camera,
        CameraGroup(camera.url, timeouts=SHORT) as cameras,
    ):
        take_until(cameras, lambda frames: len(frames) >= 3)
        assert cameras.notices() == []


def test_resolution_change_is_reported_and_starts_a_new_view(camera: FakeCamera) -> None:
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        take_until(cameras, lambda frames: len(frames) >= 3)
        camera.frame = lambda number: walking_dot(number, size=Size(120, 160))
        take_until_notice(cameras, "its frame size changed from 96x96 to 160x120 pixels")
        frames = take_until(cameras, lambda frames: len(frames) >= 1)
        assert frames[0].image.shape == (120, 160, 3)
        assert cameras.statuses()[0].connections == 1


def test_first_frame_taken_after_a_change_is_a_new_view_despite_dropped_frames(
    camera: FakeCamera,
) -> None:
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        take_until(cameras, lambda frames: len(frames) >= 3)
        camera.frame = lambda number: walking_dot(number, size=Size(120, 160))
        wait_until(lambda: cameras.statuses()[0].size == Size(120, 160))
        received = cameras.statuses()[0].received
        wait_until(lambda: cameras.statuses()[0].received >= received + 5)
        assert [frame.is_new_view for frame in cameras.take(0.0)] == [True]


def test_black_image_and_its_end_are_reported(camera: FakeCamera) -> None:
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        camera.frame = lambda _: encoded(".jpg", np.full((96, 96, 3), 5, np.uint8))
        take_until_notice(cameras, "black image for 0.3 s (lens covered, or camera asleep?)")
        status = cameras.statuses()[0]
        assert (status.state, status.problem) == ("live", "black image")
        camera.frame = walking_dot
        take_until_notice(cameras, "no longer black")
        assert cameras.statuses()[0].problem == ""


def test_damaged_frames_are_skipped_counted_and_reported_once(camera: FakeCamera) -> None:
    def sometimes_damaged(number: int) -> bytes:
        data = walking_dot(number)
        return data[: len(data) // 2] if number % 4 == 2 else data

    camera.frame = sometimes_damaged
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        frames = take_until(cameras, lambda _: cameras.statuses()[0].damaged >= 3)
        messages = [notice.message for notice in cameras.notices()]
        assert cameras.statuses()[0].connections == 1
    assert len(frames) >= 3
    assert messages == ["a damaged frame was skipped; further ones are only counted"]


def test_motion_jpeg_without_lengths_is_read_to_the_next_boundary(camera: FakeCamera) -> None:
    camera.sends_lengths = False
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        frames = take_until(cameras, lambda frames: len(frames) >= 3)
        assert cameras.statuses()[0].damaged == 0
    assert frames[0].image.shape == (96, 96, 3)


def test_other_http_streams_are_read_by_ffmpeg(camera: FakeCamera, tmp_path: Path) -> None:
    """A transport stream over HTTP: read, silent, back again, then refused."""
    camera.transport_stream = write_walk(tmp_path / "a.ts", 400, codec="mp4v").read_bytes()
    with CameraGroup(camera.url, timeouts=SHORT) as cameras:
        frames = take_until(cameras, lambda frames: len(frames) >= 10)
        assert frames[0].image.shape == (96, 96, 3)
        camera.is_silent = True
        take_until_notice(cameras, "no frame arrived in time; trying again")
        camera.is_silent = False
        take_until_notice(cameras, "frames again after")
        camera.is_up = False
        take_until_notice(cameras, "the host refuses (HTTP 503); trying again")


# Sources that cannot be opened; passwords.


def silent_port() -> socket.socket:
    """Open a port that accepts connections and never answers."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)
    return listening


def test_reason_why_a_stream_cannot_be_opened_is_reported_without_its_password(
    camera: FakeCamera,
) -> None:
    camera.login = "u:right"
    with socket.socket() as unused, silent_port() as silent:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refused
        refusing, silent_host = (f"127.0.0.1:{it.getsockname()[1]}" for it in (unused, silent))
        wrong_login = "the user or the password is wrong (HTTP 401)"
        addresses = {
            f"rtsp://u:hunter2@{refusing}/x?token=hunter2": "the host refuses the connection",
            f"rtsp://u:hunter2@{silent_host}/x": "the host accepts the connection and",
            "http://u:hunter2@no-such-host.invalid/x": "the host name cannot be resolved",
            "http://u:hunt/er2@127.0.0.1:1/x": "the address cannot be parsed",
            f"{camera.url}?password=hunter2": wrong_login,
            f"{camera.url.replace('//', '//u:hunter2@')}": wrong_login,
        }
        with CameraGroup(*addresses, timeouts=SHORT) as cameras:
            reported: dict[int, str] = {}
            deadline_s = time.monotonic() + DEADLINE_S
            while len(reported) < len(addresses) and time.monotonic() < deadline_s:
                cameras.take(0.05)
                reported |= {
                    notice.camera: f"{notice.name}: {notice.message}"
                    for notice in cameras.notices()
                }
            statuses = repr(cameras.statuses())
    for number, expected in enumerate(addresses.values()):
        assert expected in reported[number]
    assert "hunt" not in f"{reported}{statuses}"


def test_opencv_and_ffmpeg_print_nothing(
    camera: FakeCamera, capfd: pytest.CaptureFixture[str]
) -> None:
    camera.login = "user:right%"
    right, wrong = (
        camera.url.replace("//", f"//user:{password}@") for password in ("right%25", "wrong")
    )
    with CameraGroup(right, wrong, wrong.replace("http", "rtsp"), "99", timeouts=SHORT) as cameras:
        take_until_notice(cameras, "the host accepts the connection and does not answer")
        take_until(cameras, lambda frames: any(frame.camera == 0 for frame in frames))
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_missing_camera_is_reported() -> None:
    with CameraGroup("99", timeouts=SHORT) as cameras:
        reason = "there is no such camera: /dev/video99 does not exist"
        (message,) = take_until_notice(cameras, reason)
    assert message.endswith("; trying again until it opens (Ctrl-C ends)")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ((), "no source; expected camera numbers"),
        (("0", "00"), "a camera is named twice"),
        (("missing.mp4",), "missing.mp4: no such file"),
    ],
)
def test_invalid_sources_are_rejected_before_any_thread_starts(
    sources: tuple[str, ...], message: str
) -> None:
    before = threading.active_count()
    with pytest.raises(SourceError, match=message):
        CameraGroup(*sources)
    assert threading.active_count() == before


# Video files.


def test_every_frame_of_a_video_is_returned_once(tmp_path: Path) -> None:
    with CameraGroup(str(write_walk(tmp_path / "a.avi", 12))) as cameras:
        frames = take_until(cameras, lambda _: cameras.have_ended)
        (status,) = cameras.statuses()
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in frames], np.arange(12) / 25, atol=1e-6
    )
    assert (status.dropped, status.state, status.problem, status.fps) == (0, "ended", "", 25.0)


def test_video_in_real_time_takes_its_duration(tmp_path: Path) -> None:
    started_s = time.monotonic()
    with CameraGroup(str(write_walk(tmp_path / "a.avi", 30)), realtime=True) as cameras:
        frames = take_until(cameras, lambda _: cameras.have_ended)
    assert time.monotonic() - started_s >= 29 / 25
    indices = [frame.index for frame in frames]
    times_s = np.array([frame.timestamp_s for frame in frames])
    np.testing.assert_allclose(
        times_s - times_s[0], (np.array(indices) - indices[0]) / 25, atol=1e-6
    )
    assert abs(times_s[-1] - time.time()) < 5


def test_time_continues_when_a_video_starts_again(tmp_path: Path) -> None:
    with CameraGroup(str(write_walk(tmp_path / "a.avi", 4)), loop=True) as cameras:
        frames = take_until(cameras, lambda frames: len(frames) >= 10)
        assert cameras.statuses()[0].connections >= 2
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in frames[:10]], np.arange(10) / 25, atol=1e-6
    )
    assert [frame.is_new_view for frame in frames[:10]] == [number % 4 == 0 for number in range(10)]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("notes.mp4", b"hello " * 99, "no frame of a video can be read"),
        ("empty.mp4", b"", "the file is empty (0 bytes)"),
        ("dot.jpg", walking_dot(0), "an image; expected a video (slimpose predict reads images)"),
    ],
)
def test_file_that_is_not_a_video_ends_and_the_others_continue(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with CameraGroup(
        str(tmp_path / name), str(write_walk(tmp_path / "a.avi", 5)), loop=False
    ) as cameras:
        frames = take_until(cameras, lambda _: cameras.have_ended)
        statuses = cameras.statuses()
        messages = [notice.message for notice in cameras.notices()]
    assert [frame.camera for frame in frames] == [1] * 5
    assert (statuses[0].state, statuses[1].state) == ("ended", "ended")
    assert statuses[0].problem.startswith(message)
    assert any(text.startswith(message) for text in messages)


# Several sources at once.


def test_dead_and_silent_streams_do_not_delay_others(camera: FakeCamera) -> None:
    """A silent stream blocks only its own thread, in OpenCV, until its time limit."""
    with silent_port() as silent:
        dead = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        timeouts = StreamTimeouts(open_s=20.0, read_s=20.0)
        with CameraGroup(dead, camera.url, dead, timeouts=timeouts) as cameras:
            started_s = time.monotonic()
            frames = take_until(cameras, lambda frames: len(frames) >= 5)
            took_s = time.monotonic() - started_s
            states = [status.state for status in cameras.statuses()]
            silent.close()
    assert {frame.camera for frame in frames} == {1}
    assert states == ["connecting", "live", "connecting"]
    assert took_s < 15


class CountingFollower(Follower):
    """Finds no people and records its calls."""

    def __init__(self) -> None:  # needs no model
        self.steps: list[list[int]] = []
        self.forgotten: list[int] = []

    def step(self, frames: Sequence[Frame]) -> list[Poses]:
        self.steps.append([frame.camera for frame in frames])
        return [Poses.empty(COCO17) for _ in frames]

    def forget(self, camera: int) -> None:
        self.forgotten.append(camera)


def test_frames_of_all_cameras_are_processed_in_one_step(tmp_path: Path) -> None:
    videos = [str(write_walk(tmp_path / f"{name}.avi", 20)) for name in "abc"]
    follower = CountingFollower()
    with CameraGroup(*videos) as cameras:
        time.sleep(0.5)  # all three have their first frame by then
        results = [result for batch in follow_cameras(cameras, follower) for result in batch]
    assert [0, 1, 2] in follower.steps
    assert all(len(set(step)) == len(step) for step in follower.steps)
    for camera in range(3):
        indices = [result.frame_index for result in results if result.camera == camera]
        assert indices == list(range(20))
    assert sorted(follower.forgotten) == [0, 1, 2]
    assert all(result.latency_ms >= 0 for result in results)


def test_batch_is_empty_without_new_frames() -> None:
    follower = CountingFollower()
    with CameraGroup("99", timeouts=SHORT) as cameras:
        batches = follow_cameras(cameras, follower, timeout_s=0.01)
        assert [next(batches) for _ in range(3)] == [[], [], []]
    assert follower.steps == []


def test_no_thread_or_file_descriptor_is_left_open(camera: FakeCamera, tmp_path: Path) -> None:
    video = str(write_walk(tmp_path / "a.avi", 5))

    def open_and_close() -> tuple[int, int]:
        with CameraGroup(camera.url, video, "99", loop=True, timeouts=SHORT) as cameras:
            take_until(cameras, lambda frames: {frame.camera for frame in frames} == {0, 1})
            cameras.close(timeout_s=DEADLINE_S)
        served = "process_request"  # in the names of the fake camera's threads
        wait_until(lambda: not any(served in thread.name for thread in threading.enumerate()))
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    first = open_and_close()
    assert [open_and_close() for _ in range(3)] == [first] * 3


_DECODES_AT_THE_END = """
import sys, time
import cv2, numpy as np
from slimpose.media import stream, stream_reader
from slimpose.runtime.multi_camera import CameraGroup

image = np.zeros((60, 60, 3), np.uint8)

def decodes(self, stop):
    while True:
        end_s = time.monotonic() + 1.5  # one slow frame
        while time.monotonic() < end_s:
            cv2.medianBlur(image, 31)
        yield stream.Frame(image=image, timestamp_s=0.0)

stream_reader.VideoPlayer.play = decodes
with CameraGroup("clip.avi") as cameras:
    time.sleep(0.2)
    raise RuntimeError("an output failed")
"""


def test_process_ends_in_order_while_a_stream_decodes(tmp_path: Path) -> None:
    """A thread inside OpenCV when the interpreter is torn down would abort it (134)."""
    (tmp_path / "clip.avi").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", _DECODES_AT_THE_END],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: an output failed"
