from __future__ import annotations

from pathlib import Path

from slimpose.runtime.backends.ncnn import companion_paths


def test_model_is_three_files() -> None:
    assert [file.name for file in companion_paths(Path("x/net.ncnn.param"))] == [
        "net.ncnn.bin",
        "net.ncnn.json",
    ]
