"""Pipelines and followers in other processes: pickled, spawned, forked."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import slimpose
from slimpose.arrays import Size
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from synthetic_models import dot_image

IMAGE = dot_image(Size(96, 96), 50, 40)


@pytest.fixture
def pipeline(pose: Path, detector: Path) -> Pipeline:
    return slimpose.load(pose, detector, threads=1, conf=0.35)


def session_of(pipeline: Pipeline) -> Session:
    session = pipeline.estimator.session
    assert isinstance(session, Session)
    return session


def points(pipeline: Pipeline) -> np.ndarray:
    return pipeline(IMAGE).points_image


def test_pickled_pipeline_opens_its_models_again(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = points(pipeline)
    data = pickle.dumps(pipeline)
    assert len(data) < 2000  # neither models nor images
    monkeypatch.chdir(tmp_path.parent)
    for restored in (pickle.loads(data), copy.deepcopy(pipeline)):
        np.testing.assert_array_equal(points(restored), expected)
        assert restored.detector is not None
        assert restored.detector.score_threshold == 0.35
        assert session_of(restored).threads == 1
    restored = pickle.loads(pickle.dumps(pipeline.detector))
    np.testing.assert_array_equal(restored(IMAGE)[0], pipeline(IMAGE).boxes_image)
    session_of(pipeline)._path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no model file .*pose\.onnx"):
        pickle.loads(data)


def test_path_relative_to_another_folder(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pose.parent)
    data = pickle.dumps(slimpose.load(Path(pose.name), None, threads=1))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert pickle.loads(data).estimator.session.info.name == "synthetic-pose"


def test_spawned_processes_compute(pipeline: Pipeline) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(pipeline, [IMAGE, IMAGE])
    for poses in found:
        np.testing.assert_array_equal(poses.points_image, points(pipeline))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_process_opens_its_models_again(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    expected = points(pipeline)
    opened = session_of(pipeline)._graph
    with caplog.at_level(logging.INFO, "slimpose"):
        reader, writer = os.pipe()
        if os.fork() == 0:
            found = points(pipeline)
            is_new = session_of(pipeline)._graph is not opened
            again = session_of(pipeline)._graph
            is_kept = len(points(pipeline)) > 0 and session_of(pipeline)._graph is again
            is_logged = "opening synthetic-pose again after a fork" in caplog.text
            same = np.array_equal(found, expected)
            os.write(writer, bytes([same, is_new, is_kept, is_logged]))
            os._exit(0)
        os.wait()
        assert list(os.read(reader, 10)) == [1, 1, 1, 1]
    assert session_of(pipeline)._graph is opened
    np.testing.assert_array_equal(points(pipeline), expected)


def test_follower_goes_on_in_another_process(pipeline: Pipeline) -> None:
    def frame(number: int) -> slimpose.Frame:
        return slimpose.Frame(
            image=dot_image(Size(96, 96), 30 + number, 40), timestamp_s=number / 25
        )

    follower = Follower(pipeline, detect_every=2)
    poses = [follower.step([frame(number)])[0] for number in range(6)][-1]
    assert poses.ids.tolist() == [1]
    copied = pickle.loads(pickle.dumps(follower))
    for number in range(6, 12):
        (poses,), (others,) = follower.step([frame(number)]), copied.step([frame(number)])
        np.testing.assert_array_equal(others.points_image, poses.points_image)
        assert others.ids.tolist() == [1]
    for each in (follower, copied):  # both go on counting
        each.forget(0)
        poses = [each.step([frame(number)])[0] for number in range(12, 18)][-1]
        assert poses.ids.tolist() == [2]
