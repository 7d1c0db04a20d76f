"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_training


@pytest.fixture(scope="module")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``tiny_training.write_people``."""
    folder = tmp_path_factory.mktemp("people")
    tiny_training.write_people(folder)
    return folder
