"""Verbs run in this process, or in one of their own, so that they can be interrupted and killed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from slimpose.arrays import Size
from slimpose.cli.main import main
from synthetic_models import dot_image, write_detector_model, write_pose_model

DEADLINE_S = 60.0
"""For what takes a second on a quiet machine."""


def write_models(folder: Path) -> list[str]:
    """Write synthetic models; return the options that name them."""
    folder.mkdir(exist_ok=True)
    pose, detector = (
        write_pose_model(folder / "pose.onnx"),
        write_detector_model(folder / "detector.onnx"),
    )
    return ["--model", str(pose), "--detector", str(detector), "--threads", "1"]


def in_a_work_folder(
    verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Return the verb with synthetic weights, in an empty folder of this process; it returns the exit code."""
    options = write_models(folder / "models")
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*words: str | Path) -> int:
        given = (
            options if "--boxes" not in words else [*options[:2], *options[4:]]
        )  # they take no detector
        with pytest.raises(SystemExit) as ended:
            main([verb, *map(str, words), *given])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


def all_files(folder: str = ".") -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()
    )


def write_walk(path: Path, frames: int, *, fps: float = 25.0, size: Size = Size(96, 96)) -> Path:
    """A film of a dot that walks right, and starts over from the left every 30 frames."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (size.width, size.height)
    )
    assert writer.isOpened()
    for number in range(frames):
        writer.write(dot_image(size, 30 + number % 30, 40))
    writer.release()
    return path


def start(*words: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Start ``slimpose`` in a folder; it hears Ctrl-C even where a shell started the tests with it ignored."""
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{hears}; from slimpose.cli.main import main; main()",
            *map(str, words),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something that will be so soon, unless the process ends before."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def json_records(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def frames_in(path: Path) -> int:
    """How many frames of a film can be decoded."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while capture.read()[0]:
        count += 1
    return count
