"""Models of other projects on the command line: planted points come out to the pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from coco_documents import coco_document
from foreign_models import (
    DETECTOR_SIZE,
    JOINTS_PX,
    PERSON_BOX,
    SIZE,
    box_outputs,
    people_outputs,
    write_heatmaps,
    write_outputs,
    write_simcc,
)
from run_cli import json_lines, json_records, write_dot, write_dot_video
from run_main import run_main
from slimpose import geometry
from slimpose.media.images import read_image
from synthetic_models import write_pose_model

ONE_STAGE = sorted(people_outputs(17))
IMAGE = (192, 128)
"""Height and width: twice the detectors' input."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("slimpose.cli.options.doubts", lambda *_: [])
    cv2.imwrite("street.png", np.full((*IMAGE, 3), 90, np.uint8))
    return tmp_path


def keypoints_of(record: dict[str, Any]) -> np.ndarray:
    return np.array(record["keypoints"]).reshape(-1, 3)


def test_simcc_net_on_the_boxes_of_a_detector(capsys: Any) -> None:
    write_simcc(Path("rtm.onnx"))
    write_outputs(Path("pico.onnx"), DETECTOR_SIZE, box_outputs()["picodet"])
    models = ["--model", "rtm.onnx", "--detector", "pico.onnx"]
    assert run_main("predict", "street.png", *models, "--json", "poses.json") == 0
    (record,) = json_records(Path("poses.json"))
    box = 2 * np.array([PERSON_BOX], np.float32) + 0.5
    to_image = geometry.invert_affines(geometry.crop_affines(box, SIZE))
    (expected,) = geometry.transform_points(to_image, JOINTS_PX[None])
    np.testing.assert_allclose(keypoints_of(record)[:, :2], expected, atol=0.02)
    np.testing.assert_allclose(keypoints_of(record)[:, 2], 0.6, atol=1e-3)
    assert "1 image, 1 person; pico + rtm" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_one_stage_net_needs_no_detector(kind: str, capsys: Any) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)[kind])
    assert run_main("predict", "street.png", "--model", "net.onnx", "--json", "poses.json") == 0
    (record,) = json_records(Path("poses.json"))
    np.testing.assert_allclose(keypoints_of(record)[:, :2], 2 * JOINTS_PX + 0.5, atol=0.02)
    assert "1 image, 1 person; net, " in capsys.readouterr().out
    drawn, plain = read_image(Path("out/street.png")), read_image(Path("street.png"))
    assert (drawn != plain).any()


@pytest.mark.parametrize(("joints", "kind"), [(26, "rtmo"), (133, "yolo-pose-nms")])
def test_larger_skeletons_are_followed_smoothed_drawn_and_written(joints: int, kind: str) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(joints)[kind])
    write_dot_video("walk.mp4", 6)
    outputs = ["--jsonl", "p.jsonl", "--csv", "p.csv", "--json", "p.json"]
    assert run_main("predict", "walk.mp4", "--model", "net.onnx", *outputs) == 0
    people = [frame["people"] for frame in json_lines(Path("p.jsonl").read_text())]
    assert len(people) == 6
    assert [person["track_id"] for person in people[-1]] == [1]
    assert len(people[-1][0]["keypoints"]) == 3 * joints
    assert Path("out/walk.mp4").stat().st_size > 0


