from __future__ import annotations

from pathlib import Path

import pytest

from small_nets import self_labeled, small_net


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network ``small.onnx``, and images that it labeled itself in ``images``."""
    path = tmp_path_factory.mktemp("quantize")
    self_labeled(small_net(path / "small.onnx"), path / "images")
    return path
