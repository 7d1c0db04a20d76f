"""Two processes on two halves of each batch are one process on the whole batch."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

import tiny_training
import two_processes
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint
from slimpose.train.devices import Devices, open_devices
from slimpose.train.loop import make_optimizer, train
from slimpose.train.processes import ALL, Shard, gathered, local_items, mean_of_all
from slimpose.train.run import BEST, CHECKPOINT, METRICS, run
from slimpose.train.synced_norm import SyncedBatchNorm, synchronize_norms
from tiny_training import tiny_recipe, tiny_task
from two_processes import recipe_of_20_steps

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def alone(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run by one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    two_processes.train(pictures, out, open_devices())
    return out


@pytest.fixture(scope="module")
def together(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run by two, started as the documentation says."""
    out = tmp_path_factory.mktemp("together") / "run"
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*launch, two_processes.__file__, str(pictures), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return out


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / METRICS).read_text().splitlines()]


def tensors(path: Path) -> dict[str, Any]:
    return load_checkpoint(path).tensors


def assert_close(one: Path, other: Path, *, atol: float) -> None:
    """Compare weights, and with tolerance 0 the optimizer's moments too."""
    for name in (CHECKPOINT, BEST):
        mine, theirs = tensors(one / name), tensors(other / name)
        assert mine.keys() == theirs.keys()
        compared = [key for key in mine if atol == 0 or not key.startswith("adam.")]
        assert compared
        for key in compared:
            torch.testing.assert_close(
                mine[key], theirs[key], atol=atol, rtol=atol, msg=lambda m, key=key: f"{key}: {m}"
            )


# two processes


def test_two_processes_learn_what_one_learns(alone: Path, together: Path) -> None:
    mine, theirs = logged(alone), logged(together)
    assert [record["step"] for record in theirs] == list(range(20))
    np.testing.assert_allclose([r["loss"] for r in mine], [r["loss"] for r in theirs], atol=1e-4)
    assert mine[-1]["loss"] < mine[0]["loss"]
    assert_close(alone, together, atol=1e-4)


def test_one_of_them_writes_and_nobody_else(together: Path) -> None:
    assert sorted(path.name for path in together.iterdir()) == sorted([CHECKPOINT, BEST, METRICS])


