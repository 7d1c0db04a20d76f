"""The example notebook shows the poses as images."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import nbclient
import nbformat
import numpy as np
import pytest

import slimpose

NOTEBOOK = Path(__file__).parents[2] / "examples/notebook.ipynb"


def outputs_of(notebook: Any) -> list[list[dict[str, Any]]]:
    """The data of each code cell's outputs, by type."""
    return [
        [output["data"] for output in cell["outputs"] if "data" in output]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_shows_poses_as_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(outputs_of(notebook))  # committed without outputs
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    package = str(Path(slimpose.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([package, *filter(None, sys.path)]))
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    client.execute()
    _, one, all_photos, crowd, points = outputs_of(notebook)
    for data in (*one, *crowd):
        drawn = cv2.imdecode(
            np.frombuffer(base64.b64decode(data["image/png"]), np.uint8), cv2.IMREAD_COLOR
        )
        assert drawn is not None
        assert drawn.std() > 20
        assert data["text/plain"].startswith("<Poses: ")
    assert len(one) == len(crowd) == 1
    assert all_photos[0]["text/plain"].count("<Poses: ") == 5
    assert "array" in points[0]["text/plain"]