def test_one_stage_net_runs_live_on_two_cameras() -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)["rtmo"])
    for name in ("a.mp4", "b.mp4"):
        write_dot_video(name, 5)
    assert run_main("live", "a.mp4", "b.mp4", "--model", "net.onnx", "--jsonl", "p.jsonl") == 0
    frames = json_lines(Path("p.jsonl").read_text())
    assert len(frames) == 10
    assert {person["track_id"] for frame in frames for person in frame["people"]} == {1, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector", "pico.onnx"], "net finds people itself; expected no detector"),
        (["--boxes", "boxes.json"], "net.onnx finds people itself; expected no --boxes"),
        (["--model-kind", "yolox"], "expected the outputs of yolox"),
        (["--detector-kind", "yolo"], "was written by slimpose and says itself how it is run"),
        (["--tiles", "auto"], "tiles are for a person detector, and net finds people itself"),
        (["--mean", "1", "2"], "expected 3 finite numbers: R, G, B"),
        (["--skeleton", "halpe26"], "gives 17 joints; skeleton halpe26 has 26"),
    ],
)
def test_options_that_do_not_fit_are_rejected(
    options: list[str], message: str, capsys: Any
) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)["rtmo"])
    Path("boxes.json").write_text(json.dumps(coco_document()))
    write_dot("street.png")
    assert run_main("predict", "street.png", "--model", "net.onnx", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("net.toml").exists()


def test_what_is_said_about_a_file_is_remembered(capsys: Any) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, box_outputs()["rtmdet-nms"])
    write_heatmaps(Path("vit.onnx"), "corners")
    models = ["--model", "vit.onnx", "--detector", "net.onnx"]
    assert run_main("predict", "street.png", *models) == 2
    assert "could be of 2 kinds; expected --model-kind" in capsys.readouterr().err
    Path("net.toml").write_text('kind = "rtmdet-nms"\n')
    said = ["--model-kind", "vitpose", "--bgr", "--std", "50", "50", "50"]
    assert run_main("predict", "street.png", *models, *said, "--json", "a.json") == 0
    assert "how to run vit.onnx is remembered in vit.toml" in capsys.readouterr().err
    lines = Path("vit.toml").read_text().splitlines()[1:]
    assert lines == ['kind = "vitpose"', "std = [50.0, 50.0, 50.0]", "bgr = true"]
    assert run_main("predict", "street.png", *models, "--json", "b.json") == 0
    assert Path("a.json").read_text() == Path("b.json").read_text()
    (record,) = json_records(Path("a.json"))
    box = 2 * np.array([PERSON_BOX], np.float32) + 0.5
    to_image = geometry.invert_affines(geometry.crop_affines(box, SIZE))
    (expected,) = geometry.transform_points(to_image, JOINTS_PX[None])
    np.testing.assert_allclose(keypoints_of(record)[:, :2], expected, atol=0.5)


def test_what_is_said_about_a_detector_is_remembered(capsys: Any) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, box_outputs()["rtmdet-nms"])
    write_simcc(Path("rtm.onnx"))
    models = ["--model", "rtm.onnx", "--detector", "net.onnx"]
    said = ["--detector-kind", "rtmdet-nms", "--detector-bgr", "--detector-mean", "1", "2", "3"]
    assert run_main("predict", "street.png", *models, *said, "--json", "a.json") == 0
    assert "how to run net.onnx is remembered in net.toml" in capsys.readouterr().err
    lines = Path("net.toml").read_text().splitlines()[1:]
    assert lines == ['kind = "rtmdet-nms"', "mean = [1.0, 2.0, 3.0]", "bgr = true"]
    assert not Path("rtm.toml").exists()
    write_dot_video("walk.mp4", 2)
    assert run_main("live", "walk.mp4", *models, "--detector-std", "9", "9", "9") == 0
    assert "std = [9.0, 9.0, 9.0]" in Path("net.toml").read_text()
    capsys.readouterr()
    Path("truth.json").write_text(json.dumps(coco_document()))
    command = ["evaluate", "rtm.onnx", "--annotations", "truth.json", "--images", "."]
    assert run_main(*command, "--detector-kind", "yolox") == 2
    assert "--detector-kind is about the file of --detector, which" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--mean", "--std", "--detector-mean", "--detector-std"])
def test_message_names_the_option(option: str, capsys: Any) -> None:
    write_simcc(Path("rtm.onnx"))
    models = ["--model", "rtm.onnx", "--detector", "rtm.onnx"]
    assert run_main("predict", "street.png", *models, option, "1e9", "2", "3") == 2
    assert f"slimpose: {option} is 1000000000.0; expected" in capsys.readouterr().err


