"""Missing packages: base dependencies are distinguished from extras, and each command works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moving_person import poses_over_time, walk, write_csv
from slimpose.runtime import installation
from slimpose.skeleton import COCO17

PROGRAM = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Block())
from slimpose.cli.main import main
main(sys.argv[2:])
"""


def run(module: str, *arguments: str, program: str = PROGRAM) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, module, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("module", ["cv2", "onnxruntime", "rich", "numpy", "jaxtyping"])
def test_missing_base_dependency_is_not_an_extra(module: str) -> None:
    message = run(module, "predict", "street.jpg")
    assert f"{module} " in message
    assert f"{module} of {module} " not in message
    assert "pip install" in message
    assert "[" not in message
    assert "train" not in message


def test_opencv_that_lost_its_files_is_installed_again() -> None:
    message = run("cv2", "predict", "street.jpg")
    assert "with another of opencv-python-headless, opencv-python" in message
    assert "pip install --force-reinstall --no-deps opencv-python" in message


def test_folder_that_the_other_opencv_left_is_not_taken_for_opencv(tmp_path: Path) -> None:
    (tmp_path / "cv2" / "data").mkdir(parents=True)
    hide = f"""
import importlib.machinery as machinery
find = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None: find(
        name, [{str(tmp_path)!r}] if name == "cv2" else path, target
    )
)
"""
    message = run("nothing", "predict", "street.jpg", program=hide + PROGRAM)
    assert "cv2 of opencv-python" in message


def test_missing_extra_is_installed_from_where_slimpose_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Distribution:
        def __init__(self, document: object) -> None:
            self.document = document

        def read_text(self, _: str) -> str | None:
            return None if self.document is None else json.dumps(self.document)

    cases = [
        (None, "pip install 'slimpose[train]'"),  # a package index
        (
            {"url": "file:///home/me/my%20clone", "dir_info": {"editable": True}},
            "pip install -e '/home/me/my clone[train]'",
        ),
        ({"url": "file:///src", "dir_info": {}}, "pip install '/src[train]'"),
        (
            {"url": "https://example.org/s.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "pip install 'slimpose[train] @ git+https://example.org/s.git'",
        ),
    ]
    for document, command in cases:
        distribution = Distribution(document)
        monkeypatch.setattr(
            installation.metadata, "distribution", lambda _, found=distribution: found
        )
        assert installation.install_extra("train") == command


def test_packages_of_motion_are_extras(tmp_path: Path) -> None:
    times_s = np.arange(9) / 25
    poses = write_csv(tmp_path / "a.csv", poses_over_time(walk(times_s), COCO17), times_s)
    for module, name in (("scipy", "a.trc"), ("ezc3d", "a.c3d")):
        message = run(module, "motion", str(poses), "--out", str(tmp_path / name))
        assert f"motion needs {module}" in message
        assert "[motion]'" in message


def test_packages_of_the_server_are_extras(tmp_path: Path) -> None:
    assert "[serve]'" in run("starlette", "serve")
    assert "[serve]'" in run("uvicorn", "serve")
    cameras = tmp_path / "cameras.toml"
    cameras.write_text("[cameras.a]\naddress = 0\n[mqtt]\naddress = 'mqtt://127.0.0.1'\n")
    message = run("paho", "serve", "--cameras", str(cameras), "--port", "0")
    assert "serve needs paho" in message
    assert "[mqtt]'" in message


def test_packages_of_bulk_are_an_extra() -> None:
    for module in ("ray", "pyarrow", "fsspec"):
        message = run(module, "bulk", "in", "--out", "out")
        assert f"bulk needs {module}" in message
        assert "[bulk]'" in message
    assert "join needs pyarrow" in run("pyarrow", "join", "out", "a.mp4", "--csv", "a.csv")
