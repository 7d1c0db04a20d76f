"""What several test files share: one hypothesis profile, small COCO files written on the spot, a folder to train on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from slimpose.skeleton import COCO17

settings.register_profile(
    "slimpose",
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("slimpose")

CocoDocument = dict[str, Any]


def coco_document() -> CocoDocument:
    """One picture of 64x48 pixels (width x height) with one person whose 17 joints are all visible."""
    keypoints = [value for joint in range(17) for value in (12.0 + joint, 10.0 + joint, 2)]
    return {
        "images": [{"id": 7, "file_name": "street.png", "height": 48, "width": 64}],
        "annotations": [
            {
                "id": 70,
                "image_id": 7,
                "category_id": 1,
                "bbox": [10.0, 8.0, 30.0, 32.0],
                "area": 960.0,
                "iscrowd": 0,
                "num_keypoints": 17,
                "keypoints": keypoints,
            }
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": [[1, 2]]}],
    }


@pytest.fixture
def document() -> CocoDocument:
    return coco_document()


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[Any], Path]:
    """Return a function that writes a document to a file and returns its path."""

    def write(content: object) -> Path:
        path = tmp_path / "annotations.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: sums in one order, and no threads that wait for each other on tiny nets."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``tiny_training.write_people``."""
    import tiny_training

    folder = tmp_path_factory.mktemp("pictures")
    tiny_training.write_people(folder)
    return folder
