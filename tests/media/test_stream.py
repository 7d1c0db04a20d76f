from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from fake_camera import FakeCamera, fake_camera, jpeg, walking_dot
from slimpose.arrays import Size
from slimpose.media import live_capture
from slimpose.media.addresses import SourceError
from slimpose.media.live_capture import StreamTimeouts
from slimpose.media.stream import Picture
from slimpose.poses import Poses
from slimpose.runtime.follower import CameraFrame, Follower
from slimpose.runtime.multi_camera import CameraGroup, follow_cameras
from slimpose.skeleton import COCO17
from synthetic_models import dot_image

SHORT = StreamTimeouts(
    open_s=2.0, read_s=1.0, first_retry_s=0.05, longest_retry_s=0.2, steady_s=0.2, black_s=0.3
)
DEADLINE_S = 30.0
"""For what happens in a fraction of a second on a quiet machine."""


@pytest.fixture
def camera() -> Iterator[FakeCamera]:
    with fake_camera() as served:
        yield served


def write_film(path: Path, frames: int, *, fps: float = 25.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (96, 96))
    for number in range(frames):
        writer.write(dot_image(Size(96, 96), 30 + number % 30, 40))
    writer.release()
    return path


def pictures_until(cameras: CameraGroup, enough: Callable[[list[Picture]], bool]) -> list[Picture]:
    """Take pictures until there are enough."""
    found: list[Picture] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not enough(found):
        assert time.monotonic() < deadline_s, (len(found), cameras.statuses(), cameras.notices())
        if cameras.have_ended:
            found += cameras.take(0.0)
            assert enough(found), (len(found), cameras.statuses(), cameras.notices())
            break
        found += cameras.take(0.1)
    return found


def words_until(cameras: CameraGroup, words: str, found: list[str] | None = None) -> list[str]:
    """Take pictures until some notice has the words in it; return all notices."""
    found = [] if found is None else found
    deadline_s = time.monotonic() + DEADLINE_S
    while not any(words in notice for notice in found):
        assert time.monotonic() < deadline_s, (words, found, cameras.statuses())
        assert not cameras.have_ended, (words, found, cameras.statuses())
        cameras.take(0.05)
        found += [notice.words for notice in cameras.notices()]
    return found


# One stream.


def test_a_network_stream_gives_its_newest_pictures_with_the_time_they_came(
    camera: FakeCamera,
) -> None:
    before_s = live_capture.clock_s()
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        found = pictures_until(cameras, lambda found: len(found) >= 10)
        (status,) = cameras.statuses()
    assert (status.state, status.size, status.damaged, status.connections) == (
        "live",
        Size(96, 96),
        0,
        1,
    )
    assert [picture.is_new_view for picture in found] == [True] + [False] * 9
    times_s = [picture.timestamp_s for picture in found]
    assert times_s == sorted(set(times_s))
    assert before_s <= times_s[0] <= times_s[-1] <= live_capture.clock_s()
    assert abs(times_s[-1] - time.time()) < 5  # and it is the clock's


def test_pictures_that_nobody_took_in_time_are_dropped_and_counted(camera: FakeCamera) -> None:
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        first = pictures_until(cameras, lambda found: len(found) == 1)[0]
        deadline_s = time.monotonic() + DEADLINE_S
        while cameras.statuses()[0].received < first.frame + 10 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        (late,) = cameras.take(0.0)
        (status,) = cameras.statuses()
    assert late.frame >= first.frame + 9
    assert status.dropped >= late.frame - first.frame - 1
    assert status.received >= 2 + status.dropped


def test_a_stream_that_dies_and_returns_is_opened_again(camera: FakeCamera) -> None:
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        pictures_until(cameras, lambda found: len(found) >= 3)
        camera.is_up = False
        words = words_until(cameras, "the host refuses (HTTP 503); trying again")
        assert cameras.statuses()[0].state in ("waiting", "connecting")
        requests = camera.requests
        while camera.requests < requests + 3:  # the same failure is not told at each attempt
            cameras.take(0.05)
        camera.is_up = True
        found = pictures_until(cameras, lambda found: len(found) >= 3)
        words += [notice.words for notice in cameras.notices()]
        assert cameras.statuses()[0].connections == 2
    assert [picture.is_new_view for picture in found[:3]] == [True, False, False]
    assert [word.partition(" after")[0] for word in words] == [
        "the stream ended; trying again",
        "the host refuses (HTTP 503); trying again",
        "pictures again",
    ]


