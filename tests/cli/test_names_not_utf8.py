"""Files whose names are not UTF-8, as from old archives: outputs hold them escaped."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from moving_person import poses_over_time, walk, write_csv
from run_cli import all_files, write_dot, write_models, write_walk
from run_main import run_main
from slimpose.arrays import Size
from slimpose.bulk.inputs import find_inputs
from slimpose.media.image_writer import write_image
from slimpose.media.images import read_image
from slimpose.skeleton import COCO17
from synthetic_models import dot_image

BAD = os.fsdecode(b"caf\xe9")
ESCAPED = r"caf\udce9"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_frames_and_labels_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    """OpenCV crashed when it was to write a frame in a folder of such a name."""
    write_walk("walk.avi", 4).rename(f"{BAD}.avi")
    models = write_models(Path("models"))
    options = ["--every", 2, "--copy-images", "frames", "--out", f"{BAD}.json"]
    assert run_main("label", f"{BAD}.avi", *options, *models) == 0, capsys.readouterr().err
    assert all_files("frames") == [f"{BAD}/000000.png", f"{BAD}/000001.png"]
    document = json.loads(Path(f"{BAD}.json").read_text())
    names = {image["file_name"] for image in document["images"]}
    assert names == set(all_files("frames"))
    assert run_main("check", f"{BAD}.json", "--images", "frames", "--allow", 99) == 0
    assert ESCAPED in Path("check/index.html").read_text("utf-8")


def test_image_is_written_and_read() -> None:
    image = dot_image(Size(24, 32), 5, 5)  # gray: equal in any order of the colors
    write_image(Path(f"{BAD}.png"), image)
    assert (read_image(Path(f"{BAD}.png")) == image).all()


def test_project_of_such_a_name() -> None:
    assert run_main("new-project", BAD, "--keypoints", "a", "b") == 0
    assert f"name = {json.dumps(ESCAPED)}" in Path(BAD, "skeleton.toml").read_text("utf-8")


def test_sources_of_an_archive_are_escaped() -> None:
    write_dot("in/a.png").rename(f"in/{BAD}.png")
    (found,) = find_inputs("in")
    assert found.source == f"{ESCAPED}.png"
    assert Path(found.address).is_file()


def test_motion_is_written_under_the_name() -> None:
    times_s = np.arange(20) / 25
    write_csv(Path("m.csv"), poses_over_time(walk(times_s), COCO17), times_s)
    for suffix in (".trc", ".mot", ".csv"):
        assert run_main("motion", "m.csv", "--out", f"{BAD}{suffix}") == 0
    assert ESCAPED in Path(f"{BAD}.trc").read_text("utf-8").splitlines()[0]


@pytest.mark.parametrize("command", ["predict", "verify"])
def test_model_file_of_such_a_name_is_rejected(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_models(Path("models"))
    shutil.move("models/pose.onnx", f"{BAD}.onnx")
    write_dot("a.png")
    arguments = {
        "predict": ["a.png", "--model", f"{BAD}.onnx"],
        "verify": ["mnv2", f"{BAD}.onnx"],
    }[command]
    assert run_main(command, *arguments) == 2
    assert capsys.readouterr().err == (
        f"slimpose: {ESCAPED}.onnx has a name that is not UTF-8; expected one that is (rename it)\n"
    )
