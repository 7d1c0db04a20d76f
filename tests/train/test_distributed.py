"""Two processes on the halves of each batch train as one process does on the whole batch."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import two_processes
from slimpose.network.weights import load_checkpoint
from slimpose.train.devices import open_devices
from slimpose.train.processes import (
    all_gather,
    all_reduce_mean,
    broadcast,
    broadcast_buffers,
    local_items,
)
from slimpose.train.run import BEST, CHECKPOINT, METRICS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def one_process_run(people_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by one process."""
    out = tmp_path_factory.mktemp("one_process") / "run"
    two_processes.train(people_folder, out, open_devices())
    return out


@pytest.fixture(scope="module")
def two_processes_run(people_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by two processes, started by torchrun."""
    out = tmp_path_factory.mktemp("two_processes_run") / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, two_processes.__file__, str(people_folder), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return out


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / METRICS).read_text().splitlines()]


def assert_close(one: Path, other: Path, *, atol: float) -> None:
    """Compare weights, and with tolerance 0 the optimizer's moments too."""
    for name in (CHECKPOINT, BEST):
        first, second = load_checkpoint(one / name).tensors, load_checkpoint(other / name).tensors
        assert first.keys() == second.keys()
        compared = [key for key in first if atol == 0 or not key.startswith("adam.")]
        assert compared
        for key in compared:
            torch.testing.assert_close(
                first[key], second[key], atol=atol, rtol=atol, msg=lambda m, key=key: f"{key}: {m}"
            )


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder.parent / f"results-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_learn_what_one_learns(
    one_process_run: Path, two_processes_run: Path
) -> None:
    one, two = logged(one_process_run), logged(two_processes_run)
    assert [record["step"] for record in two] == list(range(20))
    np.testing.assert_allclose([r["loss"] for r in one], [r["loss"] for r in two], atol=1e-4)
    assert one[-1]["loss"] < one[0]["loss"]
    assert_close(one_process_run, two_processes_run, atol=1e-4)


def test_only_one_process_writes(two_processes_run: Path) -> None:
    assert sorted(path.name for path in two_processes_run.iterdir()) == sorted(
        [CHECKPOINT, BEST, METRICS]
    )


def test_each_image_is_evaluated_once(one_process_run: Path, two_processes_run: Path) -> None:
    first, second = results(two_processes_run)
    assert sorted(first["local"] + second["local"]) == two_processes.IMAGES
    for result in (first, second):
        assert sorted(result["all"]) == two_processes.IMAGES
    figures = [[r["AP"], r["AR"]] for r in logged(one_process_run) if "AP" in r]
    assert figures == [[r["AP"], r["AR"]] for r in logged(two_processes_run) if "AP" in r]
    assert len(figures) == 2


def test_feature_loss_uses_the_variance_of_the_whole_batch(two_processes_run: Path) -> None:
    losses = [result["feature_loss"] for result in results(two_processes_run)]
    assert np.mean(losses) == pytest.approx(two_processes.loss_of_features(0, 8), rel=1e-5)
    assert losses[1] > 2 * losses[0]


def test_buffers_are_those_of_the_first_process(two_processes_run: Path) -> None:
    assert [result["buffer"] for result in results(two_processes_run)] == [5.0, 5.0]


@pytest.mark.slow
@pytest.mark.parametrize("stall_at", [12, 17])
def test_killed_processes_resume_exactly(
    people_folder: Path,
    one_process_run: Path,
    two_processes_run: Path,
    tmp_path: Path,
    stall_at: int,
) -> None:
    out = tmp_path / "run"
    children = start_two(people_folder, out, str(stall_at))
    assert children[0].stdout is not None
    assert "stalled\n" in iter(children[0].stdout.readline, "")
    for child in children:
        child.kill()  # SIGKILL: no cleanup
        child.wait()
    assert len(logged(out)) == stall_at + 1
    by_one = shutil.copytree(out, tmp_path / "by-one")
    for child in start_two(people_folder, out, "resume"):
        assert child.wait(timeout=600) == 0
    assert_close(out, two_processes_run, atol=0)
    two_processes.train(people_folder, by_one, open_devices(), resume=True)
    assert_close(by_one, one_process_run, atol=1e-4)


def start_two(people_folder: Path, out: Path, mode: str) -> list[subprocess.Popen[str]]:
    """Start two processes without torchrun, which would have to be killed too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    program = [sys.executable, two_processes.__file__, str(people_folder), str(out), mode]
    options: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    environments = ({"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1"))
    return [
        subprocess.Popen(program, env=os.environ | shared | own, **options) for own in environments
    ]


def test_one_process_communicates_nothing() -> None:
    value = torch.tensor(3.0)
    assert all_reduce_mean(value) is value
    assert local_items([1, 2, 3]) == [1, 2, 3]
    assert all_gather([1, 2]) == [1, 2]
    assert broadcast("a") == "a"
    norm = nn.BatchNorm2d(1)
    broadcast_buffers(norm)
    assert norm.get_buffer("running_mean").item() == 0
