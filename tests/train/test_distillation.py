from __future__ import annotations

import dataclasses
import gc
import json
import re
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny_training
from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.cli import train as verb
from slimpose.cli.main import main
from slimpose.data.augment import Augmentation
from slimpose.network.build import net_from_metadata
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint, load_into, save_checkpoint
from slimpose.runtime import models
from slimpose.skeleton import COCO17, Skeleton
from slimpose.train import distillation
from slimpose.train.pose_task import heatmap_loss
from slimpose.train.recipe import Recipe
from slimpose.train.recipes import RECIPES
from slimpose.train.run import BEST, METRICS
from slimpose.train.task import Task
from synthetic_models import write_detector_model
from tiny_training import tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "best.safetensors"
    torch.manual_seed(5)
    net = PoseNet(tiny_training.NET)
    metadata = {"net": tiny_recipe().net.to_json(), "skeleton": COCO17.to_json()}
    save_checkpoint(path, net.state_dict(), metadata)
    return path


class Silent(nn.Module):
    """Its heatmaps are nought everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.maps = torch.zeros(0)

    def forward(self, crops: Tensor) -> Tensor:
        shape = len(crops), 17, crops.shape[1] // 4, crops.shape[2] // 4
        self.maps = torch.zeros(shape, requires_grad=True)
        return self.maps


def constant_teacher(
    value: float, name: str = "constant", skeleton: Skeleton = COCO17
) -> distillation.Teacher:
    def heatmaps_of(crops: Crops) -> Heatmaps:
        n, height, width, _ = crops.shape
        return np.full((n, 17, height // 4, width // 4), value, np.float32)

    return distillation.Teacher(
        name=name, runs_on="a constant", skeleton=skeleton, stride=4, heatmaps_of=heatmaps_of
    )


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_the_loss_is_the_share_of_the_labels_and_of_the_teacher(
    pictures: Path, alpha: float
) -> None:
    recipe = dataclasses.replace(tiny_recipe(), distillation_weight=alpha)
    task = tiny_task(recipe, pictures, constant_teacher(0.5))
    batch = task.batch_at(0)
    predicted = torch.zeros(batch.heatmaps.shape)
    sigma_px = recipe.sigma_share * predicted.shape[2]
    labels = heatmap_loss(
        predicted,
        torch.from_numpy(batch.heatmaps),
        torch.from_numpy(batch.weights),
        sigma_px=sigma_px,
    )
    taught = (
        0.25 * predicted.shape[2] * predicted.shape[3] / (np.pi * sigma_px**2)
    )  # 0.5 squared in every cell
    expected = (1 - alpha) * float(labels) + alpha * taught
    assert task.loss_of(Silent(), batch).item() == pytest.approx(expected, rel=1e-5)


def test_a_phase_says_whether_the_teacher_looks_once_or_at_every_crop(pictures: Path) -> None:
    looks = 0

    def heatmaps_of(crops: Crops) -> Heatmaps:
        nonlocal looks
        looks += 1
        return np.zeros((len(crops), 17, *(side // 4 for side in crops.shape[1:3])), np.float32)

    first, second = tiny_recipe().phases
    recipe = dataclasses.replace(
        tiny_recipe(),
        distillation_weight=0.5,
        phases=(dataclasses.replace(first, cached_teacher=True), second),
    )
    teacher = distillation.Teacher(
        name="counting", runs_on="NumPy", skeleton=COCO17, stride=4, heatmaps_of=heatmaps_of
    )
    task = tiny_task(recipe, pictures, teacher)
    before = looks
    assert before > 0
    once, each = task.batch_at(0), task.batch_at(recipe.steps - 1)
    assert once.taught is not None
    assert once.taught.shape == once.heatmaps.shape
    assert each.taught is None
    task.loss_of(task.model, once)
    assert looks == before
    task.loss_of(task.model, each)
    assert looks == before + 1


def test_crops_are_blended_only_where_a_teacher_can_label_them(pictures: Path) -> None:
    taught = dataclasses.replace(
        tiny_recipe(), distillation_weight=0.5, augmentation=Augmentation(mixup=1.0)
    )
    teacher = constant_teacher(0.5)
    assert not tiny_task(taught, pictures, teacher).batch_at(0).weights.any()
    for recipe, by in (
        (dataclasses.replace(taught, distillation_weight=0.0), None),
        (taught.with_cached_teacher(), teacher),
        (dataclasses.replace(taught, distill_unlabeled=False), teacher),
    ):
        assert tiny_task(recipe, pictures, by).batch_at(0).weights.any()


def test_a_teacher_that_is_done_looking_leaves_memory(pictures: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), distillation_weight=0.5)

    def is_kept(recipe: Recipe) -> bool:
        teacher = constant_teacher(0.5)
        net = weakref.ref(teacher.heatmaps_of)
        task = tiny_task(recipe, pictures, teacher)
        del teacher
        gc.collect()
        assert task.loss_of(Silent(), task.batch_at(0)).item() > 0
        return net() is not None

    assert is_kept(recipe)
    assert not is_kept(recipe.with_cached_teacher())


def test_joints_without_a_label_are_taught_by_choice(pictures: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), distillation_weight=1.0)
    everything, labeled = (
        tiny_task(
            dataclasses.replace(recipe, distill_unlabeled=taught), pictures, constant_teacher(0.5)
        )
        for taught in (True, False)
    )
    batch = everything.batch_at(0)
    batch.weights[:, 3:] = 0

    def gradient(task: Task) -> Tensor:
        model = Silent()
        task.loss_of(model, batch).backward()
        assert model.maps.grad is not None
        return model.maps.grad.abs().amax(dim=(2, 3))

    assert (gradient(everything) > 0).all()
    np.testing.assert_array_equal((gradient(labeled) > 0).numpy(), batch.weights > 0)


def test_a_teacher_may_see_every_crop_mirrored_too(pictures: Path) -> None:
    """It says how bright the left half is, of every joint: mirrored back, the mean is that of both halves."""

    def heatmaps_of(crops: Crops) -> Heatmaps:
        bright = crops[:, :, : crops.shape[2] // 2].mean(axis=(1, 2, 3)) / 255
        maps = np.zeros((len(crops), 17, crops.shape[1] // 4, crops.shape[2] // 4), np.float32)
        maps[..., :1] = bright[:, None, None, None]
        return maps

    recipe = dataclasses.replace(tiny_recipe(), distillation_weight=1.0)
    teacher = distillation.Teacher(
        name="left", runs_on="NumPy", skeleton=COCO17, stride=4, heatmaps_of=heatmaps_of
    )
    once, both = (
        tiny_task(dataclasses.replace(recipe, mirrored_teacher=is_mirrored), pictures, teacher)
        for is_mirrored in (False, True)
    )
    batch = once.batch_at(0)
    sigma_px = recipe.sigma_share * batch.heatmaps.shape[2]
    left, right = (heatmaps_of(crops)[..., 0] for crops in (batch.crops, batch.crops[:, :, ::-1]))
    for task, energy in ((once, left**2), (both, (left / 2) ** 2 + (right / 2) ** 2)):
        expected = (
            energy.sum() / (np.pi * sigma_px**2) / (len(batch.crops) * 17)
        )  # of each person, for each joint
        assert task.loss_of(Silent(), batch).item() == pytest.approx(expected, rel=1e-4)


def test_a_source_that_is_not_trusted_is_left_to_the_teacher(pictures: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe(), distillation_weight=0.5, keypoint_confidence={"": 0.0}
    )
    trusted = tiny_task(
        dataclasses.replace(recipe, keypoint_confidence={}), pictures, constant_teacher(0)
    ).batch_at(0)
    left = tiny_task(recipe, pictures, constant_teacher(0)).batch_at(0)
    assert trusted.weights.max() == 1
    assert left.weights.max() == 0
    np.testing.assert_array_equal(left.crops, trusted.crops)


def random_crops(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def by_pytorch(weights: Path, crops: np.ndarray) -> np.ndarray:
    """The heatmaps of a run's net, in FP32."""
    net = PoseNet(tiny_training.NET).eval()
    load_into(net, load_checkpoint(weights).tensors, path=weights)
    with torch.inference_mode():
        return net(torch.from_numpy(crops)).numpy()