def test_shipped_models_need_no_settings(folder: Path, capsys: Any) -> None:
    write_pose_model(folder / "ours.onnx")
    assert run_main("predict", "street.png", "--model", "ours.onnx", "--bgr") == 2
    assert "was written by slimpose and says itself how it is run" in capsys.readouterr().err


def test_one_stage_net_is_evaluated(capsys: Any) -> None:
    pytest.importorskip("pycocotools")
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)["rtmo"])
    document = coco_document()
    document["images"][0] |= {"height": IMAGE[0], "width": IMAGE[1]}
    points = np.concatenate([2 * JOINTS_PX + 0.5, np.full((17, 1), 2)], axis=1)
    document["annotations"][0] |= {
        "keypoints": points.ravel().tolist(),
        "area": 4000.0,
        "bbox": [15.5, 7.5, 64.0, 96.0],
    }
    Path("truth.json").write_text(json.dumps(document))
    command = ["evaluate", "net.onnx", "--annotations", "truth.json", "--images", "."]
    assert run_main(*command, "--json", "figures.json", "--analyze", "page") == 0
    figures = json.loads(Path("figures.json").read_text())
    assert figures["AP"] == pytest.approx(1.0)
    assert Path("page/index.html").is_file()
    assert run_main(*command, "--flip") == 2
    assert "--flip: only for pose models of crops" in capsys.readouterr().err


@pytest.fixture
def theirs() -> list[str]:
    """A heatmap network and a detector of other projects, and the options that name them."""
    write_heatmaps(Path("theirs.onnx"))
    write_outputs(Path("pico.onnx"), DETECTOR_SIZE, box_outputs()["picodet"])
    return ["--model", "theirs.onnx", "--detector", "pico.onnx"]


def test_benchmark_times_them(theirs: list[str], capsys: Any) -> None:
    command = ["benchmark", *theirs, "--people", "1", "--rounds", "2", "--seconds", "0.2"]
    assert run_main(*command, "--threads", "1", "--no-memory", "--photos", ".", "--json") == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert {row["name"].split()[0] for row in document["alone"]} == {"theirs", "pico"}
    assert all(row["median_ms"] > 0 and row["share_of_peak"] is None for row in document["alone"])
    assert {row["people"] for row in document["pipeline"]} == {1}


def test_benchmark_times_one_stage_nets_without_a_detector(theirs: list[str], capsys: Any) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)["rtmo"])
    command = ["benchmark", "--model", "net.onnx", *theirs[2:], "--people", "1", "--photos", "."]
    options = ["--rounds", "2", "--seconds", "0.2", "--threads", "1", "--no-memory", "--json"]
    options += ["--backend", "onnxruntime"]
    assert run_main(*command, *options) == 0
    (row,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["pipeline"]
    assert (row["name"].split()[0], row["people_per_frame"]) == ("net", 1.0)
    assert row["stages_ms"]["pose"] > 0


def test_plan_chooses_them(theirs: list[str], capsys: Any) -> None:
    load = ["--people", "1", "--fps", "1", "--seconds", "0.2", "--photos", "."]
    options = ["--threads", "1", "--backend", "onnxruntime", "--json"]
    assert run_main("plan", *theirs, *load, *options) == 0
    command = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["command"]
    assert "--model theirs.onnx --detector pico.onnx" in command


def test_plan_tries_one_stage_nets_without_a_detector(theirs: list[str], capsys: Any) -> None:
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)["yolo-pose"])
    load = ["--people", "1", "--fps", "1", "--seconds", "0.2", "--photos", ".", "--threads", "1"]
    command = ["plan", "--model", "net.onnx", *theirs[2:], *load]
    assert run_main(*command, "--backend", "onnxruntime", "--json") == 0
    result = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    expected = "slimpose live SOURCE ... --model net.onnx --backend onnxruntime --threads 1"
    assert result["command"] == expected
    (found,), (trial,) = result["plans"], result["trials"]
    assert (found["detector"], found["detect_every"], found["person_ms"]) == (None, 1, 0)
    assert found["step_ms"] == found["frame_ms"] > 0
    assert trial["people_per_frame"] == 1
    assert run_main(*command) == 0
    assert "net found 1.0 people per frame" in capsys.readouterr().out
    too_much = ["--model", "theirs.onnx", "--cameras", "64", "--fps", "1000", "--json"]
    assert run_main(*command, *too_much, "--backend", "onnxruntime") == 1
    plans = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["plans"]
    found = {(plan["model"], plan["detector"], plan["detect_every"]) for plan in plans}
    assert found == {("net", None, 1), ("theirs", "pico.onnx", 32)}


