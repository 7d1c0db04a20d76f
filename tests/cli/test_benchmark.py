"""``slimpose benchmark`` on synthetic models."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from foreign_models import write_relu
from run_cli import Capture
from run_main import run_main
from slimpose.runtime.timing import CallTimes, time_interleaved


def test_json_has_all_measurements_and_a_console_gets_tables_only(
    pose: Path, detector: Path, tmp_path: Path, capsys: Capture
) -> None:
    models = "--model", pose, "--detector", detector, "--peers", write_relu(tmp_path / "raw.onnx")
    options = "--quick", "--people", "1", "2", "--threads", "1", "--backend", "onnxruntime"
    assert run_main("benchmark", *models, *options, "--no-pipeline", "--no-memory") == 0
    tables = capsys.readouterr().out
    assert "ms per call" in tables
    assert "{" not in tables
    assert run_main("benchmark", *models, *options, "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    alone = {(row["name"], row["people"]) for row in document["alone"]}
    pose_name, detector_name = "pose onnxruntime fp32", "detector onnxruntime fp32"
    assert alone == {(pose_name, 1), (pose_name, 2), ("raw", 1), (detector_name, 1)}
    for row in document["alone"]:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert (row["share_of_peak"] is None) == (row["name"] == "raw")
    assert [row["people"] for row in document["pipeline"]] == [1, 2]
    assert document["machine"]["threads"] >= 1
    assert document["peak_gmac_per_s"]["1"]["int8"] > 0
    assert document["quick"] is True
    if sys.platform == "linux":
        assert [row["name"] for row in document["memory"]] == ["pose onnxruntime"]
        assert document["memory"][0]["peak_mb"] >= document["memory"][0]["before_mb"] > 10


def test_files_of_one_name_are_both_timed_for_the_requested_rounds(
    pose: Path,
    detector: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = tmp_path / "twin" / pose.name
    twin.parent.mkdir()
    shutil.copyfile(pose, twin)
    requested: list[int] = []

    def counted(calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, CallTimes]:
        requested.append(rounds)
        return time_interleaved(calls, rounds=rounds)

    monkeypatch.setattr("slimpose.measure.benchmark.time_interleaved", counted)
    models = "--model", pose, twin, "--detector", detector
    skipped = "--quick", "--no-pipeline", "--no-memory"
    options = "--rounds", "5", "--people", "1", "--threads", "1", "--backend", "onnxruntime"
    assert run_main("benchmark", *models, *skipped, *options, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["alone"]] == [
        f"{pose} onnxruntime fp32",
        f"{twin} onnxruntime fp32",
        "detector onnxruntime fp32",
    ]
    assert requested == [5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--people", "0"), "--people is 0; expected numbers of 1 or more"),
        (("--threads", "1", "-1"), "--threads is 1, -1; expected"),
        (("--seconds", "0"), "--seconds is 0; expected a number over 0"),
        (("--rounds", "0"), "--rounds is 0"),
        (("--backend", "tpu"), "no backend is named 'tpu'"),
        (
            ("--backend", "ncnn"),
            r"(ncnn does not read .*; expected a \.ncnn\.param file|ncnn is not installed)",
        ),
        (("--precision", "fp7"), "nothing here runs .* in fp7; see slimpose doctor"),
        (("--peers", "/nowhere.onnx"), "no model file /nowhere.onnx"),
    ],
)
def test_invalid_options_are_rejected(
    pose: Path,
    detector: Path,
    capsys: Capture,
    options: tuple[str, ...],
    message: str,
) -> None:
    threads = ["--threads", "1"] if "--threads" not in options else []
    models = "--model", pose, "--detector", detector
    assert run_main("benchmark", *models, "--no-pipeline", "--quick", *threads, *options) == 2
    assert re.search(message, capsys.readouterr().err)
