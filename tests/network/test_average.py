"""``slimpose average``: the mean of weights."""

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


def written(path: Path, *, seed: int, spec: NetSpec = SPEC) -> Path:
    torch.manual_seed(seed)
    net = json.loads(spec.to_json())
    del net["inner_widths"]  # as files of before that field are
    notes = {
        "task": "pose",
        "net": spec.to_json() if seed % 2 else json.dumps(net),
        "teacher": "one",
        "seed": str(seed),
    }
    figures = {"figures": json.dumps({"AP": 0.1 * seed}), "samples": "64", "start": f"seed {seed}"}
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(path, build(spec).state_dict(), notes | figures)
    return path


def test_every_weight_is_the_mean_of_its_own(tmp_path: Path) -> None:
    files = [written(tmp_path / f"run{seed}" / "best.safetensors", seed=seed) for seed in (1, 2, 3)]
    assert average(files, out=tmp_path / "mean.safetensors") == 0
    mean, parts = (
        load_network(tmp_path / "mean.safetensors"),
        [load_network(file).net.state_dict() for file in files],
    )
    for name, tensor in mean.net.state_dict().items():
        expected = sum(part[name].double() for part in parts) / 3
        torch.testing.assert_close(tensor.double(), expected, msg=name)


def test_the_mean_says_what_it_is_made_of_and_claims_nobodys_figures(tmp_path: Path) -> None:
    files = [written(tmp_path / f"run{seed}" / "best.safetensors", seed=seed) for seed in (1, 2)]
    average(files, out=tmp_path / "mean.safetensors")
    metadata = read_metadata(tmp_path / "mean.safetensors")
    assert metadata.keys() == {"task", "net", "teacher", "start"}
    digests = [load_network(file).sha256[:12] for file in files]
    assert (
        metadata["start"]
        == f"mean of run1/best.safetensors {digests[0]}, run2/best.safetensors {digests[1]}"
    )


def test_one_file_and_other_nets_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "one.safetensors", seed=1)
    wider = written(
        tmp_path / "wider.safetensors", seed=1, spec=dataclasses.replace(SPEC, head_width=48)
    )
    out = tmp_path / "mean.safetensors"
    with pytest.raises(ValueError, match="got 1 weights file; expected two or more"):
        average([one], out=out)
    with pytest.raises(ValueError, match=re.escape(f"{wider} holds another net than {one}")):
        average([one, wider], out=out)
    assert not out.exists()


def test_a_file_that_goes_into_the_mean_is_not_overwritten(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2)]
    before = files[1].read_bytes()
    with pytest.raises(ValueError, match=r"--out .*2\.safetensors is an input of this call"):
        average(files, out=files[1])
    assert files[1].read_bytes() == before