def test_weights_of_a_run_teach_what_they_predict_at_any_size(weights: Path) -> None:
    teacher = distillation.open_teacher(weights)
    assert teacher.skeleton.joints == COCO17.joints
    assert re.fullmatch(r"best\.safetensors [0-9a-f]{12}", teacher.name)
    for size in ((64, 64), (96, 64)):
        crops = random_crops(3, *size)
        expected = by_pytorch(weights, crops)
        given = teacher.heatmaps_of(crops)
        assert given.shape == expected.shape
        assert (
            np.abs(given - expected).max() < 0.02 * np.abs(expected).max() + 1e-3
        )  # BF16 keeps 8 bits


def test_without_openvino_pytorch_computes_the_same(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    teacher = distillation.open_teacher(weights)
    assert teacher.runs_on == "PyTorch FP32, cpu"
    crops = random_crops(2, 64, 64)
    np.testing.assert_allclose(
        teacher.heatmaps_of(crops), by_pytorch(weights, crops), atol=1e-5, rtol=1e-4
    )


def test_on_a_processor_without_bf16_openvino_computes_in_fp32(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimpose.train.inference.supported_precisions", lambda core: ("fp32",))
    teacher = distillation.open_teacher(weights)
    assert teacher.runs_on == "OpenVINO FP32"
    crops = random_crops(2, 64, 64)
    expected = by_pytorch(weights, crops)
    assert np.abs(teacher.heatmaps_of(crops) - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_shipped_model_teaches_at_the_students_size() -> None:

    teacher = distillation.open_teacher(models.resolve("mnv2"))
    crops = np.zeros((2, 192, 160, 3), np.uint8)
    assert teacher.heatmaps_of(crops).shape == (2, 17, 48, 40)
    assert teacher.runs_on == "ONNX Runtime FP32"


def test_a_fixed_size_teachers_peaks_stay_in_place_in_a_smaller_crop() -> None:
    from slimpose.media.images import read_image
    from slimpose.runtime.crops import crop_people

    photo = read_image(Path(__file__).parents[2] / "examples" / "photos" / "000000507015.jpg")
    box = np.array([[489, 179, 553, 402]], np.float32)  # somebody who stands alone
    teacher = distillation.open_teacher(models.resolve("mnv2"))
    maps = {}
    for size in (Size(256, 192), Size(128, 96)):
        crops, _ = crop_people(photo, box, size)
        maps[size.height] = teacher.heatmaps_of(crops)[0]
    sure = maps[256].reshape(17, -1).max(axis=1) > 0.3
    assert sure.sum() >= 10
    for joint in np.flatnonzero(sure):
        y, x = np.unravel_index(maps[256][joint].argmax(), maps[256][joint].shape)
        v, u = np.unravel_index(maps[128][joint].argmax(), maps[128][joint].shape)
        assert abs((u + 0.5) * 2 - (x + 0.5)) <= 2
        assert abs((v + 0.5) * 2 - (y + 0.5)) <= 2


@pytest.mark.parametrize(
    ("alpha", "teacher", "message"),
    [
        (0.5, None, "a teacher is missing, and the recipe's alpha is 0.5"),
        (
            0.0,
            constant_teacher(0),
            "a teacher was given, and the recipe's alpha is 0; expected both or neither",
        ),
    ],
)
def test_alpha_and_teacher_come_together(
    pictures: Path, alpha: float, teacher: distillation.Teacher | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny_task(dataclasses.replace(tiny_recipe(), distillation_weight=alpha), pictures, teacher)


def test_a_teacher_of_other_joints_is_refused(pictures: Path) -> None:
    other = Skeleton(name="one", joints=("nose",), limbs=(), sigmas=(0.1,), upper_body=())
    recipe = dataclasses.replace(tiny_recipe(), distillation_weight=0.5)
    with pytest.raises(ValueError, match="the teacher's joints are"):
        tiny_task(recipe, pictures, constant_teacher(0, skeleton=other))


def test_a_teacher_whose_cells_are_of_another_size_is_refused(pictures: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), distillation_weight=0.5)
    coarse = dataclasses.replace(constant_teacher(0), stride=8)
    with pytest.raises(
        ValueError,
        match="the teacher's heatmaps have cells of 8 px, tiny's net of 4; expected the same",
    ):
        tiny_task(recipe, pictures, coarse)
    assert tiny_task(recipe.with_cached_teacher(), pictures, coarse).batch_at(0).taught.shape == (
        4,
        17,
        8,
        8,
    )


def test_a_file_that_is_no_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher"):
        distillation.open_teacher(tmp_path / "none.safetensors")
    save_checkpoint(tmp_path / "bare.safetensors", {"a": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="does not say which net it is of"):
        distillation.open_teacher(tmp_path / "bare.safetensors")
    save_checkpoint(tmp_path / "checkpoint.safetensors", {"model.a": torch.ones(1)}, {"step": "4"})
    with pytest.raises(
        ValueError, match=r"checkpoint to resume from; expected the run's best\.safetensors"
    ):
        distillation.open_teacher(tmp_path / "checkpoint.safetensors")
    with pytest.raises(ValueError, match=r"detector\.onnx is a detect model; expected a pose net"):
        distillation.open_teacher(write_detector_model(tmp_path / "detector.onnx"))


# the verb


def test_the_verb_has_the_teacher_look_once_and_teach_labeled_joints(
    pictures: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "tiny", tiny_recipe)
    monkeypatch.setattr(
        verb, "keep_freed_memory", lambda: None
    )  # that would be for the rest of the suite
    file = pictures / "people.json"
    told = partial(
        verb.train, "tiny", out=tmp_path, train=file, images=pictures, val=file, val_images=pictures
    )
    with pytest.raises(
        ValueError, match="--cached-teacher and --labeled-only are for pose nets that learn from a"
    ):
        told(labeled_only=True)
    assert told(teacher=weights, cached_teacher=True, labeled_only=True, threads=1) == 0
    peaks = load_checkpoint(tmp_path / distillation.TEACHER_CACHE).tensors["peaks"]
    assert tuple(peaks.shape) == (6, 17, 2, 3)
    recipe = Recipe.from_json(load_checkpoint(tmp_path / BEST).metadata["recipe"])
    assert recipe == dataclasses.replace(
        tiny_recipe().with_cached_teacher(), distillation_weight=0.5, distill_unlabeled=False
    )


def test_an_alpha_that_is_no_share_ends_the_verb(
    pictures: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(RECIPES, "tiny", tiny_recipe)
    monkeypatch.setattr(verb, "keep_freed_memory", lambda: None)
    file, folder = str(pictures / "people.json"), str(pictures)
    words = [
        "train",
        "tiny",
        "--out",
        str(tmp_path),
        "--train",
        file,
        "--images",
        folder,
        "--val",
        file,
    ]
    words += ["--val-images", folder, "--teacher", str(weights), "--alpha", "1.5"]
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "slimpose: alpha is 1.5; expected 0 to 1" in capsys.readouterr().err


def test_a_recipe_that_distils_can_do_without_a_teacher_if_told_so(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = dataclasses.replace(
        tiny_recipe(), distillation_weight=0.5, feature_distillation_weight=0.5
    )
    monkeypatch.setitem(RECIPES, "tiny", lambda: taught)
    monkeypatch.setattr(verb, "keep_freed_memory", lambda: None)
    file = pictures / "people.json"
    told = partial(
        verb.train, "tiny", out=tmp_path, train=file, images=pictures, val=file, val_images=pictures
    )
    for alpha, share in ((None, "0.5"), (0.7, "0.7")):
        with pytest.raises(
            ValueError,
            match=f"tiny with alpha {share} learns from a teacher; pass --teacher FILE, or",
        ):
            told(alpha=alpha)
    assert told(alpha=0.0, threads=1) == 0
    assert Recipe.from_json(load_checkpoint(tmp_path / BEST).metadata["recipe"]) == tiny_recipe()


def test_a_run_keeps_to_the_cells_of_the_weights_it_begins_with(
    pictures: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "tiny", tiny_recipe)
    monkeypatch.setattr(verb, "keep_freed_memory", lambda: None)
    start = load_checkpoint(weights)
    save_checkpoint(
        tmp_path / "start.safetensors", start.tensors, start.metadata | {"alignment": "multiples"}
    )
    file, out = pictures / "people.json", tmp_path / "run"
    told = partial(
        verb.train,
        "tiny",
        out=out,
        train=file,
        images=pictures,
        val=file,
        val_images=pictures,
        threads=1,
    )
    assert told(start=str(tmp_path / "start.safetensors"), stop_after_minutes=0) == 0
    assert told(resume=True) == 0
    saved = load_checkpoint(out / BEST)
    assert saved.metadata["alignment"] == "multiples"
    net = net_from_metadata(saved.metadata)
    assert isinstance(net, PoseNet)
    assert net.alignment == "multiples"
    logged = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    assert len(logged) == tiny_recipe().steps
