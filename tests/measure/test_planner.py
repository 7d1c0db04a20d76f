"""What is planned from given times, and ``slimpose plan`` itself on synthetic models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimpose.cli.main import main
from slimpose.cli.plan import command_of, quality_of
from slimpose.measure.planner import (
    Load,
    Plan,
    Setup,
    headroom_of,
    intervals,
    plans,
    slowest_plans,
    split_fixed_and_per_person_ms,
)
from slimpose.runtime import models
from slimpose.runtime.auto_backend import BackendChoice
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.session import Session
from synthetic_models import write_detector_model, write_pose_model

LOAD = Load(people=5, cameras=2, fps=10.0)
GOOD = Setup(
    path=Path("good.onnx"),
    model="good",
    quality=0.5,
    detector=models.resolve(models.DEFAULT_DETECTOR),
    detector_quality=0.3,
    choice=BackendChoice(),
    precision="fp32",
    threads=2,
    call_ms=1.0,
    person_ms=5.0,
    detect_ms=20.0,
    frame_ms=4.0,
    crop_ms=0.2,
)
QUICK = replace(GOOD, model="quick", quality=0.4, person_ms=1.0)
BF16 = replace(
    GOOD,
    choice=BackendChoice(backend="openvino", precision="bf16"),
    precision="bf16",
    person_ms=3.0,
)


def test_a_step_is_the_sum_of_its_parts() -> None:
    # Two pictures of five people: 2 * (4 + 5 * 0.2) + 1 + 10 * 5, and a detection of 20 ms every
    # fourth picture.
    assert GOOD.step_ms(LOAD, 4) == pytest.approx(10 + 51 + 2 * 20 / 4)


def test_the_shortest_interval_that_leaves_the_headroom_is_taken() -> None:
    # 61 + 40/k of 100 ms; 90 may be used: k = 2 gives 81.
    (plan,) = plans([GOOD], LOAD, headroom=0.1)
    assert (plan.detect_every, plan.step_ms, plan.share) == (
        2,
        pytest.approx(81),
        pytest.approx(0.81),
    )
    (tight,) = plans([GOOD], LOAD, headroom=0.3)
    assert tight.detect_every == 6
    assert plans([GOOD], LOAD, headroom=0.5) == []


@pytest.mark.parametrize(
    ("setups", "fps", "expected"),
    [
        ([QUICK, GOOD], 10.0, "good"),  # the better model, though the other detects more often
        ([QUICK, GOOD], 16.0, "quick"),  # 62.5 ms: the better one has no time left
    ],
)
def test_the_better_model_comes_first_where_it_keeps_up(
    setups: list[Setup], fps: float, expected: str
) -> None:
    assert plans(setups, replace(LOAD, fps=fps), headroom=0.0)[0].setup.model == expected


def test_of_two_detectors_the_better_comes_first_and_the_faster_of_equals() -> None:
    small = replace(GOOD, detector=Path("small.onnx"), detect_ms=10.0)
    assert plans([GOOD, small], LOAD, headroom=0.1)[0].setup.detector == Path(
        "small.onnx"
    )  # detects more often
    lesser = replace(small, detector_quality=0.2)
    assert plans([lesser, GOOD], LOAD, headroom=0.1)[0].setup.detector == GOOD.detector
    assert (
        plans([lesser, GOOD], replace(LOAD, fps=15.0), headroom=0.0)[0].setup.detector
        == GOOD.detector
    )
    no_time_left = replace(
        LOAD, fps=15.3
    )  # 65.4 ms: 61, and at the shortest 40/12 or 20/12, beyond GOOD_INTERVAL
    assert plans([GOOD, lesser], no_time_left, headroom=0.0)[0].setup.detector == Path("small.onnx")


def test_the_files_own_precision_comes_first_where_the_interval_is_the_same() -> None:
    assert (
        plans([BF16, replace(GOOD, person_ms=3.1)], LOAD, headroom=0.1)[0].setup.precision == "fp32"
    )
    assert (
        plans([BF16, GOOD], LOAD, headroom=0.1)[0].setup.precision == "bf16"
    )  # detects at every picture


def test_a_long_interval_is_worse_than_a_lesser_model() -> None:
    # 24 a second leave 41.7 ms; both take 21, and detection 400/k or 40/k: k = 24, and k = 2.
    load = replace(LOAD, fps=24.0)
    slow = replace(GOOD, person_ms=1.0, detect_ms=200.0)
    first, last = plans([slow, QUICK], load, headroom=0.0)
    assert (first.setup.model, last.setup.model) == ("quick", "good")
    assert first.detect_every <= 8 < last.detect_every


def test_somebody_new_is_seen_within_a_second() -> None:
    assert intervals(10.0) == [1, 2, 3, 4, 6, 8]
    assert intervals(0.5) == [1]
    assert intervals(60.0)[-1] == 32


loads = st.builds(
    Load,
    people=st.integers(1, 20),
    cameras=st.integers(1, 8),
    fps=st.floats(0.5, 60.0),
)


@given(loads, st.floats(0.0, 0.5))
def test_whatever_is_planned_fits(load: Load, headroom: float) -> None:
    for plan in plans([GOOD, QUICK, BF16], load, headroom=headroom):
        assert plan.step_ms <= (1 - headroom) * 1e3 / load.fps * (1 + 1e-9)
        assert plan.detect_every <= max(1.0, load.fps)


@settings(max_examples=25)
@given(loads)
def test_what_is_said_to_be_in_reach_can_be_planned(load: Load) -> None:
    could = headroom_of([GOOD, BF16], load, headroom=0.1)
    for changed, found in (
        ("people", could.people),
        ("cameras", could.cameras),
        ("fps", could.fps),
    ):
        if found > 0:
            assert plans([GOOD, BF16], replace(load, **{changed: found}), headroom=0.1)


def test_reach_by_hand() -> None:
    # 90 ms for 10 + 1 + 5 * 2 * n ... of n people in each of two cameras: 2 * (4 + 0.2 n) + 1 + 10
    # n + 40 / 8.
    assert headroom_of([GOOD], LOAD, headroom=0.1).people == 7
    assert headroom_of([GOOD], replace(LOAD, fps=1000.0), headroom=0.1).people == 0


def test_where_nothing_keeps_up_the_fastest_is_told_first() -> None:
    assert [
        plan.setup.model for plan in slowest_plans([GOOD, QUICK], replace(LOAD, fps=100.0))
    ] == [
        "quick",
        "good",
    ]


@given(st.floats(0.0, 50.0), st.floats(0.01, 50.0), st.integers(2, 40))
def test_times_of_a_call_and_a_person_come_back(
    call_ms: float, person_ms: float, many: int
) -> None:
    found = split_fixed_and_per_person_ms(call_ms + person_ms, call_ms + many * person_ms, many)
    np.testing.assert_allclose(found, (call_ms, person_ms), atol=1e-6, rtol=1e-4)


def test_times_that_noise_has_turned_round_are_never_negative() -> None:
    assert split_fixed_and_per_person_ms(10.0, 8.0, 4) == (8.0, 0.0)
    assert split_fixed_and_per_person_ms(7.0, 7.0, 1) == (0.0, 7.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": 0}, r"people is 0; expected 1\.\.200"),
        ({"cameras": -1}, r"cameras is -1; expected 1\.\.64"),
        ({"fps": 0.0}, "fps is 0; expected pictures a second, over 0"),
        ({"fps": float("nan")}, "fps is nan"),
    ],
)
def test_a_load_out_of_bounds_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LOAD, **changes)


def test_the_command_says_all_that_is_not_the_default() -> None:
    plan = Plan(setup=BF16, detect_every=6, step_ms=1.0, share=0.1)
    assert command_of(plan) == (
        "slimpose live SOURCE ... --model good.onnx --backend openvino --precision bf16 --threads 2 --detect-every 6"
    )
    mine = replace(plan, setup=replace(BF16, detector=Path("mine.onnx")))
    assert "--detector mine.onnx --backend" in command_of(mine)


def test_the_command_names_a_backend_that_the_detector_can_have_too() -> None:
    own = replace(GOOD, path=Path("net.tflite"), choice=BackendChoice(backend="litert"))
    command = command_of(Plan(setup=own, detect_every=6, step_ms=1.0, share=0.1))
    assert "--model net.tflite --backend onnxruntime --threads" in command


def test_shipped_models_tell_their_ap_and_a_smaller_file_what_it_lost() -> None:
    opened = {name: Session(path, threads=1) for name, path in models.shipped().items()}
    quality = {
        name: quality_of(model) for name, model in opened.items() if model.info.task == "pose"
    }
    assert set(quality) == {"mnv2", "mnv2-int8"}
    assert (
        0.5 < quality["mnv2-int8"] < quality["mnv2"] < quality["mnv2-int8"] + 0.005
    )  # the promise of quantize


def test_a_model_that_does_not_tell_has_no_quality(tmp_path: Path) -> None:
    assert quality_of(Session(write_pose_model(tmp_path / "pose.onnx"))) == 0


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    pose, detector = (
        write_pose_model(tmp_path / "pose.onnx"),
        write_detector_model(tmp_path / "detector.onnx"),
    )
    return [
        "plan",
        "--model",
        str(pose),
        "--threads",
        "1",
        "--backend",
        "onnxruntime",
        "--detector",
        str(detector),
    ]


def exit_code(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_light_load_is_planned_and_proven(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    load = ["--people", "2", "--cameras", "2", "--fps", "1", "--seconds", "0.3"]
    assert exit_code([*words, *load, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["proofs"][-1]["fps"] >= 1
    assert told["proofs"][-1]["people"] == pytest.approx(2, abs=0.5)
    assert told["command"].startswith("slimpose live SOURCE ... --model ")
    assert "--threads 1" in told["command"]


def test_what_cannot_be_kept_up_with_says_what_could(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        exit_code([*words, "--people", "10", "--cameras", "2", "--fps", "1000", "--seconds", "0.2"])
        == 1
    )
    text = capsys.readouterr().out
    assert "This cannot be kept up with here" in text
    assert "10 people, 2 cameras: " in text
    assert "slimpose live" not in text


def test_a_detector_that_a_backend_refuses_is_left_out(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Choosy(Session):
        def __init__(self, path: Path, **options: Any) -> None:
            if path.name == "int8.onnx" and options:  # not where the film's people are looked for
                raise BackendError("int8.onnx: not on this processor")
            super().__init__(path, **options)

    refused = str(write_detector_model(tmp_path / "int8.onnx"))
    monkeypatch.setattr("slimpose.cli.plan.Session", Choosy)
    load = ["--people", "1", "--fps", "1", "--seconds", "0.2"]
    assert exit_code([*words, refused, *load, "--json"]) == 0
    assert {Path(one["detector"]).name for one in json.loads(capsys.readouterr().out)["plans"]} == {
        "detector.onnx"
    }
    only_refused = [refused if word.endswith("detector.onnx") else word for word in words]
    assert exit_code([*only_refused, *load]) == 2
    assert "not on this processor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--people", "0"], "people is 0"),
        (["--people", "2", "--fps", "-3"], "fps is -3"),
        (["--people", "2", "--headroom", "1"], "--headroom is 1; expected a share 0..0.9"),
        (["--people", "2", "--seconds", "0"], "--seconds is 0"),
        (["--people", "2", "--detector", "mnv2"], "no person detector among /"),
        (["--people", "2", "--model", "detector", "detector-int8"], "no pose net among /"),
        (["--people", "2", "--backend", "tpu"], "no backend is named 'tpu'"),
        (
            ["--people", "2", "--backend", "ncnn"],
            "pose.onnx; expected a .ncnn.param file: slimpose export",
        ),
        (["--people", "2", "--photos", "/nowhere"], "no image folder /nowhere"),
    ],
)
def test_bad_options_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    given = [
        word
        for word in words
        if "--backend" not in options or word not in ("--backend", "onnxruntime")
    ]
    assert exit_code([*given, *options]) == 2
    assert message in capsys.readouterr().err