def test_verify_compares_them(theirs: list[str], capsys: Any) -> None:
    Path("truth.json").write_text(json.dumps(truth_of_the_street()))
    data = ["--images", ".", "--annotations", "truth.json", "--json"]
    assert run_main("verify", theirs[1], theirs[1], *data, "--max-px", "0.01") == 0
    drift = json.loads(capsys.readouterr().out)
    assert (drift["people"], drift["joints"], drift["max_px"]) == (1, 17, 0.0)
    write_simcc(Path("rtm.onnx"))  # its joints lie at whole pixels, as those of the heatmaps
    assert run_main("verify", theirs[1], "rtm.onnx", *data, "--max-px", "1") == 0
    assert run_main("verify", theirs[1], "pico.onnx", *data) == 2
    assert "pico.onnx is a detect model; expected a pose model" in capsys.readouterr().err


def test_verify_compares_one_stage_nets_on_whole_images(capsys: Any) -> None:
    outputs = people_outputs(17)
    moved = {name: array.copy() for name, array in outputs["rtmo"].items()}
    moved["keypoints"][..., 0] += 1.5  # 3 pixels of the image, which is twice the input
    twice = {name: array.copy() for name, array in moved.items()}
    twice["dets"][0, 1] = [2, 60, 30, 90, 0.9]
    twice["keypoints"][0, 1] = [16, 75, 0.9]
    for name, arrays in (("b", moved), ("c", twice)):
        write_outputs(Path(f"{name}.onnx"), DETECTOR_SIZE, arrays)
    write_outputs(Path("a.onnx"), DETECTOR_SIZE, outputs["yolo-pose-nms"])

    def drift_of(b: str, *options: str, status: int = 0) -> dict[str, Any]:
        assert run_main("verify", "a.onnx", b, "--images", ".", "--json", *options) == status
        return json.loads(capsys.readouterr().out)

    same = drift_of("a.onnx@openvino", "--max-px", "0.01")
    assert (same["people"], same["joints"], same["pixels"], same["oks_min"]) == (1, 17, "image", 1)
    drift = drift_of("b.onnx", "--max-px", "3.1")
    assert (drift["mean_px"], drift["max_px"]) == pytest.approx((3, 3), abs=1e-3)
    assert (
        "the largest distance is 3.000 px"
        in drift_of("b.onnx", "--max-px", "2", status=1)["broken"][0]
    )
    more = drift_of("c.onnx", "--max-px", "3.1", status=1)
    assert (more["people"], more["unmatched_a"], more["unmatched_b"]) == (1, 0, 1)
    assert more["broken"] == ["people that only one model finds: 1; 0 are allowed"]
    assert run_main("verify", "c.onnx", "a.onnx", "--images", ".") == 0
    assert "unmatched 1 only in c.onnx, 0 only in a.onnx" in capsys.readouterr().out


