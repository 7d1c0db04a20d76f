"""``slimpose plan`` on synthetic models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from run_cli import Capture
from run_main import run_main
from slimpose.cli.plan import command_of
from slimpose.measure.planner import Plan, Setup
from slimpose.runtime import models
from slimpose.runtime.auto_backend import BackendChoice
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.session import Session
from synthetic_models import write_detector_model, write_pose_model

PLAN = Plan(
    setup=Setup(
        path=Path("good.onnx"),
        model="good",
        quality=0.5,
        detector=models.resolve(models.DEFAULT_DETECTOR),
        detector_quality=0.3,
        choice=BackendChoice(backend="openvino", precision="bf16"),
        precision="bf16",
        threads=2,
        call_ms=1.0,
        person_ms=3.0,
        detect_ms=20.0,
        frame_ms=4.0,
        crop_ms=0.2,
    ),
    detect_every=6,
    step_ms=1.0,
    utilization=0.1,
)


def test_command_has_all_options_that_are_not_the_default() -> None:
    assert command_of(PLAN) == (
        "slimpose live SOURCE ... --model good.onnx --backend openvino --precision bf16 "
        "--threads 2 --detect-every 6"
    )
    other = replace(PLAN, setup=replace(PLAN.setup, detector=Path("other.onnx")))
    assert "--detector other.onnx --backend" in command_of(other)


def test_command_of_a_one_stage_model_has_no_detector() -> None:
    command = command_of(replace(PLAN, setup=replace(PLAN.setup, detector=None), detect_every=1))
    assert command.endswith("--model good.onnx --backend openvino --precision bf16 --threads 2")


def test_command_has_a_backend_that_runs_the_detector_too() -> None:
    native = replace(PLAN.setup, path=Path("net.tflite"), choice=BackendChoice(backend="litert"))
    command = command_of(replace(PLAN, setup=native))
    assert "--model net.tflite --backend onnxruntime --threads" in command


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    pose = write_pose_model(tmp_path / "pose.onnx")
    detector = write_detector_model(tmp_path / "detector.onnx")
    fixed = ["--threads", "1", "--backend", "onnxruntime"]
    return ["--model", str(pose), *fixed, "--detector", str(detector)]


def test_light_load_is_planned_and_tested(options: list[str], capsys: Capture) -> None:
    load = ["--people", "2", "--cameras", "2", "--fps", "1", "--seconds", "0.3"]
    assert run_main("plan", *options, *load, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["trials"][-1]["fps"] >= 1
    assert document["trials"][-1]["people_per_frame"] == pytest.approx(2, abs=0.5)
    assert document["command"].startswith("slimpose live SOURCE ... --model ")
    assert "--threads 1" in document["command"]


def test_capacity_is_reported_if_the_load_is_not_sustained(
    options: list[str], capsys: Capture
) -> None:
    load = ["--people", "10", "--cameras", "2", "--fps", "1000", "--seconds", "0.2"]
    assert run_main("plan", *options, *load) == 1
    text = capsys.readouterr().out
    assert "This machine cannot sustain the load" in text
    assert "10 people, 2 cameras: " in text
    assert "slimpose live" not in text


def test_detector_that_a_backend_rejects_is_left_out(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    class RejectingSession(Session):
        def __init__(self, path: Path, **options: Any) -> None:
            if path.name == "int8.onnx":
                raise BackendError("int8.onnx: not on this processor")
            super().__init__(path, **options)

    rejected = str(write_detector_model(tmp_path / "int8.onnx"))
    monkeypatch.setattr("slimpose.runtime.auto_backend.Session", RejectingSession)
    load = ["--people", "1", "--fps", "1", "--seconds", "0.2"]
    assert run_main("plan", *options, rejected, *load, "--json") == 0
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert {Path(plan["detector"]).name for plan in plans} == {"detector.onnx"}
    only_rejected = [rejected if word.endswith("detector.onnx") else word for word in options]
    assert run_main("plan", *only_rejected, *load) == 2
    assert "not on this processor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--people", "0"], "people is 0"),
        (["--people", "2", "--fps", "-3"], "fps is -3"),
        (["--people", "2", "--headroom", "1"], "--headroom is 1; expected a share 0..0.9"),
        (["--people", "2", "--seconds", "0"], "--seconds is 0"),
        (["--people", "2", "--detector", "mnv2"], "mnv2.onnx: not a person detector; expected one"),
        (["--people", "2", "--model", "detector"], "detector.onnx: not a pose model; expected one"),
        (["--people", "2", "--backend", "tpu"], "no backend is named 'tpu'"),
        (
            ["--people", "2", "--backend", "ncnn"],
            "pose.onnx; expected a .ncnn.param file: slimpose export",
        ),
        (["--people", "2", "--photos", "/nowhere"], "no image folder /nowhere"),
    ],
)
def test_invalid_options_are_rejected(
    options: list[str], capsys: Capture, changed: list[str], message: str
) -> None:
    kept = [word for word in options if word not in ("--backend", "onnxruntime")]
    given = kept if "--backend" in changed else options
    assert run_main("plan", *given, *changed) == 2
    assert message in capsys.readouterr().err
