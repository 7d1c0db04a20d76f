"""``examples/train_own_data.py`` runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_train_example_trains_and_writes_weights(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "train_own_data.py"), str(tmp_path / "out"), "--demo"]
    subprocess.run(command, check=True, capture_output=True)
    run = tmp_path / "out" / "run"
    assert (run / "best.safetensors").is_file()
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["samples"] == 8