def test_verify_compares_a_one_stage_net_with_a_net_of_crops(
    theirs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("slimpose.cli.verify.DEFAULT_DETECTOR", theirs[3])
    monkeypatch.setattr("slimpose.cli.verify.check_detector_of", lambda *_: None)
    write_outputs(Path("net.onnx"), DETECTOR_SIZE, people_outputs(17)["rtmo"])
    assert run_main("verify", "net.onnx", theirs[1], "--images", ".", "--json") == 0
    drift = json.loads(capsys.readouterr().out)
    assert (drift["people"], drift["unmatched_a"], drift["unmatched_b"]) == (1, 0, 0)
    box = 2 * np.array([PERSON_BOX], np.float32) + 0.5
    to_image = geometry.invert_affines(geometry.crop_affines(box, SIZE))
    (points,) = geometry.transform_points(to_image, JOINTS_PX[None])
    expected = np.linalg.norm(points - (2 * JOINTS_PX + 0.5), axis=1)
    assert drift["max_px"] == pytest.approx(float(expected.max()), abs=0.5)
    write_outputs(Path("whole.onnx"), DETECTOR_SIZE, people_outputs(133)["rtmo"])
    for options, message in (
        (["whole.onnx"], "expected the same joints in both"),
        ([theirs[1], "--annotations", "truth.json"], "find people themselves; expected no --ann"),
    ):
        assert run_main("verify", "net.onnx", *options, "--images", ".") == 2
        assert message in capsys.readouterr().err


def test_evaluate_measures_them(theirs: list[str]) -> None:
    pytest.importorskip("pycocotools")
    Path("truth.json").write_text(json.dumps(truth_of_the_street()))
    data = ["--annotations", "truth.json", "--images", ".", "--json", "figures.json"]
    assert run_main("evaluate", theirs[1], *data) == 0
    assert json.loads(Path("figures.json").read_text())["AP"] == pytest.approx(1.0)
    assert run_main("evaluate", theirs[1], *data, "--boxes", "detector", *theirs[2:]) == 0
    figures = json.loads(Path("figures.json").read_text())
    assert (figures["people"], figures["AP"]) == (1, pytest.approx(1.0))
    assert run_main("evaluate", theirs[3], *data) == 0
    assert json.loads(Path("figures.json").read_text())["AP"] == pytest.approx(1.0)


def test_compare_has_rows_of_them(theirs: list[str], capsys: Any) -> None:
    pytest.importorskip("pycocotools")
    Path("truth.json").write_text(json.dumps(truth_of_the_street()))
    write_outputs(Path("rtmo.onnx"), DETECTOR_SIZE, people_outputs(17)["rtmo"])
    files = [theirs[1], theirs[3], "rtmo.onnx"]
    options = ["--annotations", "truth.json", "--images", ".", "--rounds", "1", "--threads", "1"]
    assert run_main("compare", *files, *options, "--out", "report", "--json") == 0
    output = capsys.readouterr()
    systems = {row["system"]: row for row in json.loads(output.out)["systems"]}
    assert {name: row["task"] for name, row in systems.items()} == {
        "theirs": "pose",
        "pico": "detect",
        "rtmo": "one-stage",
    }
    assert systems["theirs"]["measured"]["AP"] == pytest.approx(1.0)
    assert systems["pico"]["measured"]["AP"] == pytest.approx(1.0)
    assert systems["pico"]["note"].startswith("A person detector: its time is per image")
    assert all(row["ms"]["1"] > 0 for row in systems.values())
    assert Path("report/compare.svg").is_file()


def truth_of_the_street() -> dict[str, Any]:
    """Return COCO annotations of one person where the synthetic models find them."""
    x1, y1, x2, y2 = box = 2 * np.array(PERSON_BOX, np.float32) + 0.5
    to_image = geometry.invert_affines(geometry.crop_affines(box[None], SIZE))
    (points,) = geometry.transform_points(to_image, JOINTS_PX[None])
    document: dict[str, Any] = coco_document()
    document["images"][0] |= {"height": IMAGE[0], "width": IMAGE[1]}
    document["annotations"][0] |= {
        "keypoints": np.concatenate([points, np.full((17, 1), 2)], axis=1).ravel().tolist(),
        "area": 4000.0,
        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
    }
    return document
