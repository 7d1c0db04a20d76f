"""``slimpose average``: averaging weights."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from slimpose.arrays import Size
from slimpose.cli.average import average
from slimpose.network.build import build
from slimpose.network.family import family_spec
from slimpose.network.spec import NetSpec
from slimpose.network.weights import load_network, read_metadata, save_checkpoint

SPEC = dataclasses.replace(family_spec("mnv2", size=Size(64, 64)), width_multiplier=0.35)


def write_weights(path: Path, *, seed: int, spec: NetSpec = SPEC) -> Path:
    torch.manual_seed(seed)
    net = json.loads(spec.to_json())
    del net["inner_widths"]  # as in files written before that field existed
    metadata = {
        "task": "pose",
        "net": spec.to_json() if seed % 2 else json.dumps(net),
        "teacher": "one",
        "seed": str(seed),
    }
    figures = {"figures": json.dumps({"AP": 0.1 * seed}), "samples": "64", "start": f"seed {seed}"}
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(path, build(spec).state_dict(), metadata | figures)
    return path


def write_runs(folder: Path, count: int) -> list[Path]:
    seeds = range(1, count + 1)
    return [write_weights(folder / f"run{seed}" / "best.safetensors", seed=seed) for seed in seeds]


def test_every_weight_is_the_mean_over_the_files(tmp_path: Path) -> None:
    files = write_runs(tmp_path, 3)
    assert average(files, out=tmp_path / "mean.safetensors") == 0
    mean = load_network(tmp_path / "mean.safetensors")
    parts = [load_network(file).net.state_dict() for file in files]
    for name, tensor in mean.net.state_dict().items():
        expected = sum(part[name].double() for part in parts) / 3
        torch.testing.assert_close(tensor.double(), expected, msg=name)


def test_metadata_lists_the_sources_without_their_results(tmp_path: Path) -> None:
    files = write_runs(tmp_path, 2)
    average(files, out=tmp_path / "mean.safetensors")
    metadata = read_metadata(tmp_path / "mean.safetensors")
    assert metadata.keys() == {"task", "net", "teacher", "start"}
    digests = [load_network(file).sha256[:12] for file in files]
    sources = f"run1/best.safetensors {digests[0]}, run2/best.safetensors {digests[1]}"
    assert metadata["start"] == f"mean of {sources}"


def test_single_file_and_different_networks_are_rejected(tmp_path: Path) -> None:
    one = write_weights(tmp_path / "one.safetensors", seed=1)
    wider = write_weights(
        tmp_path / "wider.safetensors", seed=1, spec=dataclasses.replace(SPEC, head_width=48)
    )
    out = tmp_path / "mean.safetensors"
    with pytest.raises(ValueError, match="got 1 weights file; expected two or more"):
        average([one], out=out)
    with pytest.raises(ValueError, match=re.escape(f"{wider} holds another network than {one}")):
        average([one, wider], out=out)
    same = write_weights(tmp_path / "copy.safetensors", seed=1)
    with pytest.raises(ValueError, match=re.escape(f"{same} and {one} hold the same weights")):
        average([one, same], out=out)
    with pytest.raises(ValueError, match="hold the same weights"):
        average([one, one], out=out)
    assert not out.exists()


def test_input_file_is_not_overwritten(tmp_path: Path) -> None:
    files = [write_weights(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2)]
    before = files[1].read_bytes()
    with pytest.raises(ValueError, match=r"--out .*2\.safetensors is an input of this call"):
        average(files, out=files[1])
    assert files[1].read_bytes() == before
