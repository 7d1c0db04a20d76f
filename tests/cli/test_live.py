from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fake_camera import FakeCamera, fake_camera
from run_cli import (
    all_files,
    csv_rows,
    frames_in,
    in_a_work_folder,
    json_lines,
    json_records,
    start,
    wait_until,
    write_models,
    write_walk,
)
from slimpose.cli.main import main

Live = Callable[..., int]


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    """``slimpose live`` in an empty folder with synthetic weights; returns the exit code."""
    return in_a_work_folder("live", tmp_path, monkeypatch)


def test_films_are_watched_frame_by_frame_to_their_end(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    write_walk(Path("a.avi"), 20)
    write_walk(Path("b.avi"), 12)
    assert (
        live("a.avi", "b.avi", "--json", "p.json", "--jsonl", "p.jsonl", "--detect-every", "1") == 0
    )
    lines = json_lines(Path("p.jsonl").read_text())
    for camera, (name, frames) in enumerate([("a.avi", 20), ("b.avi", 12)]):
        mine = [line for line in lines if line["camera"] == camera]
        assert {line["source"] for line in mine} == {name}
        assert [line["frame"] for line in mine] == list(range(frames))
        tracks = {person["track_id"] for line in mine for person in line["people"]}
        assert len(tracks) == 1
    assert len({record["track_id"] for record in json_records(Path("p.json"))}) == 2
    said = capsys.readouterr()
    assert "32 frames of 2 sources" in said.out
    assert "[0] a.avi: 20 seen, 0 dropped, latency p50" in said.out
    assert "[1] b.avi: 12 seen, 0 dropped" in said.out
    assert re.search(r"median ms a batch: wait for pictures [\d.]+, detect [\d.]+, crop", said.out)
    assert all_files() == ["a.avi", "b.avi", "p.json", "p.jsonl"]


def test_all_outputs_at_once(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    write_walk(Path("a.avi"), 10)
    write_walk(Path("b.avi"), 10)
    written = ["--json", "p.json", "--csv", "p.csv", "--jsonl", "-", "--openpose", "op"]
    drawn = ["--out", "films", "--mosaic", "all.mp4", "--profile"]
    assert live("a.avi", "b.avi", *written, *drawn) == 0
    said = capsys.readouterr()
    lines = json_lines(said.out)  # nothing else is on standard output
    assert len(lines) == 20
    assert "written: films, all.mp4, p.json, p.csv, op" in said.err
    assert "Where the time went" in said.err
    assert re.search(r"read and decode, beside the rest: \[0\] [\d.]+, \[1\] [\d.]+", said.err)
    people = sum(len(line["people"]) for line in lines)
    assert len(json_records(Path("p.json"))) == people > 0
    assert len(csv_rows(Path("p.csv"))) == 17 * people
    assert all_files("op") == [
        f"camera-{camera}_{frame:012d}_keypoints.json" for camera in (0, 1) for frame in range(10)
    ]
    assert all_files("films") == ["camera-0.mp4", "camera-1.mp4"]
    assert [frames_in(Path("films") / name) for name in all_files("films")] == [10, 10]
    sound, frame = cv2.VideoCapture("all.mp4").read()
    assert sound
    assert frame.shape == (360, 2 * 640, 3)


def test_a_camera_on_the_network_is_watched_until_the_time_is_up(
    live: Live, capfd: pytest.CaptureFixture[str]
) -> None:
    with fake_camera(FakeCamera(login="admin:geheim")) as camera:
        url = camera.url.replace("//", "//admin:geheim@") + "?token=geheim"
        shown = camera.url.replace("//", "//***@") + "?token=***"
        written = [
            "--json",
            "p.json",
            "--csv",
            "p.csv",
            "--jsonl",
            "p.jsonl",
            "--mosaic",
            "m.mp4",
            "--out",
            "films",
        ]
        assert live(url, "--seconds", "2", *written, "--profile") == 0
    said = capfd.readouterr()
    assert f"[0] {shown}: " in said.out
    lines = json_lines(Path("p.jsonl").read_text())
    assert {line["source"] for line in lines} == {shown}
    assert abs(lines[-1]["timestamp_s"] - time.time()) < 60
    assert "geheim" not in said.out + said.err
    for path in all_files():
        assert b"geheim" not in Path(path).read_bytes()


def test_a_dead_source_is_told_and_the_others_go_on(
    live: Live, capfd: pytest.CaptureFixture[str]
) -> None:
    write_walk(Path("a.avi"), 40)
    Path("notes.avi").write_text("hello " * 99)
    with fake_camera(FakeCamera(is_up=False)) as camera:
        url = camera.url.replace("//", "//admin:geheim@")
        frames = ["--frames", "40", "--mosaic", "m.mp4"]
        assert (
            live("a.avi", url, "notes.avi", "--jsonl", "p.jsonl", *frames) == 2
        )  # two never gave a picture
    said = capfd.readouterr()
    shown = camera.url.replace("//", "//***@")
    assert f"slimpose: [1] {shown}: the host refuses (HTTP 503); trying again\n" in said.err
    assert "slimpose: [2] notes.avi: no frame of a video can be read" in said.err
    assert f"[1] {shown}: 0 seen, 0 dropped: " in said.out
    assert "geheim" not in said.out + said.err
    assert {line["camera"] for line in json_lines(Path("p.jsonl").read_text())} == {0}
    _, frame = cv2.VideoCapture("m.mp4").read()
    assert frame[:360, 640:].any()  # the dead ones' tiles say so


def test_a_bounded_number_of_frames(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    write_walk(Path("a.avi"), 10)
    assert live("a.avi", "--loop", "--frames", "25") == 0
    assert "25 frames of 1 source" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to watch; expected cameras' numbers, addresses or video files"),
        (["missing.mp4"], "missing.mp4: no such file"),
        (["0", "0"], "a camera is named twice"),
        (["a.avi", "--seconds", "0"], "--seconds is 0; expected a number over 0"),
        (["a.avi", "--frames", "-1"], "--frames is -1; expected a number over 0"),
        (["a.avi", "--score-threshold", "2"], "--score-threshold is 2; expected a number 0..1"),
        (["a.avi", "--detect-every", "0"], "detect_every is 0; expected 1 or more"),
        (["a.avi", "--mosaic", "a.avi"], "--mosaic a.avi is an input of this call"),
        (
            ["a.avi", "camera-1.mp4", "--out", "."],
            "--out (camera 1) camera-1.mp4 is an input of this call",
        ),
        (["a.avi", "--json", "-"], "--json is -; expected a file (--jsonl - is standard output)"),
        (
            ["a.avi", "--openpose-order", "COCO_18"],
            "--openpose-order COCO_18 is about --openpose; expected both",
        ),
        (["a.avi", "--out", "a.avi"], "--out a.avi is a file; expected a folder"),
        (["a.avi", "--json", "."], "--json . is a folder"),
        (["ftp://u:geheim@host/x"], "ftp://***@host/x: cannot open ftp://"),
        (["rtsp://u:geheim@host/x", "--bogus"], "bogus"),
        (["rtsp://u:geheim@host/x", "--frames", "many"], "many"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_starts(
    live: Live, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write_walk(Path("a.avi"), 2)
    shutil.copy("a.avi", "camera-1.mp4")
    assert live(*words) == 2
    said = capfd.readouterr()
    assert message in said.out + said.err
    assert "geheim" not in said.out + said.err
    assert all_files() == ["a.avi", "camera-1.mp4"]
    assert Path("a.avi").read_bytes() == Path("camera-1.mp4").read_bytes()


def test_an_address_in_the_verbs_place_keeps_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["rtsp://u:geheim@host/x"])
    assert "no verb is named 'rtsp://***@host/x'" in capsys.readouterr().err


# In a process of its own: Ctrl-C, kill, pipes.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_soon_with_all_files_whole(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Within a second on a quiet machine (test_soak measures it); one of the sources hangs in the midst of opening."""
    import socket

    options = write_models(tmp_path / "models")
    write_walk(tmp_path / "a.avi", 50)
    written = ["--json", "p.json", "--csv", "p.csv", "--jsonl", "p.jsonl", "--openpose", "op"]
    films = ["--out", "films", "--mosaic", "all.mp4"]
    with fake_camera() as camera, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        sources = ["a.avi", camera.url, f"rtsp://u:geheim@127.0.0.1:{silent.getsockname()[1]}/x"]
        process = start("live", *sources, "--loop", *options, *written, *films, folder=tmp_path)
        lines = tmp_path / "p.partial.jsonl"
        wait_until(lambda: lines.is_file() and lines.read_bytes().count(b"\n") > 60, process)
        process.send_signal(number)
        told_s = time.monotonic()
        out, err = process.communicate(timeout=60)
        took_s = time.monotonic() - told_s
    assert process.returncode == 2  # the silent one never gave a picture
    assert took_s < 10
    assert "geheim" not in out + err
    assert "Traceback" not in err
    found = json_lines((tmp_path / "p.jsonl").read_text())
    people = sum(len(line["people"]) for line in found)
    assert len(json_records(tmp_path / "p.json")) == people > 0
    assert len(csv_rows(tmp_path / "p.csv")) == 17 * people
    assert len(list((tmp_path / "op").iterdir())) == len(found)
    for camera_number in (0, 1):
        drawn = frames_in(tmp_path / "films" / f"camera-{camera_number}.mp4")
        assert drawn == sum(line["camera"] == camera_number for line in found)
    assert frames_in(tmp_path / "all.mp4") > 0
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def test_a_killed_run_leaves_files_that_hold_all_but_the_last_records(tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    write_walk(tmp_path / "a.avi", 50)
    written = ["--json", "p.json", "--csv", "p.csv", "--jsonl", "p.jsonl", "--openpose", "op"]
    films = ["--out", "films", "--mosaic", "all.mp4"]
    with fake_camera() as camera:
        process = start(
            "live", "a.avi", camera.url, "--loop", *options, *written, *films, folder=tmp_path
        )
        lines = tmp_path / "p.partial.jsonl"
        wait_until(lambda: lines.is_file() and lines.read_bytes().count(b"\n") > 80, process)
        process.kill()
        process.communicate()
    found = json_lines(lines.read_text())
    people = sum(len(line["people"]) for line in found)
    assert abs(len(json_records(tmp_path / "p.partial.json")) - people) <= 2
    assert abs(len(csv_rows(tmp_path / "p.partial.csv")) - 17 * people) <= 2 * 17
    documents = [json.loads(path.read_text()) for path in (tmp_path / "op").glob("camera*.json")]
    assert abs(len(documents) - len(found)) <= 1
    for camera_number in (0, 1):
        drawn = frames_in(tmp_path / "films" / f"camera-{camera_number}.partial.mp4")
        assert abs(drawn - sum(line["camera"] == camera_number for line in found)) <= 3
    assert frames_in(tmp_path / "all.partial.mp4") > 10
    again = start("live", "a.avi", *options, "--json", "p.json", folder=tmp_path)
    again.communicate()
    assert again.returncode == 0
    assert (tmp_path / "p.partial.json").is_file()  # nothing of the killed run is written over


def test_a_pipe_that_its_reader_closes_ends_the_run_with_the_files_whole(tmp_path: Path) -> None:
    options = write_models(tmp_path / "models")
    write_walk(tmp_path / "a.avi", 50)
    process = start(
        "live", "a.avi", "--loop", *options, "--jsonl", "-", "--json", "p.json", folder=tmp_path
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["frame"] == 0
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr is not None
    said = process.stderr.read()
    assert "slimpose: standard output was closed by the program that read it" in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert json_records(tmp_path / "p.partial.json")


def test_records_stay_in_time_with_a_film_played_as_if_live(live: Live) -> None:
    write_walk(Path("a.avi"), 30)
    assert live("a.avi", "--realtime", "--jsonl", "p.jsonl") == 0
    lines = json_lines(Path("p.jsonl").read_text())
    frames = np.array([line["frame"] for line in lines])
    times_s = np.array([line["timestamp_s"] for line in lines])
    np.testing.assert_allclose(times_s - times_s[0], (frames - frames[0]) / 25, atol=1e-4)
    assert abs(times_s[-1] - time.time()) < 60
