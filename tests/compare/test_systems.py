"""Networks with random weights, exported once per version of the exporter."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimpose.compare.systems import random_weights
from slimpose.formats.files import write_bytes


@pytest.mark.parametrize(
    "changed", ["slimpose.__version__", "torch.__version__", "slimpose.export.onnx.GRAPH_VERSION"]
)
def test_cached_file_of_another_exporter_is_not_used(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "slimpose.export.onnx.export", lambda loaded, out, **_: write_bytes(out, b"graph")
    )
    before = random_weights("b1")
    assert random_weights("b1") == before
    monkeypatch.setattr(changed, "another")
    after = random_weights("b1")
    assert after != before
    assert after.read_bytes() == b"graph"
