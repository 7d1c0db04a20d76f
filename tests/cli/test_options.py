from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from run_main import run_main
from slimpose.cli.options import ModelOptions, OutputOptions, TrackingOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda: ModelOptions(conf=-0.1), r"--conf is -0\.1; expected"),
        (lambda: ModelOptions(threads=0), "threads is 0; expected 1..1024"),
        (lambda: TrackingOptions(detect_every=0), "--detect-every is 0; expected 1 or more"),
        (lambda: OutputOptions(csv=Path("-")), "--csv is -; expected a file"),
        (lambda: OutputOptions(openpose_order="COCO_18"), "is about --openpose; expected both"),
    ],
)
def test_invalid_options_are_rejected(options: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options()


def test_output_paths_are_listed_by_option() -> None:
    options = OutputOptions(json=Path("a.json"), jsonl="-", openpose=Path("folder"))
    assert options.files() == {"--json": Path("a.json"), "--csv": None, "--jsonl": None}
    assert options.folders() == {"--openpose": Path("folder")}


@pytest.mark.parametrize(
    ("option", "value"),
    [("--gpus", "inf"), ("--gpus", "-1"), ("--gpus", "nan"), ("--workers", "9" * 20)],
)
def test_workers_that_no_cluster_has_are_rejected(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("bulk", tmp_path, "--out", tmp_path / "out", option, value) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"slimpose: {option} is ")
    assert len(message.splitlines()) == 1
