"""Files of cameras, sources of ``predict`` that are no files, and outputs that exist."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fake_camera import FakeCamera, fake_camera
from run_cli import (
    TEXT_OUTPUTS,
    Capture,
    all_files,
    frames_in,
    in_work_folder,
    json_lines,
    records_of,
    write_dot,
    write_walk,
)
from run_main import run_main
from synthetic_models import write_detector_model

Command = Callable[..., int]
SMALL, MIDDLE, LARGE = [-4, -6, 4, 6], [12, -10, 26, 10], [-40, -16, -18, 16]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``slimpose predict`` in an empty folder with synthetic models; returns the exit code."""
    return in_work_folder("predict", tmp_path, monkeypatch)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``slimpose live``; the detector finds three people that score 0.9, 0.5 and 0.4."""
    run = in_work_folder("live", tmp_path, monkeypatch)
    write_detector_model(
        tmp_path / "package" / "detector.onnx",
        offsets=[SMALL, MIDDLE, LARGE],
        scores=[0.9, 0.5, 0.4],
    )
    return run


def test_cameras_of_a_file_have_names_and_settings_of_their_own(
    live: Command, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    write_walk("walk.avi", 8)
    write_walk("sub.avi", 8)
    Path("config").mkdir()
    Path("sub.avi").rename("config/sub.avi")
    with fake_camera(FakeCamera(login="admin:hunter2")) as camera:
        monkeypatch.setenv("DOOR_URL", camera.url.replace("//", "//admin:hunter2@"))
        Path("config/cameras.toml").write_text(
            """
            [cameras.door]
            address = "${DOOR_URL}"
            every = 3
            [cameras.yard]
            address = "sub.avi"
            conf = 0.45
            every = 2
            [cameras.gate]
            address = "sub.avi"
            max_people = 1
            """
        )
        options = ["--cameras", "config/cameras.toml", "--no-track", "--out", "videos"]
        assert live("walk.avi", *options, "--jsonl", "p.jsonl", "--frames", "60") == 0
    lines = json_lines(Path("p.jsonl").read_text())
    people = {line["source"]: len(line["people"]) for line in lines}
    assert people == {"walk.avi": 3, "door": 3, "yard": 2, "gate": 1}
    frames = {name: [one["frame"] for one in lines if one["source"] == name] for name in people}
    assert (frames["walk.avi"], frames["yard"]) == (list(range(8)), [0, 2, 4, 6])
    assert all(frame % 3 == 0 for frame in frames["door"])
    assert all_files("videos") == ["camera-0.mp4", "door.mp4", "gate.mp4", "yard.mp4"]
    output = capfd.readouterr()
    assert "[1] door: " in output.out
    assert "hunter2" not in output.out + output.err
    assert all(b"hunter2" not in Path(path).read_bytes() for path in all_files())


def test_keypoint_threshold_of_a_camera_changes_its_drawing(live: Command) -> None:
    write_walk("walk.avi", 3)
    Path("cameras.toml").write_text(
        "[cameras.a]\naddress = 'walk.avi'\n"
        "[cameras.b]\naddress = 'walk.avi'\nkeypoint_threshold = 1"
    )
    assert live("--cameras", "cameras.toml", "--no-track", "-o", "videos") == 0
    sizes = [Path(f"videos/{name}.mp4").stat().st_size for name in "ab"]
    assert sizes[0] > sizes[1]  # nothing is drawn in b


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cameras.a]\naddress = 0\nconf = 7", "camera a: conf is 7; expected a finite number 0"),
        ("[cameras.camera-0]\naddress = 'w.avi'", "two cameras would have files named camera-0"),
        ("[cameras.a]\naddress = 'rtsp://${GONE}/'", "there is no environment variable 'GONE'"),
    ],
)
def test_invalid_files_of_cameras_are_rejected(
    live: Command, capsys: Capture, text: str, message: str
) -> None:
    write_walk("w.avi", 2)
    Path("cameras.toml").write_text(text)
    assert live("w.avi", "--cameras", "cameras.toml", "--jsonl", "p.jsonl") == 2
    assert message in capsys.readouterr().err
    assert not Path("p.jsonl").exists()


# What predict does with other sources than files.


def test_predict_on_a_stream_does_what_live_does(predict: Command, capsys: Capture) -> None:
    with fake_camera() as camera:
        assert predict(camera.url, "--frames", "3", "--jsonl", "p.jsonl") == 0
    assert len(json_lines(Path("p.jsonl").read_text())) == 3
    assert frames_in(Path("out/camera-0.mp4")) == 3
    assert "3 frames of 1 source" in capsys.readouterr().out
    write_walk("walk.avi", 3)
    Path("cameras.toml").write_text("[cameras.walk]\naddress = 'walk.avi'")
    assert predict("--cameras", "cameras.toml", "--no-draw", "--jsonl", "q.jsonl") == 0
    assert {line["source"] for line in json_lines(Path("q.jsonl").read_text())} == {"walk"}
    assert all_files("out") == ["camera-0.mp4"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.png", "--seconds", "3"], "--seconds is about cameras and streams; expected one among"),
        (["a.png", "--loop"], "--loop is about cameras and streams; expected one among"),
        (["0", "--recursive"], "--recursive is about files; expected no camera or stream"),
        (["0", "--boxes", "b.json"], "--boxes is about files; expected no camera or stream"),
        (["env:GONE"], "env:GONE: no environment variable of this name, or it is empty"),
        (["@gone.txt"], "@gone.txt: cannot be read: No such file"),
        ([], "missing SOURCE ..."),
    ],
)
def test_options_that_do_nothing_for_a_source_are_rejected(
    predict: Command, capsys: Capture, args: list[str], message: str
) -> None:
    write_dot("a.png")
    assert predict(*args) == 2
    assert message in capsys.readouterr().err
    assert all_files() == ["a.png"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def test_images_are_fetched_by_address(predict: Command, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "web").mkdir()
    write_dot("a.png").rename(tmp_path / "web" / "street 1.png")
    write_dot("own.png", 30, 30)
    handler = partial(_Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        sources = [f"{url}/street%201.png?token=hunter2", "own.png", f"{url}/gone.jpg"]
        assert predict(*sources, "--json", "p.json") == 2
        server.shutdown()
    assert {record["file_name"] for record in records_of("p.json")} == {"street_1.png", "own.png"}
    assert all_files("out") == ["own.png", "street_1.png"]
    err = capsys.readouterr().err
    assert f"slimpose: {url}/gone.jpg: nothing is at this path (HTTP 404)" in err
    assert "hunter2" not in err


def test_subfolders_are_searched_on_request_and_kept_in_the_output(
    predict: Command, capsys: Capture
) -> None:
    for file in ("in/a.png", "in/x/a.png", "in/x/y/b.png", "in/.hidden/c.png", "in/x/.d.png"):
        write_dot(file)
    Path("in/x/notes.txt").write_text("no image")
    Path("in/x/circle").symlink_to("..", target_is_directory=True)
    assert predict("in", "-o", "flat") == 0
    assert all_files("flat") == ["a.png"]
    assert "1 subfolders are not searched (--recursive does)" in capsys.readouterr().err
    assert predict("in", "--recursive", "--json", "p.json") == 0
    assert all_files("out") == ["a.png", "x/a.png", "x/y/b.png"]
    names = [record["file_name"] for record in records_of("p.json")]
    assert names == ["in/a.png", "in/x/a.png", "b.png"]
    assert "notes.txt" in capsys.readouterr().err


# Outputs that exist.


def test_named_outputs_that_exist_are_refused_before_any_work(
    predict: Command, capsys: Capture
) -> None:
    write_dot("a.png")
    assert predict("a.png", *TEXT_OUTPUTS) == 0
    before = {path: Path(path).read_bytes() for path in all_files()}
    write_dot("a.png", 20, 60)
    before["a.png"] = Path("a.png").read_bytes()
    for option, file in (("--json", "p.json"), ("--csv", "p.csv"), ("--jsonl", "p.jsonl")):
        assert predict("a.png", option, file) == 2
        assert (
            capsys.readouterr().err
            == f"slimpose: {option} {file} exists; --overwrite replaces it\n"
        )
    assert predict("a.png", "--openpose", "op") == 2
    assert "--openpose op holds 1 files of these sources, such as a_000000000000_keypoints" in (
        capsys.readouterr().err
    )
    assert {path: Path(path).read_bytes() for path in all_files()} == before
    assert predict("a.png", *TEXT_OUTPUTS, "--overwrite") == 0
    after = {path: Path(path).read_bytes() for path in all_files()}
    assert after.keys() == before.keys()
    assert [path for path in after if after[path] == before[path]] == ["a.png"]


def test_files_of_other_inputs_in_an_openpose_folder_are_no_hindrance(predict: Command) -> None:
    write_dot("a.png")
    write_dot("b.png")
    assert predict("a.png", "--openpose", "op") == predict("b.png", "--openpose", "op") == 0
    assert len(all_files("op")) == 2


def test_left_files_of_a_longer_run_are_noted(predict: Command, capsys: Capture) -> None:
    write_walk("walk.avi", 5)
    assert predict("walk.avi", "--no-draw", "--openpose", "op") == 0
    options = ["--no-draw", "--openpose", "op", "--overwrite", "--to", "0.1"]
    assert predict("walk.avi", *options) == 0
    assert "NOTE: op still holds 2 files of an earlier, longer run" in capsys.readouterr().out


def test_repeated_live_run_loses_nothing(live: Command, capsys: Capture) -> None:
    write_walk("a.avi", 3)
    assert live("a.avi", "-o", "videos", "--mosaic", "m.mp4") == 0
    first = Path("videos/camera-0.mp4").read_bytes()
    assert live("a.avi", "-o", "videos", "--mosaic", "m.mp4") == 2
    assert "--mosaic m.mp4 exists; --overwrite replaces it" in capsys.readouterr().err
    assert live("a.avi", "-o", "videos", "--no-track") == 0
    assert "written: videos/camera-0-2.mp4" in capsys.readouterr().out
    assert Path("videos/camera-0.mp4").read_bytes() == first
    assert live("a.avi", "-o", "videos", "--mosaic", "m.mp4", "--no-track", "--overwrite") == 0
    assert Path("videos/camera-0.mp4").read_bytes() != first
    assert all_files("videos") == ["camera-0-2.mp4", "camera-0.mp4"]


def test_help_names_the_new_options(capsys: Capture) -> None:
    for command in ("predict", "live"):
        assert run_main(command, "--help") == 0
        text = capsys.readouterr().out
        for option in ("--conf", "--max-people", "--every", "--from", "--cameras", "--overwrite"):
            assert f"\n  {option} " in text or f"\n  {option}\n" in text, option
        assert "-m MODEL" in text
        assert "-o PATH" in text
