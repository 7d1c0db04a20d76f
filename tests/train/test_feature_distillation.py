from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiny_training
from slimpose.arrays import Size
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint
from slimpose.train import distillation
from slimpose.train.feature_distillation import feature_loss
from slimpose.train.pose_task import heatmap_loss
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.run import BEST, run
from tiny_training import tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> distillation.Teacher:
    """A network of random weights, with batch norm statistics, in PyTorch."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    torch.manual_seed(5)
    net = PoseNet(tiny_training.NET)
    nn.init.normal_(net.to_heatmaps.weight)
    with torch.no_grad():
        for seed in range(20):
            crops = np.random.default_rng(seed).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
            net(torch.from_numpy(crops))
    return distillation.open_teacher(tiny_training.save_net(tmp_path / "teacher.safetensors", net))


def feature_recipe(share: float, **settings: object) -> Recipe:
    return tiny_recipe(distillation_weight=0.5, feature_distillation_weight=share, **settings)  # pyright: ignore[reportArgumentType]


def teacher_net(teacher: distillation.Teacher) -> PoseNet:
    assert isinstance(teacher.net, PoseNet)
    return teacher.net


def test_feature_loss_is_0_for_equal_features_and_1_for_means() -> None:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.normal(3, (1.0, 5.0), (4, 6, 5, 2)).astype(np.float32)).permute(
        0, 3, 1, 2
    )
    assert feature_loss([target], [target]).item() == 0
    means = target.mean(dim=(0, 2, 3), keepdim=True).expand_as(target)
    assert feature_loss([means], [target]).item() == pytest.approx(1, rel=0.02)
    other = torch.zeros(4, 3, 12, 10)
    assert feature_loss([other[:, :2], means], [other, target]).item() == pytest.approx(1, rel=0.02)


def test_constant_channel_has_a_finite_loss() -> None:
    target = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target[:, 0] = 2.0
    assert feature_loss([target + 0.01], [target]).item() < 0.1


def test_student_starts_with_the_teachers_decoder(
    people_folder: Path, teacher: distillation.Teacher
) -> None:
    net = teacher_net(teacher)
    for share in (0.0, 0.5):
        student = tiny_task(feature_recipe(share), people_folder, teacher).model
        assert isinstance(student, PoseNet)
        decoder = {
            name: tensor
            for name, tensor in net.state_dict().items()
            if "deconv" in name or "to_heat" in name
        }
        assert decoder
        is_copied = all(
            torch.equal(student.state_dict()[name], tensor) for name, tensor in decoder.items()
        )
        assert is_copied == bool(share)
        assert not torch.equal(student.decoder.head[0].weight, net.decoder.head[0].weight)  # pyright: ignore[reportIndexIssue]


def test_feature_distillation_weight_is_the_share_of_features(
    people_folder: Path, teacher: distillation.Teacher
) -> None:
    recipe = feature_recipe(0.25)
    task = tiny_task(recipe, people_folder, teacher)
    batch = task.batch_at(0)
    net = teacher_net(teacher)
    with torch.inference_mode():
        heatmaps, *_ = net(torch.from_numpy(batch.crops), with_maps=True)
        assert torch.allclose(heatmaps, net(torch.from_numpy(batch.crops)), atol=1e-6)
    sigma_px = recipe.sigma_share * heatmaps.shape[2]
    weights, target = torch.from_numpy(batch.weights), torch.from_numpy(batch.heatmaps)
    labels = heatmap_loss(heatmaps, target, weights, sigma_px=sigma_px).item()
    with torch.inference_mode():
        # The teacher agrees with itself.
        assert task.loss(net, batch).item() == pytest.approx(0.75 * 0.5 * labels, rel=1e-3)
        of_student = task.loss(task.model.eval(), batch).item()
    assert of_student > 0.25 * 0.5


def test_only_features_of_equal_width_are_compared(
    people_folder: Path, teacher: distillation.Teacher
) -> None:
    wider = dataclasses.replace(tiny_training.NET, width_multiplier=0.5)
    task = tiny_task(feature_recipe(1.0, net=wider), people_folder, teacher)
    loss = task.loss(task.model, task.batch_at(0))
    loss.backward()
    assert loss.item() > 0.5
    stem = next(iter(task.model.get_submodule("encoder").parameters()))
    assert stem.grad is not None
    assert stem.grad.abs().max() > 0


def test_student_approaches_its_teacher(
    people_folder: Path, teacher: distillation.Teacher, tmp_path: Path
) -> None:
    recipe = feature_recipe(
        1.0, phases=(Phase(size=Size(64, 64), samples=320),), learning_rate=1e-2, evaluations=1
    )
    task = tiny_task(recipe, people_folder, teacher)
    losses = [
        progress.step.loss for progress in run(task, recipe, tmp_path, resume=False, notes={})
    ]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
    assert Recipe.from_json(load_checkpoint(tmp_path / BEST).metadata["recipe"]) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_width": 24}, "a head of 24, deconvolutions 16-16-16, skips none, 17 joints"),
        ({"deconv_widths": (16, 16, 24)}, "a head of 16, deconvolutions 16-16-24"),
        ({"skip": "sum"}, "skips sum"),
    ],
)
def test_student_with_another_decoder_is_rejected(
    people_folder: Path, teacher: distillation.Teacher, change: dict[str, object], message: str
) -> None:
    net = dataclasses.replace(tiny_training.NET, **change)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        ValueError, match=f"the student has .*{re.escape(message)}.*, its teacher a head of 16"
    ):
        tiny_task(feature_recipe(0.5, net=net), people_folder, teacher)


def test_invalid_feature_distillation_is_rejected(
    people_folder: Path, teacher: distillation.Teacher
) -> None:
    bare = dataclasses.replace(teacher, net=None, name="graph.onnx 1234")
    with pytest.raises(
        ValueError,
        match=r"recipe tiny distills its teacher's features; got graph.onnx 1234; expected weights",
    ):
        tiny_task(feature_recipe(0.5), people_folder, bare)
    with pytest.raises(ValueError, match=r"feature_distillation_weight is 1\.5; expected 0 to 1"):
        feature_recipe(1.5)
    with pytest.raises(ValueError, match="expected no mirrored_teacher"):
        feature_recipe(0.5, mirrored_teacher=True)
