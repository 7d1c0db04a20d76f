"""``benchmarks/ablations.py``: which runs it starts or continues, and the table it writes."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import tiny_training
from slimpose.network.encoder import Encoder
from slimpose.network.weights import save_checkpoint
from slimpose.train.recipes.paper import ABLATION_NETS, ablation
from slimpose.train.run import BEST, CHECKPOINT, METRICS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ablations.py"
TWO_STEPS = 64 / 60_000
OPTIONS: dict[str, Any] = {
    "train": "t.json",
    "images": "t",
    "val": "v.json",
    "val_images": "v",
    "start": "trunk",
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("no ../benchmarks")
    spec = importlib.util.spec_from_file_location("ablations", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def write_run(
    runs: Path, setting: str, *, steps: int, length: float, ap: float | None = None
) -> Path:
    """Write a run's folder as training and evaluation do, without its weights."""
    recipe = ablation(setting).scaled(length)
    metadata = {
        "task": "pose",
        "net": recipe.net.to_json(),
        "recipe": recipe.to_json(),
        "samples": "64",
        "figures": '{"AP": 0.1}',
    }
    folder = runs / setting
    save_checkpoint(folder / BEST, {"weight": torch.zeros(1)}, metadata)
    save_checkpoint(folder / CHECKPOINT, {"weight": torch.zeros(1)}, metadata)
    (folder / METRICS).write_text(
        "".join(json.dumps({"step": step}) + "\n" for step in range(steps))
    )
    if ap is not None:
        for decoding, loss in (("dark", 0.0), ("quarter", 0.03)):
            figures = {
                "AP": ap - loss,
                "AP50": ap + 0.2,
                "AP75": ap - 0.1,
                "people": 9,
                "images": 4,
            }
            (folder / f"{decoding}.json").write_text(
                json.dumps({**figures, "annotations": "dev.json"})
            )
    return folder


def test_finished_runs_are_kept_and_interrupted_ones_resumed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, calls = tmp_path / "runs", []
    write_run(runs, "base", steps=2, length=TWO_STEPS, ap=0.4)
    write_run(runs, "levels-2", steps=1, length=TWO_STEPS)
    monkeypatch.setattr(
        script, "_call", lambda *arguments: calls.append([str(word) for word in arguments])
    )
    only = ("base", "levels-2", "skip-sum", "distilled")
    script.main(**OPTIONS, runs=runs, docs=tmp_path, length=TWO_STEPS, only=only)
    trained = {arguments[1]: arguments for arguments in calls if arguments[0] == "train"}
    # The distilled setting has no teacher.
    assert set(trained) == {"ablation-levels-2", "ablation-skip-sum"}
    assert "--resume" in trained["ablation-levels-2"]
    assert "--start" not in trained["ablation-levels-2"]
    assert trained["ablation-skip-sum"][-2:] == ["--start", "trunk"]
    evaluated = [
        (Path(arguments[1]).parent.name, arguments[-3])
        for arguments in calls
        if arguments[0] == "evaluate"
    ]
    assert evaluated == [
        (setting, decoding) for setting in only[1:3] for decoding in ("dark", "quarter")
    ]


def test_distilled_setting_gets_its_teacher(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(script, "_call", lambda *arguments: calls.append(arguments))
    script.main(
        **OPTIONS,
        runs=tmp_path,
        docs=tmp_path,
        only=("distilled",),
        teacher=Path("big.safetensors"),
    )
    assert calls[0][-2:] == ("--teacher", Path("big.safetensors"))


def test_run_of_another_length_is_rejected(script: ModuleType, tmp_path: Path) -> None:
    write_run(tmp_path, "base", steps=2, length=TWO_STEPS, ap=0.4)
    with pytest.raises(
        ValueError, match="holds a run of other settings or length; expected 60000 crops"
    ):
        script.collect(tmp_path, 1.0)


def test_table_contains_measured_and_missing_runs(script: ModuleType, tmp_path: Path) -> None:
    for setting, ap in (("base", 0.400), ("seed-1", 0.412), ("levels-2", 0.35)):
        write_run(tmp_path, setting, steps=2, length=TWO_STEPS, ap=ap)
    write_run(tmp_path, "skip-sum", steps=1, length=TWO_STEPS, ap=0.9)  # not finished
    rows = script.collect(tmp_path, TWO_STEPS)
    assert [row.setting for row in rows] == list(ABLATION_NETS)
    text = script.as_markdown(rows, TWO_STEPS)
    lines = {
        line.split(" | ")[0].removeprefix("| "): line
        for line in text.splitlines()
        if line.startswith("| ")
    }
    assert lines["base"].endswith("| 40.0 | 60.0 | 30.0 | 37.0 |")
    for setting in ABLATION_NETS.keys() - {"base", "seed-1", "levels-2"}:
        assert lines[setting].endswith("| not run | | | |")
    assert "Two seeds of `base` differ by 1.2 AP" in text
    assert "9 people in 4 images of dev.json" in text
    script.plot(rows, tmp_path / "plot.svg")
    first = (tmp_path / "plot.svg").read_bytes()
    assert b"<svg" in first
    script.plot(rows, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_bytes() == first


def test_wider_and_deeper_decoders_cost_more(script: ModuleType, tmp_path: Path) -> None:
    gmac = {row.setting: row.gmac for row in script.collect(tmp_path / "nothing", 1.0)}
    assert gmac["widths-10-8"] < gmac["base"] < gmac["widths-80-64"] < gmac["widths-320-256"]
    assert gmac["levels-2"] < gmac["base"] < gmac["levels-4"]
    assert gmac["base"] == gmac["seed-1"] == gmac["distilled"] < gmac["skip-sum"]


@pytest.mark.slow
def test_two_settings_run_once(
    script: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_training.write_people(tmp_path)
    torch.manual_seed(0)
    trunk = tmp_path / "trunk.safetensors"
    save_checkpoint(
        trunk,
        Encoder(ABLATION_NETS["base"]).state_dict(),
        {"trunk": "mobilenetv2_100", "origin": "random"},
    )
    options = {
        **dict.fromkeys(("train", "val"), tmp_path / "people.json"),
        **dict.fromkeys(("images", "val_images"), tmp_path),
        "start": trunk,
        "runs": tmp_path / "runs",
        "docs": tmp_path / "docs",
        "threads": 1,
        "length": TWO_STEPS,
        "only": ("base", "levels-2", "distilled"),
    }
    script.main(**{**options, "only": ("base",)})
    script.main(**options, teacher=tmp_path / "runs" / "base" / BEST)
    assert "slimpose train ablation-base" in capfd.readouterr().out
    text = (tmp_path / "docs" / "ablations.md").read_text()
    assert text.count("not run") == len(ABLATION_NETS) - 3
    assert (tmp_path / "docs" / "images" / "ablations.svg").is_file()
    script.main(**options, teacher=tmp_path / "runs" / "base" / BEST)
    assert "slimpose" not in capfd.readouterr().out
    assert (tmp_path / "docs" / "ablations.md").read_text() == text


def test_unknown_setting_is_rejected(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no setting is named 'widest'; expected some of base, "):
        script.main(**OPTIONS, runs=tmp_path, docs=tmp_path, only=("widest",))
    assert dataclasses.asdict(script.Row(setting="a", gmac=1.0, params=1))["dark"] is None
