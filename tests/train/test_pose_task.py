from __future__ import annotations

import dataclasses
import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slimpose import heatmap
from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.data.augment import Augmentation
from slimpose.skeleton import COCO17, Skeleton
from slimpose.train.distillation import Teacher
from slimpose.train.pose_task import PoseTask, heatmap_loss
from slimpose.train.recipe import Recipe
from tiny_training import tiny_recipe, tiny_task, training_data

pytestmark = pytest.mark.usefixtures("one_thread")


class ZeroNet(nn.Module):
    """Predicts zeros everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.maps = torch.zeros(0)

    def forward(self, crops: Tensor) -> Tensor:
        shape = len(crops), 17, crops.shape[1] // 4, crops.shape[2] // 4
        self.maps = torch.zeros(shape, requires_grad=True)
        return self.maps


def constant_teacher(value: float, name: str = "constant", skeleton: Skeleton = COCO17) -> Teacher:
    def predict(crops: Crops) -> Heatmaps:
        n, height, width, _ = crops.shape
        return np.full((n, 17, height // 4, width // 4), value, np.float32)

    return Teacher(name=name, runs_on="a constant", skeleton=skeleton, stride=4, predict=predict)


# the loss


def test_zero_heatmaps_cost_one_at_any_sigma() -> None:
    for sigma_px in (1.0, 2.0, 3.0):
        target = heatmap.encode(np.array([[[20, 25]]], np.float32), Size(48, 40), sigma_px=sigma_px)
        target = torch.from_numpy(target)
        loss = heatmap_loss(torch.zeros_like(target), target, torch.ones(1, 1), sigma_px=sigma_px)
        assert float(loss) == pytest.approx(1, rel=1e-3)


def test_unlabeled_joint_costs_nothing() -> None:
    predicted = torch.zeros(1, 2, 8, 8)
    predicted[0, 1] = 100
    loss = heatmap_loss(
        predicted, torch.zeros(1, 2, 8, 8), torch.tensor([[1.0, 0.0]]), sigma_px=1.0
    )
    assert float(loss) == 0


def test_batch_without_labels_costs_nothing() -> None:
    loss = heatmap_loss(
        torch.ones(1, 2, 8, 8), torch.zeros(1, 2, 8, 8), torch.zeros(1, 2), sigma_px=1.0
    )
    assert float(loss) == 0


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_distillation_weight_is_the_share_of_the_teacher(
    people_folder: Path, weight: float
) -> None:
    recipe = tiny_recipe(distillation_weight=weight)
    task = tiny_task(recipe, people_folder, constant_teacher(0.5))
    batch = task.batch_at(0)
    predicted = torch.zeros(batch.heatmaps.shape)
    sigma_px = recipe.sigma_share * predicted.shape[2]
    labels = heatmap_loss(
        predicted,
        torch.from_numpy(batch.heatmaps),
        torch.from_numpy(batch.weights),
        sigma_px=sigma_px,
    )
    # 0.5 squared in every cell.
    of_teacher = 0.25 * predicted.shape[2] * predicted.shape[3] / (np.pi * sigma_px**2)
    expected = (1 - weight) * float(labels) + weight * of_teacher
    assert task.loss(ZeroNet(), batch).item() == pytest.approx(expected, rel=1e-5)


def test_unlabeled_joints_are_distilled_by_choice(people_folder: Path) -> None:
    recipe = tiny_recipe(distillation_weight=1.0)
    everything, labeled = (
        tiny_task(
            dataclasses.replace(recipe, distill_unlabeled=unlabeled),
            people_folder,
            constant_teacher(0.5),
        )
        for unlabeled in (True, False)
    )
    batch = everything.batch_at(0)
    batch.weights[:, 3:] = 0

    def gradient(task: PoseTask) -> Tensor:
        model = ZeroNet()
        task.loss(model, batch).backward()
        assert model.maps.grad is not None
        return model.maps.grad.abs().amax(dim=(2, 3))

    assert (gradient(everything) > 0).all()
    np.testing.assert_array_equal((gradient(labeled) > 0).numpy(), batch.weights > 0)


def test_mirrored_teacher_is_flip_averaged(people_folder: Path) -> None:
    """The teacher predicts the left half's brightness: flip-averaged, it is that of both halves."""

    def predict(crops: Crops) -> Heatmaps:
        bright = crops[:, :, : crops.shape[2] // 2].mean(axis=(1, 2, 3)) / 255
        maps = np.zeros((len(crops), 17, crops.shape[1] // 4, crops.shape[2] // 4), np.float32)
        maps[..., :1] = bright[:, None, None, None]
        return maps

    recipe = tiny_recipe(distillation_weight=1.0)
    teacher = Teacher(name="left", runs_on="NumPy", skeleton=COCO17, stride=4, predict=predict)
    plain, mirrored = (
        tiny_task(dataclasses.replace(recipe, mirrored_teacher=is_mirrored), people_folder, teacher)
        for is_mirrored in (False, True)
    )
    batch = plain.batch_at(0)
    sigma_px = recipe.sigma_share * batch.heatmaps.shape[2]
    left, right = (predict(crops)[..., 0] for crops in (batch.crops, batch.crops[:, :, ::-1]))
    for task, energy in ((plain, left**2), (mirrored, (left / 2) ** 2 + (right / 2) ** 2)):
        # The mean over people and joints.
        expected = energy.sum() / (np.pi * sigma_px**2) / (len(batch.crops) * 17)
        assert task.loss(ZeroNet(), batch).item() == pytest.approx(expected, rel=1e-4)


def test_keypoint_confidence_of_a_source_scales_its_labels(people_folder: Path) -> None:
    recipe = tiny_recipe(distillation_weight=0.5, keypoint_confidence={"": 0.0})
    trusted = tiny_task(
        dataclasses.replace(recipe, keypoint_confidence={}), people_folder, constant_teacher(0)
    ).batch_at(0)
    ignored = tiny_task(recipe, people_folder, constant_teacher(0)).batch_at(0)
    assert trusted.weights.max() == 1
    assert ignored.weights.max() == 0
    np.testing.assert_array_equal(ignored.crops, trusted.crops)


# batches and memory


def test_phase_selects_cached_or_online_teacher(people_folder: Path) -> None:
    calls = 0

    def predict(crops: Crops) -> Heatmaps:
        nonlocal calls
        calls += 1
        return np.zeros((len(crops), 17, *(side // 4 for side in crops.shape[1:3])), np.float32)

    first, second = tiny_recipe().phases
    recipe = tiny_recipe(
        distillation_weight=0.5,
        phases=(dataclasses.replace(first, cached_teacher=True), second),
    )
    teacher = Teacher(name="counting", runs_on="NumPy", skeleton=COCO17, stride=4, predict=predict)
    task = tiny_task(recipe, people_folder, teacher)
    calls_before = calls
    assert calls_before > 0
    cached, online = task.batch_at(0), task.batch_at(recipe.steps - 1)
    assert cached.teacher_heatmaps is not None
    assert cached.teacher_heatmaps.shape == cached.heatmaps.shape
    assert online.teacher_heatmaps is None
    task.loss(task.model, cached)
    assert calls == calls_before
    task.loss(task.model, online)
    assert calls == calls_before + 1


def test_mixup_needs_an_online_teacher(people_folder: Path) -> None:
    distilled = tiny_recipe(distillation_weight=0.5, augmentation=Augmentation(mixup=1.0))
    teacher = constant_teacher(0.5)
    assert not tiny_task(distilled, people_folder, teacher).batch_at(0).weights.any()
    for recipe, present in (
        (dataclasses.replace(distilled, distillation_weight=0.0), None),
        (distilled.with_cached_teacher(), teacher),
        (dataclasses.replace(distilled, distill_unlabeled=False), teacher),
    ):
        assert tiny_task(recipe, people_folder, present).batch_at(0).weights.any()


def test_cached_teacher_is_freed(people_folder: Path) -> None:
    recipe = tiny_recipe(distillation_weight=0.5)

    def is_kept(recipe: Recipe) -> bool:
        teacher = constant_teacher(0.5)
        predict = weakref.ref(teacher.predict)
        task = tiny_task(recipe, people_folder, teacher)
        del teacher
        gc.collect()
        assert task.loss(ZeroNet(), task.batch_at(0)).item() > 0
        return predict() is not None

    assert is_kept(recipe)
    assert not is_kept(recipe.with_cached_teacher())


# errors


def test_network_with_other_joints_is_rejected(people_folder: Path) -> None:
    recipe = tiny_recipe(net=dataclasses.replace(tiny_recipe().net, joints=5))
    with pytest.raises(ValueError, match=re.escape("has 17 joints; the network has 5 heatmaps")):
        PoseTask(recipe, training_data(people_folder))


def test_validation_set_without_people_is_rejected(people_folder: Path) -> None:
    data = training_data(people_folder)
    data = dataclasses.replace(data, val=dataclasses.replace(data.val, people=()))
    with pytest.raises(
        ValueError, match=r"people\.json: no person has a labeled joint; expected people to measure"
    ):
        PoseTask(tiny_recipe(), data)


@pytest.mark.parametrize(
    ("weight", "teacher", "message"),
    [
        (0.5, None, "is missing, and the recipe's distillation_weight is 0.5; expected both"),
        (
            0.0,
            constant_teacher(0),
            "was given, and the recipe's distillation_weight is 0; expected",
        ),
    ],
)
def test_teacher_and_distillation_weight_must_match(
    people_folder: Path, weight: float, teacher: Teacher | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"a teacher {message}")):
        tiny_task(tiny_recipe(distillation_weight=weight), people_folder, teacher)


def test_teacher_with_other_joints_is_rejected(people_folder: Path) -> None:
    other = Skeleton(name="one", joints=("nose",), limbs=(), sigmas=(0.1,), upper_body=())
    recipe = tiny_recipe(distillation_weight=0.5)
    with pytest.raises(
        ValueError, match=r"finds 1 keypoints of 'one'; .* leave out --teacher .*own-teacher"
    ):
        tiny_task(recipe, people_folder, constant_teacher(0, skeleton=other))


def test_online_teacher_with_another_stride_is_rejected(people_folder: Path) -> None:
    recipe = tiny_recipe(distillation_weight=0.5)
    coarse = dataclasses.replace(constant_teacher(0), stride=8)
    with pytest.raises(
        ValueError,
        match="the teacher's heatmaps have cells of 8 px, those of tiny's network 4;",
    ):
        tiny_task(recipe, people_folder, coarse)
    cached = tiny_task(recipe.with_cached_teacher(), people_folder, coarse).batch_at(0)
    assert cached.teacher_heatmaps is not None
    assert cached.teacher_heatmaps.shape == (4, 17, 8, 8)


def test_mirrored_images_need_the_partners_of_joints(people_folder: Path) -> None:
    """Left and right were mirrored without exchanging places, and without a warning."""
    names = ("left_tip", *COCO17.joints[1:])
    skeleton = dataclasses.replace(COCO17, joints=names, limbs=(), upper_body=())
    data = training_data(people_folder)
    file = dataclasses.replace(data.train, skeleton=skeleton)
    data = dataclasses.replace(data, train=file, val=file)
    with pytest.raises(ValueError, match=r"'left_tip' has a side and no partner .*flip = 0"):
        PoseTask(tiny_recipe(), data)
    PoseTask(tiny_recipe(augmentation=Augmentation(flip=0.0)), data)