def test_back_off_doubles_up_to_its_cap(
    camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera.is_up = False
    waited: list[float] = []
    wait = threading.Event.wait

    def waits(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name.startswith("stream"):
            waited.append(timeout or 0.0)
            return wait(event, 0.001)
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", waits)
    patience = StreamTimeouts(open_s=2.0, read_s=1.0, first_retry_s=0.5, longest_retry_s=5.0)
    with CameraGroup.of(camera.url, patience=patience) as cameras:
        deadline_s = time.monotonic() + DEADLINE_S
        while len(waited) < 7 and time.monotonic() < deadline_s:
            cameras.take(0.05)
    assert waited[:7] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_a_stream_that_goes_silent_is_lost_after_the_patience(camera: FakeCamera) -> None:
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        pictures_until(cameras, lambda found: len(found) >= 3)
        camera.is_silent = True
        words_until(cameras, "no picture came in time; trying again")
        camera.is_silent = False
        words_until(cameras, "pictures again after")


def test_a_change_of_resolution_is_told_and_starts_a_new_view(camera: FakeCamera) -> None:
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        pictures_until(cameras, lambda found: len(found) >= 3)
        camera.picture = lambda number: walking_dot(number, size=Size(120, 160))
        words_until(cameras, "its pictures were 96x96 pixels, now they are 160x120")
        found = pictures_until(cameras, lambda found: len(found) >= 1)
        assert found[0].image.shape == (120, 160, 3)
        assert cameras.statuses()[0].connections == 1


def test_the_first_picture_taken_after_a_change_is_a_new_view_even_if_others_were_dropped(
    camera: FakeCamera,
) -> None:
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        pictures_until(cameras, lambda found: len(found) >= 3)
        camera.picture = lambda number: walking_dot(number, size=Size(120, 160))
        deadline_s = time.monotonic() + DEADLINE_S
        while cameras.statuses()[0].size != Size(120, 160) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        received = cameras.statuses()[0].received
        while cameras.statuses()[0].received < received + 5 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert [picture.is_new_view for picture in cameras.take(0.0)] == [True]


def test_black_pictures_are_told_after_a_while_and_so_is_their_end(camera: FakeCamera) -> None:
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        camera.picture = lambda _: jpeg(np.full((96, 96, 3), 5, np.uint8))
        words_until(cameras, "black pictures for 0.3 s (a covered lens, or a camera asleep?)")
        status = cameras.statuses()[0]
        assert (status.state, status.problem) == ("live", "black pictures")
        camera.picture = walking_dot
        words_until(cameras, "no longer black")
        assert cameras.statuses()[0].problem == ""


def test_damaged_pictures_are_left_out_counted_and_told_once(camera: FakeCamera) -> None:
    def sometimes_damaged(number: int) -> bytes:
        data = walking_dot(number)
        return data[: len(data) // 2] if number % 4 == 2 else data

    camera.picture = sometimes_damaged
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        found = pictures_until(cameras, lambda _: cameras.statuses()[0].damaged >= 3)
        words = [notice.words for notice in cameras.notices()]
        assert cameras.statuses()[0].connections == 1
    assert len(found) >= 3
    assert words == ["a damaged picture came and was left out; more will only be counted"]


def test_motion_jpeg_without_lengths_is_read_up_to_the_next_boundary(camera: FakeCamera) -> None:
    camera.tells_lengths = False
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        found = pictures_until(cameras, lambda found: len(found) >= 3)
        assert cameras.statuses()[0].damaged == 0
    assert found[0].image.shape == (96, 96, 3)


def test_what_is_no_motion_jpeg_goes_through_ffmpeg(camera: FakeCamera, tmp_path: Path) -> None:
    """A transport stream over HTTP, cut off, silent and back again."""
    path = tmp_path / "a.ts"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (96, 96))
    for number in range(400):
        writer.write(dot_image(Size(96, 96), 30 + number % 30, 40))
    writer.release()
    camera.transport_stream = path.read_bytes()
    with CameraGroup.of(camera.url, patience=SHORT) as cameras:
        found = pictures_until(cameras, lambda found: len(found) >= 10)
        assert found[0].image.shape == (96, 96, 3)
        camera.is_silent = True
        words_until(cameras, "no picture came in time; trying again")
        camera.is_silent = False
        words_until(cameras, "pictures again after")
        camera.is_up = False
        words_until(cameras, "the host refuses (HTTP 503); trying again")


# What cannot be opened, and passwords.


def silent_port() -> socket.socket:
    """A port that takes connections and never answers."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)
    return listening


def test_why_a_stream_cannot_be_opened_is_told_without_its_password(camera: FakeCamera) -> None:
    camera.login = "u:right"
    with socket.socket() as unused, silent_port() as silent:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refused
        addresses = {
            f"rtsp://u:geheim@127.0.0.1:{unused.getsockname()[1]}/x?token=geheim": "the host refuses the connection",
            f"rtsp://u:geheim@127.0.0.1:{silent.getsockname()[1]}/x": "the host answers, but no video comes",
            "http://u:geheim@no-such-host.invalid/x": "no host of this name is known here",
            "http://u:gehe/im@127.0.0.1:1/x": "the address cannot be understood",
            f"{camera.url}?password=geheim": "the user or the password is wrong (HTTP 401)",
            f"{camera.url.replace('//', '//u:geheim@')}": "the user or the password is wrong (HTTP 401)",
        }
        with CameraGroup.of(*addresses, patience=SHORT) as cameras:
            told: dict[int, str] = {}
            deadline_s = time.monotonic() + DEADLINE_S
            while len(told) < len(addresses) and time.monotonic() < deadline_s:
                cameras.take(0.05)
                told |= {
                    notice.camera: f"{notice.name}: {notice.words}" for notice in cameras.notices()
                }
            statuses = repr(cameras.statuses())
    for number, expected in enumerate(addresses.values()):
        assert expected in told[number]
    assert "gehe" not in f"{told}{statuses}"


def test_opencv_and_ffmpeg_say_nothing(
    camera: FakeCamera, capfd: pytest.CaptureFixture[str]
) -> None:
    camera.login = "user:right%"
    right, wrong = (
        camera.url.replace("//", f"//user:{password}@") for password in ("right%25", "wrong")
    )
    with CameraGroup.of(
        right, wrong, wrong.replace("http", "rtsp"), "99", patience=SHORT
    ) as cameras:
        words_until(cameras, "the host answers, but no video comes")
        pictures_until(cameras, lambda found: any(picture.camera == 0 for picture in found))
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_a_camera_that_is_not_there_is_told() -> None:
    with CameraGroup.of("99", patience=SHORT) as cameras:
        words_until(
            cameras,
            "there is no such camera (/dev/video99), or another program has it; trying again",
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to watch"),
        (("0", "00"), "a camera is named twice"),
        (("missing.mp4",), "missing.mp4: no such file"),
    ],
)
def test_what_cannot_be_watched_is_told_before_any_thread_starts(
    words: tuple[str, ...], message: str
) -> None:
    before = threading.active_count()
    with pytest.raises(SourceError, match=message):
        CameraGroup.of(*words)
    assert threading.active_count() == before


# Films.


def test_every_picture_of_a_film_is_given_once(tmp_path: Path) -> None:
    with CameraGroup.of(str(write_film(tmp_path / "a.avi", 12))) as cameras:
        found = pictures_until(cameras, lambda _: cameras.have_ended)
        (status,) = cameras.statuses()
    assert [picture.frame for picture in found] == list(range(12))
    np.testing.assert_allclose(
        [picture.timestamp_s for picture in found], np.arange(12) / 25, atol=1e-6
    )
    assert (status.dropped, status.state, status.problem, status.fps) == (0, "ended", "", 25.0)


def test_in_real_time_a_film_takes_as_long_as_it_lasts(tmp_path: Path) -> None:
    started_s = time.monotonic()
    with CameraGroup.of(str(write_film(tmp_path / "a.avi", 30)), realtime=True) as cameras:
        found = pictures_until(cameras, lambda _: cameras.have_ended)
    assert time.monotonic() - started_s >= 29 / 25
    frames = [picture.frame for picture in found]
    times_s = np.array([picture.timestamp_s for picture in found])
    np.testing.assert_allclose(times_s - times_s[0], (np.array(frames) - frames[0]) / 25, atol=1e-6)
    assert abs(times_s[-1] - time.time()) < 5


def test_a_film_that_starts_over_goes_on_in_time(tmp_path: Path) -> None:
    with CameraGroup.of(str(write_film(tmp_path / "a.avi", 4)), loop=True) as cameras:
        found = pictures_until(cameras, lambda found: len(found) >= 10)
        assert cameras.statuses()[0].connections >= 2
    np.testing.assert_allclose(
        [picture.timestamp_s for picture in found[:10]], np.arange(10) / 25, atol=1e-6
    )
    assert [picture.is_new_view for picture in found[:10]] == [
        number % 4 == 0 for number in range(10)
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("notes.mp4", b"hello " * 99, "no frame of a video can be read"),
        ("empty.mp4", b"", "the file is empty (0 bytes)"),
        (
            "dot.jpg",
            walking_dot(0),
            "a picture; expected a video (slimpose predict looks at pictures)",
        ),
    ],
)
def test_a_file_that_is_no_film_ends_and_the_others_go_on(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with CameraGroup.of(
        str(tmp_path / name), str(write_film(tmp_path / "a.avi", 5)), loop=False
    ) as cameras:
        found = pictures_until(cameras, lambda _: cameras.have_ended)
        statuses = cameras.statuses()
        words = [notice.words for notice in cameras.notices()]
    assert [picture.camera for picture in found] == [1] * 5
    assert (statuses[0].state, statuses[1].state) == ("ended", "ended")
    assert statuses[0].problem.startswith(message)
    assert any(word.startswith(message) for word in words)


# Several at once.


def test_dead_and_silent_streams_hold_nobody_else(camera: FakeCamera) -> None:
    """The silent one holds its own thread in OpenCV for as long as patience says, and nobody else's."""
    with silent_port() as silent:
        dead = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        patience = StreamTimeouts(open_s=20.0, read_s=20.0)
        with CameraGroup.of(dead, camera.url, dead, patience=patience) as cameras:
            started_s = time.monotonic()
            found = pictures_until(cameras, lambda found: len(found) >= 5)
            took_s = time.monotonic() - started_s
            states = [status.state for status in cameras.statuses()]
            silent.close()
    assert {picture.camera for picture in found} == {1}
    assert states == ["connecting", "live", "connecting"]
    assert took_s < 15


class CountingFollower(Follower):
    """Finds nobody, and remembers what it was asked."""

    def __init__(self) -> None:  # no model is needed to find nobody
        self.steps: list[list[int]] = []
        self.forgotten: list[int] = []

    def step(self, frames: Sequence[CameraFrame]) -> list[Poses]:
        self.steps.append([frame.camera for frame in frames])
        return [Poses.empty(COCO17) for _ in frames]

    def forget(self, camera: int) -> None:
        self.forgotten.append(camera)


def test_the_pictures_of_all_cameras_go_through_one_call(tmp_path: Path) -> None:
    films = [str(write_film(tmp_path / f"{name}.avi", 20)) for name in "abc"]
    follower = CountingFollower()
    with CameraGroup.of(*films) as cameras:
        time.sleep(0.5)  # all three have their first picture by then
        seen = [seen for batch in follow_cameras(cameras, follower) for seen in batch]
    assert [0, 1, 2] in follower.steps
    assert all(len(set(step)) == len(step) for step in follower.steps)
    for camera in range(3):
        assert [one.frame for one in seen if one.camera == camera] == list(range(20))
    assert sorted(follower.forgotten) == [0, 1, 2]
    assert all(one.latency_ms >= 0 for one in seen)


def test_a_batch_is_empty_where_nothing_comes() -> None:
    follower = CountingFollower()
    with CameraGroup.of("99", patience=SHORT) as cameras:
        batches = follow_cameras(cameras, follower, patience_s=0.01)
        assert [next(batches) for _ in range(3)] == [[], [], []]
    assert follower.steps == []


def test_no_thread_nor_descriptor_is_left(camera: FakeCamera, tmp_path: Path) -> None:
    film = str(write_film(tmp_path / "a.avi", 5))

    def once() -> tuple[int, int]:
        with CameraGroup.of(camera.url, film, "99", loop=True, patience=SHORT) as cameras:
            pictures_until(cameras, lambda found: {picture.camera for picture in found} == {0, 1})
            cameras.close(timeout_s=DEADLINE_S)
        deadline_s = time.monotonic() + DEADLINE_S
        while any(
            "process_request" in thread.name for thread in threading.enumerate()
        ):  # the fake camera's own
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    first = once()
    assert [once() for _ in range(3)] == [first] * 3
