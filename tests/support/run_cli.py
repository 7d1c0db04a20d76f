"""Running commands in this process, or in a separate one that can be interrupted and killed."""

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
from slimpose.runtime import models
from synthetic_models import dot_image, write_detector_model, write_pose_model

Capture = pytest.CaptureFixture[str]
TEXT_OUTPUTS = ("--json", "p.json", "--csv", "p.csv", "--jsonl", "p.jsonl", "--openpose", "op")
DEADLINE_S = 60.0
"""Time limit of what takes a second on an idle machine."""


def write_models(folder: Path) -> list[str]:
    """Write synthetic models; return the options that select them."""
    folder.mkdir(exist_ok=True)
    pose = write_pose_model(folder / "pose.onnx")
    detector = write_detector_model(folder / "detector.onnx")
    return ["--model", str(pose), "--detector", str(detector), "--threads", "1"]


def in_work_folder(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Return a function that runs a command in an empty folder; it returns the exit code.

    The shipped models are replaced by synthetic ones.
    """
    weights = folder / "package"
    weights.mkdir()
    write_pose_model(weights / f"{models.DEFAULT_POSE}.onnx")
    write_detector_model(weights / "detector.onnx")
    monkeypatch.setattr(models, "WEIGHTS", weights)
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as exited:
            main([command, *map(str, arguments), "--threads", "1"])
        assert isinstance(exited.value.code, int)
        return exited.value.code

    return run


def all_files(folder: str = ".") -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()
    )


def write_walk(
    path: str | Path,
    frames: int,
    *,
    fps: float = 25.0,
    size: Size = Size(96, 96),
    codec: str = "MJPG",
) -> Path:
    """Write a video of a dot that moves right, and starts again from the left every 30 frames."""
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), fourcc, fps, (size.width, size.height))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(dot_image(size, 30 + number % 30, 40))
    writer.release()
    return Path(path)


def run_program(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Start ``slimpose`` in a folder; it reacts to Ctrl-C even if the shell ignores it."""
    handle_ctrl_c = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{handle_ctrl_c}; from slimpose.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a condition that becomes true soon, unless the process ends before."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
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
    """Return the number of frames of a video that can be decoded."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def write_dot(path: str, x: int = 50, y: int = 40, *, size: Size = Size(96, 96)) -> Path:
    """Write an image of a person that the synthetic models find; return its path."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(path, dot_image(size, x, y))
    return file


def write_dot_video(path: str, frames: int, *, codec: str = "mp4v") -> Path:
    """Write a video of one who walks at 10 frames per second."""
    return write_walk(path, frames, fps=10.0, codec=codec)


def records_of(path: str = "poses.json") -> list[dict[str, Any]]:
    """Return the records of a JSON output."""
    return json_records(Path(path))
