"""Shared fixtures: the hypothesis profile, small COCO files and models."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from coco_documents import CocoDocument, coco_document

if TYPE_CHECKING:
    from slimpose.runtime.pipeline import Pipeline

collect_ignore = [] if find_spec("torch") else ["network", "train", "export", "compare"]
"""Folders whose subject is PyTorch; everything else runs without it."""

REAL_TIME = ("events/", "measure/", "media/", "serve/", "cli/test_live", "cli/test_serve")
"""Tests of servers, processes and clocks, which a machine that is busy elsewhere can fail."""

settings.register_profile(
    "slimpose",
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("slimpose")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test of ``REAL_TIME`` that fails run once more: a fault fails both times."""
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def _log_level_is_restored() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """Undo what a test or a tutorial sets: commands would print more lines in later tests."""
    log = logging.getLogger("slimpose")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def document() -> CocoDocument:
    return coco_document()


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[Any], Path]:
    """Return a function that writes a document to a file and returns its path."""

    def write(content: object) -> Path:
        path = tmp_path / "annotations.json"
        path.write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
        return path

    return write


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: reproducible sums, no waiting threads for tiny networks."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    """The file of a synthetic pose model."""
    from synthetic_models import write_pose_model

    return write_pose_model(tmp_path / "pose.onnx")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """The file of a synthetic detector."""
    from synthetic_models import write_detector_model

    return write_detector_model(tmp_path / "detector.onnx")


@pytest.fixture(scope="module")
def figure_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A detector of the brightest light; a pose model that places a standing person around it."""
    import onnx
    from onnx import numpy_helper

    from slimpose.runtime.detector import Detector
    from slimpose.runtime.estimator import PoseEstimator
    from slimpose.runtime.pipeline import Pipeline
    from slimpose.runtime.session import Session
    from synthetic_models import CROP, write_detector_model, write_pose_model
    from walkers import person

    folder = tmp_path_factory.mktemp("models")
    pose = onnx.load(write_pose_model(folder / "pose.onnx"))
    (offsets,) = (tensor for tensor in pose.graph.initializer if tensor.name == "offsets")
    # As tall as a person in a crop of their box, so that the box around the joints is that box.
    figure = person(0, 0, height_px=0.885 * CROP.height / 1.25)[None]
    offsets.CopyFrom(numpy_helper.from_array(figure, "offsets"))
    onnx.save(pose, folder / "pose.onnx")
    return Pipeline(
        estimator=PoseEstimator(Session(folder / "pose.onnx", threads=1)),
        detector=Detector(Session(write_detector_model(folder / "detector.onnx"), threads=1)),
    )