def test_evaluation_sees_each_image_once(alone: Path, together: Path) -> None:
    shares = [json.loads((together.parent / f"shares-{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(shares[0]["mine"] + shares[1]["mine"]) == two_processes.IMAGES
    for share in shares:
        assert sorted(share["all"]) == two_processes.IMAGES
    figures = [[r["AP"], r["AR"]] for r in logged(alone) if "AP" in r]
    assert figures == [[r["AP"], r["AR"]] for r in logged(together) if "AP" in r]
    assert len(figures) == 2


def test_maps_are_imitated_by_the_spread_of_the_whole_batch(together: Path) -> None:
    losses = [
        json.loads((together.parent / f"shares-{rank}.json").read_text())["imitated"]
        for rank in (0, 1)
    ]
    assert np.mean(losses) == pytest.approx(two_processes.imitated(0, 8), rel=1e-5)
    assert losses[1] > 2 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("stall_at", [12, 17])
def test_two_processes_that_were_killed_go_on_as_if_they_had_not_been(
    pictures: Path, alone: Path, together: Path, tmp_path: Path, stall_at: int
) -> None:
    out = tmp_path / "run"
    children = start_two(pictures, out, str(stall_at))
    assert children[0].stdout is not None
    assert "stalled\n" in iter(children[0].stdout.readline, "")
    for child in children:
        child.kill()  # SIGKILL: nothing is tidied up
        child.wait()
    assert len(logged(out)) == stall_at + 1
    by_one = shutil.copytree(out, tmp_path / "by-one")
    for child in start_two(pictures, out, "resume"):
        assert child.wait(timeout=600) == 0
    assert_close(out, together, atol=0)
    two_processes.train(pictures, by_one, open_devices(), resume=True)
    assert_close(by_one, alone, atol=1e-4)


def start_two(pictures: Path, out: Path, how: str) -> list[subprocess.Popen[str]]:
    """Two processes without torchrun, which would have to be killed too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    program = [sys.executable, two_processes.__file__, str(pictures), str(out), how]
    return [
        subprocess.Popen(
            program,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ
            | shared
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]


# parts of a batch


def test_the_parts_of_a_batch_are_the_batch(pictures: Path) -> None:
    task = tiny_task(recipe_of_20_steps(), pictures)
    whole = task.batch_at(3)
    parts = [task.batch_at(3, Shard(number, 4)) for number in range(4)]
    for name in ("crops", "heatmaps", "weights"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name)
        )
    assert ALL.span(3, 8) == (24, 8)
    assert Shard(2, 4).span(3, 8) == (28, 2)


def test_a_batch_that_does_not_divide_is_refused(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe()
    devices = dataclasses.replace(open_devices(), accumulate=3)
    with pytest.raises(
        ValueError, match="batch 4 for 1 processes and 3 parts each; expected a multiple of 3"
    ):
        next(
            run(
                tiny_task(recipe, pictures),
                recipe,
                tmp_path / "run",
                resume=False,
                notes={},
                devices=devices,
            )
        )


def test_parts_one_after_another_move_the_weights_once(pictures: Path) -> None:
    # Batch norm sees each part alone; with frozen statistics, and as many labels in each part,
    # nothing is left that tells parts from the whole.
    def first_step(accumulate: int) -> tuple[float, list[Any]]:
        recipe = dataclasses.replace(
            recipe_of_20_steps(), phases=(dataclasses.replace(_phase(), samples=8),)
        )
        task = tiny_task(recipe, pictures)
        task.model.double()
        devices = dataclasses.replace(open_devices(), accumulate=accumulate)
        averaged = tiny_task(recipe, pictures).model.double()
        optimizer = make_optimizer(task.model, recipe)
        steps = train(
            model=task.model,
            averaged=averaged,
            optimizer=optimizer,
            recipe=recipe,
            batches=(
                _all_labeled(task.batch_at(0, devices.part(part))) for part in range(accumulate)
            ),
            loss_of=lambda model, batch: task.loss_of(model.eval(), batch),
            devices=devices,
        )
        (step,) = list(steps)
        return step.loss, [parameter.grad for parameter in task.model.parameters()]

    loss, whole = first_step(1)
    loss_in_parts, in_parts = first_step(4)
    assert loss_in_parts == pytest.approx(loss, rel=1e-9)
    for one, other in zip(whole, in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12)


def _phase() -> Any:
    return recipe_of_20_steps().phases[0]


def _all_labeled(batch: Any) -> Any:
    return dataclasses.replace(batch, weights=np.ones_like(batch.weights))


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_a_synchronized_norm_is_the_norm_it_replaces(kind: type[nn.BatchNorm2d]) -> None:
    torch.manual_seed(0)
    plain = kind(5).double()
    nn.init.uniform_(plain.weight)
    nn.init.uniform_(plain.bias)
    synced = SyncedBatchNorm(copy.deepcopy(plain))
    assert synced.state_dict().keys() == plain.state_dict().keys()
    for maps in torch.randn(3, 4, 5, 6, 7, dtype=torch.float64) * 3 + 50:
        mine, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        one, other = synced(mine), plain(theirs)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        (one**3).sum().backward()
        (other**3).sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-7, atol=1e-7)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(synced.weight.grad, plain.weight.grad)
    maps = torch.randn(2, 5, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(synced.eval()(maps), plain.eval()(maps))


@pytest.mark.usefixtures("group_of_one")
def test_its_statistics_of_bf16_maps_are_fp32() -> None:
    synced = SyncedBatchNorm(nn.BatchNorm2d(2))
    maps = torch.randn(4, 2, 6, 7).bfloat16() + 30
    assert synced(maps).dtype == torch.bfloat16
    assert synced.running_mean is not None
    torch.testing.assert_close(synced.running_mean, 0.1 * maps.float().mean((0, 2, 3)))


def test_every_norm_of_a_net_is_synchronized() -> None:
    model = PoseNet(tiny_training.NET)
    names = set(model.state_dict())
    synchronize_norms(model, torch.device("cpu"))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 40
    assert all(isinstance(norm, SyncedBatchNorm) for norm in norms)
    assert set(model.state_dict()) == names


def test_one_process_says_nothing_to_itself() -> None:
    value = torch.tensor(3.0)
    assert mean_of_all(value) is value
    assert local_items([1, 2, 3]) == [1, 2, 3]
    assert gathered([1, 2]) == [1, 2]


def test_bf16_learns_too(pictures: Path, tmp_path: Path) -> None:
    program = (
        "import sys, dataclasses; from pathlib import Path; from tiny_training import *;"
        "from slimpose.train.devices import open_devices;"
        "folder, out = map(Path, sys.argv[1:]); recipe = tiny_recipe();"
        "[None for _ in run(tiny_task(recipe, folder), recipe, out, resume=False, notes={},"
        " devices=open_devices(precision='bf16'))]"
    )
    words = [sys.executable, "-c", program, str(pictures), str(tmp_path / "run")]
    subprocess.run(
        words,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
    )
    losses = [record["loss"] for record in logged(tmp_path / "run")]
    assert losses[-1] < 0.95 * losses[0]
    weights = tensors(tmp_path / "run" / BEST)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights.values())


def test_devices_by_default_are_one_process_in_fp32() -> None:
    devices = open_devices()
    assert isinstance(devices, Devices)
    assert (devices.part(0), devices.is_main, devices.accelerator.mixed_precision) == (
        ALL,
        True,
        "no",
    )
