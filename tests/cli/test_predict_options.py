"""Options of ``predict`` as users of other pose tools type them, each with a changed result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from run_cli import (
    Capture,
    all_files,
    frames_in,
    in_work_folder,
    json_lines,
    records_of,
    write_dot,
    write_walk,
)
from slimpose.arrays import Size
from slimpose.media.images import read_image
from synthetic_models import write_detector_model

Predict = Callable[..., int]
SMALL, MIDDLE, LARGE = [-4, -6, 4, 6], [12, -10, 26, 10], [-40, -16, -18, 16]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """``slimpose predict`` in an empty folder; the detector finds three people of other sizes.

    They score 0.9, 0.5 and 0.4, and are 8, 14 and 22 pixels wide.
    """
    run = in_work_folder("predict", tmp_path, monkeypatch)
    write_detector_model(
        tmp_path / "package" / "detector.onnx",
        offsets=[SMALL, MIDDLE, LARGE],
        scores=[0.9, 0.5, 0.4],
    )
    return run


def widths(file: str = "p.json") -> list[int]:
    return [round(record["bbox"][2]) for record in records_of(file)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [8, 14, 22]),
        (["--conf", "0.45"], [8, 14]),
        (["--conf=0.95"], []),
        (["--max-people", "1"], [22]),
        (["--max-people", "2"], [14, 22]),
        (["--max-people", "1", "--conf", "0.45"], [14]),
    ],
)
def test_people_are_limited_by_score_and_number(
    predict: Predict, options: list[str], expected: list[int]
) -> None:
    write_dot("a.png")
    assert predict("a.png", "--json", "p.json", *options) == 0
    assert widths() == expected


def test_given_boxes_are_limited_too(predict: Predict) -> None:
    write_dot("a.png")
    assert predict("a.png", "--json", "b.json", "--no-draw") == 0
    options = ["--boxes", "b.json", "--max-people", "1", "--no-draw"]
    assert predict("a.png", *options, "--json", "p.json") == 0
    assert widths() == [22]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--max-people", "0"], "--max-people is 0; expected 1 or more"),
        (["--max-people", "2.5"], "--max-people is '2.5'; expected a whole number"),
        (["--conf", "40"], "--conf is 40; expected a number 0..1"),
        (["--line-width", "0"], "--line-width is 0; expected a number over 0, at most 255"),
        (["--line-width", "inf"], "--line-width is inf; expected a number over 0, at most 255"),
        (["--trails", "-1"], "--trails is -1; expected seconds, a number over 0"),
        (["--no-draw", "--trails", "1"], "--trails is about drawings; expected an output for"),
        (["--no-draw", "--black-background"], "--black-background is about drawings; expected"),
        (["-out", "there"], "unknown option '-out' (expected --out?)"),
        (["-model", "mnv2"], "unknown option '-model' (expected --model?)"),
        (["-o"], "--out has no value; expected a path"),
    ],
)
def test_invalid_values_are_rejected(
    predict: Predict, capsys: Capture, option: list[str], message: str
) -> None:
    write_dot("a.png")
    assert predict("a.png", *option) == 2
    assert message in capsys.readouterr().err
    assert all_files() == ["a.png"]


def test_short_names_and_old_names_work(predict: Predict, tmp_path: Path, capsys: Capture) -> None:
    write_dot("a.png")
    model = str(tmp_path / "package" / "hr.onnx")
    options = ["-m", model, "-o", "drawn", "--score-threshold", "0.45", "--joint-threshold=0.9"]
    assert predict("a.png", *options, "--json", "p.json") == 0
    assert all_files("drawn") == ["a.png"]
    assert widths() == [8, 14]
    err = capsys.readouterr().err
    assert "slimpose: --score-threshold is now --conf\n" in err
    assert "slimpose: --joint-threshold is now --keypoint-threshold\n" in err
    assert predict("a.png", "-m", "missing.onnx") == 2


# Drawings.


@pytest.fixture
def drawn(predict: Predict) -> Callable[..., np.ndarray]:
    """Draw an image of one large person with options; return the drawing."""

    def draw(*options: str) -> np.ndarray:
        if not Path("a.png").exists():
            image = np.full((480, 480, 3), 20, np.uint8)
            cv2.imwrite("a.png", cv2.circle(image, (250, 200), 15, (250, 250, 250), cv2.FILLED))
        folder = f"drawn{len(all_files())}"
        assert predict("a.png", "-o", folder, "--conf", "0.6", *options) == 0
        return read_image(Path(folder) / "a.png").astype(int)

    return draw


def read_input() -> np.ndarray:
    return read_image(Path("a.png")).astype(int)


def test_lines_have_the_width_that_was_asked_for(drawn: Callable[..., np.ndarray]) -> None:
    drawings = [drawn("--line-width", width) for width in ("1", "5", "20")]
    changed = [int((drawing != read_input()).any(axis=2).sum()) for drawing in drawings]
    assert changed == sorted(changed)
    assert changed[2] > 3 * changed[0] > 0


def test_keypoint_threshold_hides_keypoints(drawn: Callable[..., np.ndarray]) -> None:
    assert (drawn("--keypoint-threshold", "0.0") != read_input()).any()
    assert (drawn("--keypoint-threshold", "1") == read_input()).all()  # 250 / 255 is less


def test_boxes_and_labels_are_drawn_on_request(drawn: Callable[..., np.ndarray]) -> None:
    plain = drawn()
    boxes, labels = drawn("--draw-boxes"), drawn("--draw-labels")
    assert (boxes != plain).any()
    assert (labels != plain).any()
    assert not (boxes == labels).all()
    assert (drawn("--no-draw-boxes", "--no-draw-labels") == plain).all()


def test_background_is_black_on_request(drawn: Callable[..., np.ndarray]) -> None:
    plain, black = drawn(), drawn("--black-background")
    image = read_input()
    outside = (plain == image).all(axis=2)
    assert image[outside].any()
    assert not black[outside].any()
    assert (black == plain)[~outside].all(axis=1).mean() > 0.5  # the lines are the same


def last_frame(path: str) -> np.ndarray:
    capture, frame = cv2.VideoCapture(path), None
    while True:
        is_read, bgr = capture.read()
        if not is_read:
            assert frame is not None
            return frame.astype(int)
        frame = bgr


def test_tracked_people_have_trails_and_their_boxes_and_ids_can_be_hidden(
    predict: Predict, tmp_path: Path, capsys: Capture
) -> None:
    write_detector_model(tmp_path / "package" / "detector.onnx")
    write_walk("walk.avi", 20, size=Size(192, 192))
    frames = {}
    for name, options in {
        "plain": [],
        "short": ["--trails", "0.2"],
        "long": ["--trails", "5"],
        "bare": ["--no-draw-boxes", "--no-draw-labels"],
        "labels": ["--draw-labels"],
    }.items():
        assert predict("walk.avi", "-o", name, "--detect-every", "1", *options) == 0
        frames[name] = last_frame(f"{name}/walk.mp4")

    def differ(a: str, b: str) -> int:
        return int((np.abs(frames[a] - frames[b]).max(axis=2) > 60).sum())

    assert differ("long", "plain") > differ("short", "plain") > 0
    assert differ("bare", "plain") > 0
    assert differ("labels", "plain") > 0
    capsys.readouterr()
    write_dot("a.png")
    assert predict("a.png", "--trails", "1") == 0
    assert "NOTE: --trails drew nothing: no people were tracked" in capsys.readouterr().out


# Parts of videos.


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ([], list(range(20))),
        (["--every", "4"], [0, 4, 8, 12, 16]),
        (["--from", "0.5"], list(range(5, 20))),
        (["--to", "0:00:00.3"], [0, 1, 2]),
        (["--from", "0:0.5", "--to", "1.1", "--every", "3"], [6, 9]),
    ],
)
def test_parts_of_videos_are_processed_with_their_numbers_and_times(
    predict: Predict, options: list[str], frames: list[int]
) -> None:
    write_walk("walk.avi", 20, fps=10.0)
    assert predict("walk.avi", "--no-track", "--jsonl", "p.jsonl", *options) == 0
    lines = json_lines(Path("p.jsonl").read_text())
    assert [line["frame"] for line in lines] == frames
    times_s = [line["timestamp_s"] for line in lines]
    np.testing.assert_allclose(times_s, np.array(frames) / 10, atol=1e-3)
    assert frames_in(Path("out/walk.mp4")) == len(frames)


def test_time_after_the_end_is_reported_and_the_other_inputs_are_processed(
    predict: Predict, capsys: Capture
) -> None:
    write_walk("a.avi", 5, fps=10.0)
    write_walk("b.avi", 30, fps=10.0)
    assert predict("a.avi", "b.avi", "--from", "2", "--json", "p.json") == 2
    assert "a.avi: no frame from 2 to inf s (every: 1); the last frame is at 0.4 s" in (
        capsys.readouterr().err
    )
    assert {record["file_name"] for record in records_of("p.json")} == {"b.avi"}
    assert all_files("out") == ["b.mp4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--every", "0"], "--every is 0; expected 1 or more"),
        (["--from", "soon"], "--from is 'soon'; expected seconds or hours:minutes:seconds"),
        (["--from", "-3"], "--from"),
        (["--to", "1:2:3:4"], "--to is '1:2:3:4'; expected seconds or hours:minutes:seconds"),
        (["--to", "nan"], "--to is 'nan'; expected seconds"),
        (["--from", "2", "--to", "0:02"], "--to is 0:02; expected a time after --from 2 s"),
        (["--to", "0"], "--to is 0; expected a time after --from 0 s"),
    ],
)
def test_invalid_times_are_rejected(
    predict: Predict, capsys: Capture, options: list[str], message: str
) -> None:
    write_walk("walk.avi", 2)
    assert predict("walk.avi", *options) == 2
    assert message in capsys.readouterr().err
    assert all_files() == ["walk.avi"]


def test_times_for_images_only_are_noted(predict: Predict, capsys: Capture) -> None:
    write_dot("a.png")
    assert predict("a.png", "--from", "1") == 0
    assert "NOTE: --every, --from and --to are about videos; all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--kpt-thr", "0.3"], "unknown option '--kpt-thr' (here: --keypoint-threshold)"),
        (["--max_det=3"], "unknown option '--max_det=3' (here: --max-people)"),
        (["--vid-stride", "2"], "(here: --every)"),
        (["--source", "a.png"], "(here: SOURCE, without a name)"),
        (["--det_frequency", "4"], "(here: --detect-every)"),
        (["--exist-ok"], "(here: --overwrite)"),
        (["--drawboxes"], "(expected --draw-boxes?)"),
    ],
)
def test_options_of_other_tools_are_named_as_they_are_here(
    predict: Predict, capsys: Capture, option: list[str], message: str
) -> None:
    write_dot("a.png")
    assert predict("a.png", *option) == 2
    assert message in capsys.readouterr().err
    assert all_files() == ["a.png"]
