"""What an installed package has: the sample photos, the weights, and ``python -m slimpose``."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from slimpose.media.images import image_files
from slimpose.runtime.sample_photos import sample_photos_folder

ROOT = Path(__file__).parents[2]


def test_sample_photos_are_found() -> None:
    assert len(image_files(sample_photos_folder())) == 5


def test_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "slimpose", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("slimpose ")


@pytest.mark.slow
def test_wheel_has_photos_and_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for folder, suffix in (("photos", ".jpg"), ("weights", ".onnx")):
        source = ROOT / ("examples/photos" if folder == "photos" else "src/slimpose/weights")
        expected = {f"slimpose/{folder}/{path.name}" for path in source.glob(f"*{suffix}")}
        assert expected
        assert expected <= set(names)
