"""The scripts in examples/ run as documented (training: tests/docs runs it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import slimpose

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples/photos/000000544444.jpg"


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


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


def test_examples_are_short() -> None:
    for script in (ROOT / "examples").glob("*.py"):
        assert len(script.read_text(encoding="utf-8").splitlines()) <= 40, script.name
