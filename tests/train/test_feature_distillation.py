"""A student that learns its teacher's inner maps."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiny_training
from slimpose.arrays import Size
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint, save_checkpoint
from slimpose.skeleton import COCO17
from slimpose.train import distillation
from slimpose.train.feature_distillation import feature_loss
from slimpose.train.pose_task import heatmap_loss
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.run import BEST, run
from tiny_training import tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> distillation.Teacher:
    """A net of random weights and a batch norm that has seen pictures, in PyTorch."""
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    torch.manual_seed(5)
    net = PoseNet(tiny_training.NET)
    nn.init.normal_(net.to_heatmaps.weight)
    with torch.no_grad():
        for seed in range(20):
            net(
                torch.from_numpy(
                    np.random.default_rng(seed).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
                )
            )
    path = tmp_path / "teacher.safetensors"
    metadata = {"net": tiny_training.NET.to_json(), "skeleton": COCO17.to_json()}
    save_checkpoint(path, net.state_dict(), metadata)
    return distillation.open_teacher(path)


def imitating(share: float, **settings: object) -> Recipe:
    return dataclasses.replace(
        tiny_recipe(), distillation_weight=0.5, feature_distillation_weight=share, **settings
    )  # pyright: ignore[reportArgumentType]


def imitated_net(teacher: distillation.Teacher) -> PoseNet:
    assert teacher.net is not None
    return teacher.net


def test_maps_cost_nothing_if_alike_and_one_if_only_their_means_are() -> None:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.normal(3, (1.0, 5.0), (4, 6, 5, 2)).astype(np.float32)).permute(
        0, 3, 1, 2
    )
    assert feature_loss([target], [target]).item() == 0
    means = target.mean(dim=(0, 2, 3), keepdim=True).expand_as(target)
    assert feature_loss([means], [target]).item() == pytest.approx(
        1, rel=0.02
    )  # variance with n - 1
    other = torch.zeros(4, 3, 12, 10)
    assert feature_loss([other[:, :2], means], [other, target]).item() == pytest.approx(1, rel=0.02)


def test_a_channel_that_does_not_vary_costs_no_infinity() -> None:
    target = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target[:, 0] = 2.0
    assert feature_loss([target + 0.01], [target]).item() < 0.1


def test_a_student_begins_with_what_is_behind_the_teachers_head(
    pictures: Path, teacher: distillation.Teacher
) -> None:
    net = imitated_net(teacher)
    for share in (0.0, 0.5):
        student = tiny_task(imitating(share), pictures, teacher).model
        assert isinstance(student, PoseNet)
        theirs = {
            name: tensor
            for name, tensor in net.state_dict().items()
            if "deconv" in name or "to_heat" in name
        }
        assert theirs
        alike = all(
            torch.equal(student.state_dict()[name], tensor) for name, tensor in theirs.items()
        )
        assert alike == bool(share)
        assert not torch.equal(student.decoder.head[0].weight, net.decoder.head[0].weight)  # pyright: ignore[reportIndexIssue]


def test_the_loss_is_the_share_of_the_maps_and_of_the_heatmaps(
    pictures: Path, teacher: distillation.Teacher
) -> None:
    recipe = imitating(0.25)
    task = tiny_task(recipe, pictures, teacher)
    batch = task.batch_at(0)
    net = imitated_net(teacher)
    with torch.inference_mode():
        heatmaps, *_ = net(torch.from_numpy(batch.crops), with_maps=True)
        assert torch.allclose(heatmaps, net(torch.from_numpy(batch.crops)), atol=1e-6)
    sigma_px = recipe.sigma_share * heatmaps.shape[2]
    weights, target = torch.from_numpy(batch.weights), torch.from_numpy(batch.heatmaps)
    labels = heatmap_loss(heatmaps, target, weights, sigma_px=sigma_px).item()
    with torch.inference_mode():
        assert task.loss_of(net, batch).item() == pytest.approx(
            0.75 * 0.5 * labels, rel=1e-3
        )  # it agrees with itself
        elsewhere = task.loss_of(task.model.eval(), batch).item()
    assert elsewhere > 0.25 * 0.5


def test_wider_nets_are_imitated_where_they_are_alike(
    pictures: Path, teacher: distillation.Teacher
) -> None:
    wider = dataclasses.replace(tiny_training.NET, width_multiplier=0.5)
    task = tiny_task(imitating(1.0, net=wider), pictures, teacher)
    loss = task.loss_of(task.model, task.batch_at(0))
    loss.backward()
    assert loss.item() > 0.5
    stem = next(iter(task.model.get_submodule("encoder").parameters()))
    assert stem.grad is not None
    assert stem.grad.abs().max() > 0


def test_a_student_comes_near_its_teacher(
    pictures: Path, teacher: distillation.Teacher, tmp_path: Path
) -> None:
    recipe = imitating(
        1.0, phases=(Phase(size=Size(64, 64), samples=320),), learning_rate=1e-2, evaluations=1
    )
    task = tiny_task(recipe, pictures, teacher)
    losses = [
        progress.step.loss for progress in run(task, recipe, tmp_path, resume=False, notes={})
    ]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
    assert Recipe.from_json(load_checkpoint(tmp_path / BEST).metadata["recipe"]) == recipe


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"head_width": 24}, "a head of 24, deconvolutions 16-16-16, skips none, 17 joints"),
        ({"deconv_widths": (16, 16, 24)}, "a head of 16, deconvolutions 16-16-24"),
        ({"skip": "sum"}, "skips sum"),
    ],
)
def test_a_student_of_another_kind_is_refused(
    pictures: Path, teacher: distillation.Teacher, change: dict[str, object], told: str
) -> None:
    net = dataclasses.replace(tiny_training.NET, **change)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        ValueError, match=f"the student has .*{re.escape(told)}.*, its teacher a head of 16"
    ):
        tiny_task(imitating(0.5, net=net), pictures, teacher)


def test_only_weights_of_the_family_are_imitated(
    pictures: Path, teacher: distillation.Teacher
) -> None:
    bare = dataclasses.replace(teacher, net=None, name="graph.onnx 1234")
    with pytest.raises(
        ValueError, match=r"recipe tiny imitates its teacher; got graph.onnx 1234; expected weights"
    ):
        tiny_task(imitating(0.5), pictures, bare)
    with pytest.raises(ValueError, match=r"imitation is 1\.5; expected 0 to 1"):
        imitating(1.5)
    with pytest.raises(ValueError, match="expected no mirrored_teacher beside imitation"):
        imitating(0.5, mirrored_teacher=True)
