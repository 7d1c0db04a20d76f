from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slimpose.media.camera_file import CameraSettings, read_cameras

Read = Callable[[str], list[CameraSettings]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a file of cameras with this text."""

    def read_text(text: str) -> list[CameraSettings]:
        path = tmp_path / "cameras.toml"
        path.write_text(text, encoding="utf-8")
        return read_cameras(path)

    return read_text


def test_cameras_are_read_in_order_with_their_settings(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_USER", "admin")
    monkeypatch.setenv("DOOR_PASSWORD", "hunter2")
    (tmp_path / "clip.mp4").touch()
    yard, door, clip = read(
        """
        [cameras.yard-2]
        address = 0
        every = 2
        max_people = 3
        [cameras.door]
        address = "rtsp://${DOOR_USER}:${DOOR_PASSWORD}@10.0.0.5/stream1"
        conf = 0.4
        keypoint_threshold = 0
        [cameras."Hof Süd"]
        address = "clip.mp4"
        """
    )
    assert (yard.address.kind, yard.address.name, yard.address.target) == ("camera", "yard-2", "0")
    assert (yard.every, yard.max_people, yard.conf, yard.keypoint_threshold) == (2, 3, None, None)
    assert (door.address.kind, door.address.name) == ("network", "door")
    assert door.address.target == "rtsp://admin:hunter2@10.0.0.5/stream1"
    assert (door.conf, door.keypoint_threshold) == (0.4, 0.0)
    assert "hunter2" not in repr(door)
    assert (clip.address.kind, clip.address.name) == ("file", "Hof Süd")
    assert clip.address.target == str(tmp_path / "clip.mp4")  # relative to the file of cameras


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras = 3", "cameras is 3; expected tables"),
        ("", "cameras is None; expected tables"),
        ("[cameras]", r"has no camera; expected tables \[cameras.NAME\]"),
        ("[camera.a]\naddress = 0", "unknown setting 'camera'; expected cameras"),
        ("[cameras.a]", "camera a has no address"),
        ("[cameras.a]\naddress = 1.5", "camera a: address is 1.5; expected text"),
        ("[cameras.a]\naddress = -1", "camera a: address: not a camera number, an address or"),
        ("[cameras.a]\naddress = 0\nconfidence = 1", "unknown setting 'confidence'; expected addr"),
        ("[cameras.a]\naddress = 0\nconf = 1.5", "conf is 1.5; expected a finite number 0..1"),
        ("[cameras.a]\naddress = 0\nconf = nan", "conf is nan; expected a finite number 0..1"),
        ("[cameras.a]\naddress = 0\nkeypoint_threshold = '1'", "keypoint_threshold is '1'; exp"),
        ("[cameras.a]\naddress = 0\nmax_people = 0", "max_people is 0; expected an integer of 1"),
        ("[cameras.a]\naddress = 0\nevery = 0.5", "every is 0.5; expected an integer of 1 or more"),
        ("[cameras.a]\naddress = 'gone.mp4'", "not a camera number, an address or a video file"),
        ("[cameras.a]\naddress = 'rtsp://u:${GONE}@h/'", "no environment variable 'GONE', or it"),
        ("[cameras.a]\naddress = 'rtsp://${OPEN'", "has a .{ without a name and }"),
        ("[cameras.'a/b']\naddress = 0", "a camera is named 'a/b'; expected at most 64 letters"),
        ("[cameras.'../a']\naddress = 0", "a camera is named '../a'; expected"),
        ("[cameras.a]\naddress = 0\n[cameras.A]\naddress = 1", "cameras 'a' and 'A'; expected"),
        ("[cameras.a]\naddress = 0\n[cameras.a]\naddress = 1", "is not TOML"),
        ("cameras.a = 5", "camera a is 5; expected an object"),
    ],
)
def test_invalid_files_are_rejected(read: Read, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(text)


def test_values_of_variables_are_not_shown(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHOLE", "ftp://admin:hunter2@host/")
    with pytest.raises(ValueError, match=r"cannot open ftp://; expected rtsp") as error:
        read("[cameras.a]\naddress = '${WHOLE}'")
    assert "hunter2" not in str(error.value)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no camera file .*gone\.toml"):
        read_cameras(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    "text",
    [
        "cameras = '{0}'", "[[cameras]]\naddress = '{0}'", "[cameras]\naddress = '{0}'",
        "[cameras.a]\naddress = ['{0}']", "[cameras.'{0}']\naddress = 0",
        "[cameras.a]\naddress = 0\nconf = '{0}'", "'{0}' = 1",
    ],
)  # fmt: skip
def test_passwords_in_the_wrong_place_are_not_shown(read: Read, text: str) -> None:
    with pytest.raises(ValueError, match=r"rtsp://\*\*\*@10") as error:
        read(text.format("rtsp://admin:hunter2@10.0.0.5/stream1"))
    assert "hunter2" not in str(error.value)
