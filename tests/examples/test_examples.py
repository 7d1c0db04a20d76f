"""The scripts in examples/ run as documented (training: tests/docs runs it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import slimpose

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples/photos/000000544444.jpg"


def run_freely(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def run(script: str, *arguments: str | Path) -> str:
    done = run_freely(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_image_example_prints_keypoints_and_writes_a_drawing(tmp_path: Path) -> None:
    printed = run("image.py", IMAGE, tmp_path / "poses.png")
    lines = [line for line in printed.splitlines() if line]
    assert lines
    assert len(lines) % len(slimpose.COCO17.joints) == 0
    assert lines[0].startswith("nose ")
    drawing, image = cv2.imread(str(tmp_path / "poses.png")), cv2.imread(str(IMAGE))
    assert drawing is not None
    assert image is not None
    assert drawing.shape == image.shape
    assert not np.array_equal(drawing, image)


def test_camera_example_follows_people_in_a_video_file(tmp_path: Path) -> None:
    image = cv2.imread(str(IMAGE))
    assert image is not None
    image = cv2.resize(image, (320, 240))
    video = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(video, cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for _ in range(6):
        writer.write(image)
    writer.release()
    printed = run("camera.py", video)
    assert "frame 5  person 1  right wrist " in printed


@pytest.mark.parametrize("script", ["image.py", "camera.py", "train_own_data.py"])
def test_example_without_arguments_prints_its_usage(script: str) -> None:
    done = run_freely(script)
    assert done.returncode == 1
    assert f"python examples/{script} " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("camera.py", ["nothing.mp4"], "cannot open nothing.mp4"),
        ("image.py", ["nothing.jpg", "out.png"], "cannot read nothing.jpg"),
        ("image.py", [str(IMAGE), "no_such_folder/out.png"], "cannot write no_such_folder/out.png"),
    ],
)
def test_example_with_a_missing_file_fails_in_one_line(
    script: str, arguments: list[str], message: str
) -> None:
    done = run_freely(script, *arguments)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_examples_are_short() -> None:
    for script in (ROOT / "examples").glob("*.py"):
        assert len(script.read_text(encoding="utf-8").splitlines()) <= 40, script.name
