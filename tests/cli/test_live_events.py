"""Events of ``live`` and ``predict``: zones and lines of each camera, and where they are sent.

The dot of the videos walks from x = 30 to 59 of 96 pixels, and starts again from the left.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker import Recorder, broker, needs_mosquitto, wait_for
from fake_camera import FakeCamera, fake_camera
from run_cli import Capture, all_files, in_work_folder, json_lines, start, wait_until, write_models
from run_cli import write_dot_video as write_walk
from webhook_receiver import receiver

Command = Callable[..., int]
LEFT = "points = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]"
RIGHT = "points = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]"
ALL = "points = [[0, 0], [1, 0], [1, 1], [0, 1]]"
EVERY = ("--detect-every", "1")
MIDDLE = "points = [[0.4, 0], [0.4, 1]]"
TWO_CAMERAS = f"""
[cameras.hall]
address = "walk.avi"
[cameras.hall.zones.left]
{LEFT}
[cameras.hall.lines.middle]
{MIDDLE}
[cameras.yard]
address = "walk.avi"
[cameras.yard.zones.left]
{RIGHT}
"""


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return in_work_folder("live", tmp_path, monkeypatch)


def short(events: list[dict[str, Any]], camera: str) -> list[tuple[object, ...]]:
    return [
        (event["kind"], event["area"], event.get("people", event.get("direction")))
        for event in events
        if event["camera"] == camera
    ]


@pytest.mark.parametrize("command", ["live", "predict"])
def test_each_camera_has_its_own_zones_and_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, command: str
) -> None:
    run = in_work_folder(command, tmp_path, monkeypatch)
    write_walk("walk.avi", 30)
    Path("cameras.toml").write_text(TWO_CAMERAS)
    drawing = ["--no-draw"] if command == "predict" else []
    assert run("--cameras", "cameras.toml", "--events", "e.jsonl", *EVERY, *drawing) == 0
    events = json_lines(Path("e.jsonl").read_text())
    assert short(events, "hall") == [
        ("enter", "left", None),
        ("count", "left", 1),
        ("line", "middle", "out"),
        ("leave", "left", None),
        ("count", "left", 0),
    ]
    assert short(events, "yard") == [("enter", "left", None), ("count", "left", 1)]
    enter = next(event for event in events if event["camera"] == "yard")
    assert enter["time_s"] == pytest.approx(1.5, abs=0.15)  # of the video: the middle of the image
    output = capsys.readouterr().out
    assert "events: 3 count, 2 enter, 1 leave, 1 line\n" in output
    assert "sent to: file written 7\n" in output
    assert "written: e.jsonl" in output


def test_events_of_a_camera_reach_webhook_and_file_and_people_of_a_dead_one_leave(
    tmp_path: Path,
) -> None:
    options = write_models(tmp_path / "models")
    with fake_camera(FakeCamera(fps=10.0)) as camera, receiver() as hook:
        (tmp_path / "cameras.toml").write_text(
            f"[cameras.hall]\naddress = '{camera.url}'\n[cameras.hall.zones.all]\n{ALL}\n"
            f"[[webhooks]]\naddress = '{hook.url}'\nkinds = ['enter', 'leave']\n"
        )
        arguments = ["--cameras", "cameras.toml", "--events", "e.jsonl", *options]
        process = start("live", *arguments, folder=tmp_path)
        wait_until(lambda: [body["kind"] for body in hook.bodies] == ["enter"], process)
        camera.is_up = False
        wait_until(lambda: hook.bodies[-1]["kind"] == "leave", process)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "webhook sent " in out
    assert "hunter2" not in out + err
    events = json_lines((tmp_path / "e.jsonl").read_text())
    assert [event["kind"] for event in events[:2]] == ["enter", "count"]
    assert events[-1]["people"] == 0


@needs_mosquitto
def test_states_of_several_cameras_reach_the_broker(tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    with (
        broker(tmp_path) as running,
        closing(Recorder(running.port)) as recorder,
        fake_camera(FakeCamera(fps=10.0)) as camera,
    ):
        (tmp_path / "cameras.toml").write_text(
            f"[cameras.hall]\naddress = '{camera.url}'\n[cameras.hall.zones.all]\n{ALL}\n"
            "[cameras.gone]\naddress = 'http://127.0.0.1:9/video'\n"
            f"[mqtt]\naddress = 'mqtt://127.0.0.1:{running.port}'\n"
        )
        process = start("live", "--cameras", "cameras.toml", *options, folder=tmp_path)
        expected = {
            "slimpose/status": "online",
            "slimpose/hall/live": "ON",
            "slimpose/hall/people": "1",
            "slimpose/hall/zones/all": '{"people": 1}',
            "slimpose/gone/live": "OFF",
            "slimpose/gone/people": "0",
        }
        wait_until(lambda: expected.items() <= recorder.newest.items(), process)
        event = json.loads(recorder.newest["slimpose/hall/events"])
        assert event["event_type"] in ("enter", "count")
        process.terminate()
        process.communicate(timeout=60)
        wait_for(lambda: recorder.newest["slimpose/status"] == "offline")


def test_video_file_next_to_a_camera_keeps_its_people(live: Command) -> None:
    """The times of a file are its own: the clock of the camera does not make its people leave."""
    write_walk("walk.avi", 30)
    with fake_camera(FakeCamera(fps=10.0)) as camera:
        Path("cameras.toml").write_text(
            f"[cameras.hall]\naddress = 'walk.avi'\n[cameras.hall.zones.all]\n{ALL}\n"
            f"[cameras.door]\naddress = '{camera.url}'\n"
        )
        ended = threading.Timer(5.0, lambda: setattr(camera, "is_up", False))
        ended.start()
        assert (
            live("--cameras", "cameras.toml", "--events", "e.jsonl", "--seconds", "3", *EVERY) == 0
        )
        ended.cancel()
    events = json_lines(Path("e.jsonl").read_text())
    assert [event["kind"] for event in events] == ["enter", "count"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", ["--events", "e.jsonl"], "--events e.jsonl: no camera has events; expected zones"),
        ("[[webhooks]]\naddress = 'http://a/'", [], "webhooks in c.toml: no camera has events"),
        ("[mqtt]\naddress = 'nowhere'", [], "mqtt: address is 'nowhere'; expected mqtt://HOST"),
        (f"[cameras.a.zones.z]\n{ALL}", ["--no-track"], "camera a has zones, lines or postures"),
        (f"[cameras.a.zones.z]\n{ALL}", ["--events", "c.toml"], "c.toml is an input of this call"),
        (f"[cameras.a.zones.z]\n{ALL}", ["--events", "old"], "--events old exists; --overwrite"),
    ],
)
def test_what_would_be_ignored_in_silence_is_rejected(
    live: Command, capsys: Capture, text: str, options: list[str], message: str
) -> None:
    write_walk("walk.avi", 2)
    Path("old").write_text("kept")
    Path("c.toml").write_text(f"[cameras.a]\naddress = 'walk.avi'\n{text}\n")
    assert live("--cameras", "c.toml", "--jsonl", "p.jsonl", *options) == 2
    assert message in capsys.readouterr().err
    assert all_files() == ["c.toml", "old", "walk.avi"]
