from __future__ import annotations

import dataclasses
import json
import sys
import zipfile
from pathlib import Path

import pytest

from slimpose.runtime.auto_backend import choices_for_file
from slimpose.runtime.backends.available import backends
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.backends.litert import (
    METADATA_NAME,
    LiteRtGraph,
    attach_metadata,
    attached_metadata,
)
from slimpose.runtime.session import Session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"graph" * 100)
    return path


def test_metadata_is_attached_as_android_reads_it(file: Path) -> None:
    assert attached_metadata(file) == {}
    attach_metadata(file, {"slimpose": "1", "name": "net"})
    assert attached_metadata(file) == {"slimpose": "1", "name": "net"}
    assert file.read_bytes().startswith(b"graph")
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read(METADATA_NAME)) == {"slimpose": "1", "name": "net"}


def test_file_without_slimpose_metadata_is_rejected(file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"net\.tflite is not a slimpose model: no slimpose\.json is attached"
    ):
        LiteRtGraph(file, threads=1, precision=None)


def test_missing_package_is_reported_with_its_install_command(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach_metadata(file, {"height": "64", "width": "48", "stride": "4", "task": "pose"})
    missing = dataclasses.replace(backends()["litert"], install="pip install ai-edge-litert")
    with pytest.raises(
        BackendError,
        match="runs in litert only, which is not installed: pip install ai-edge-litert",
    ):
        choices_for_file(file, None, backends() | {"litert": missing})
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(BackendError, match="not installed: pip install ai-edge-litert"):
        Session(file)
