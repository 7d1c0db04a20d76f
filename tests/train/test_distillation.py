from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_training
from foreign_models import JOINTS_PX, SIZE, write_heatmaps, write_simcc
from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Size
from slimpose.data.people import StoredCrops, TrainingPeople
from slimpose.geometry import CellAlignment
from slimpose.media.images import read_image
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint, load_into, save_checkpoint
from slimpose.runtime import models
from slimpose.runtime.crops import crop_people
from slimpose.skeleton import COCO17
from slimpose.train import distillation
from synthetic_models import write_detector_model

pytestmark = pytest.mark.usefixtures("one_thread")


def random_crops(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def by_pytorch(weights: Path, crops: np.ndarray) -> np.ndarray:
    """The heatmaps of a run's network, in FP32."""
    net = PoseNet(tiny_training.NET).eval()
    load_into(net, load_checkpoint(weights).tensors, path=weights)
    with torch.inference_mode():
        return net(torch.from_numpy(crops)).numpy()


def test_teacher_from_weights_predicts_at_any_size(weights: Path) -> None:
    teacher = distillation.open_teacher(weights)
    assert teacher.skeleton.joints == COCO17.joints
    assert re.fullmatch(r"best\.safetensors [0-9a-f]{12}", teacher.name)
    for size in ((64, 64), (96, 64)):
        crops = random_crops(3, *size)
        expected = by_pytorch(weights, crops)
        predicted = teacher.predict(crops)
        assert predicted.shape == expected.shape
        # BF16 keeps 8 bits.
        assert np.abs(predicted - expected).max() < 0.02 * np.abs(expected).max() + 1e-3


def test_without_openvino_pytorch_is_used(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    teacher = distillation.open_teacher(weights)
    assert teacher.runs_on == "PyTorch FP32, cpu"
    crops = random_crops(2, 64, 64)
    np.testing.assert_allclose(
        teacher.predict(crops), by_pytorch(weights, crops), atol=1e-5, rtol=1e-4
    )


def test_without_bf16_openvino_uses_fp32(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimpose.train.inference.supported_precisions", lambda core: ("fp32",))
    teacher = distillation.open_teacher(weights)
    assert teacher.runs_on == "OpenVINO FP32"
    crops = random_crops(2, 64, 64)
    expected = by_pytorch(weights, crops)
    assert np.abs(teacher.predict(crops) - expected).max() < 1e-4 * np.abs(expected).max()


def test_shipped_model_predicts_at_the_students_size() -> None:
    teacher = distillation.open_teacher(models.resolve("mnv2"))
    crops = np.zeros((2, 192, 160, 3), np.uint8)
    assert teacher.predict(crops).shape == (2, 17, 48, 40)
    assert teacher.runs_on == "ONNX Runtime FP32"


def test_peaks_of_a_fixed_size_teacher_are_right_in_smaller_crops() -> None:
    image = read_image(Path(__file__).parents[2] / "examples" / "photos" / "000000507015.jpg")
    box = np.array([[489, 179, 553, 402]], np.float32)  # a person who stands alone
    teacher = distillation.open_teacher(models.resolve("mnv2"))
    maps = {}
    for size in (Size(256, 192), Size(128, 96)):
        crops, _ = crop_people(image, box, size)
        maps[size.height] = teacher.predict(crops)[0]
    is_confident = maps[256].reshape(17, -1).max(axis=1) > 0.3
    assert is_confident.sum() >= 10
    for joint in np.flatnonzero(is_confident):
        y, x = np.unravel_index(maps[256][joint].argmax(), maps[256][joint].shape)
        v, u = np.unravel_index(maps[128][joint].argmax(), maps[128][joint].shape)
        assert abs((u + 0.5) * 2 - (x + 0.5)) <= 2
        assert abs((v + 0.5) * 2 - (y + 0.5)) <= 2


def test_invalid_teacher_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no teacher"):
        distillation.open_teacher(tmp_path / "none.safetensors")
    save_checkpoint(tmp_path / "bare.safetensors", {"a": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="does not name its network"):
        distillation.open_teacher(tmp_path / "bare.safetensors")
    save_checkpoint(tmp_path / "checkpoint.safetensors", {"model.a": torch.ones(1)}, {"step": "4"})
    with pytest.raises(
        ValueError, match=r"checkpoint to resume from; expected the run's best\.safetensors"
    ):
        distillation.open_teacher(tmp_path / "checkpoint.safetensors")
    with pytest.raises(
        ValueError, match=r"detector\.onnx is a detect model; expected a pose model"
    ):
        distillation.open_teacher(write_detector_model(tmp_path / "detector.onnx"))


@pytest.mark.parametrize("alignment", ["multiples", "corners"])
def test_heatmap_network_of_another_project_teaches_in_our_cells(
    tmp_path: Path, alignment: CellAlignment
) -> None:
    path = write_heatmaps(tmp_path / "net.onnx", alignment)
    if alignment == "corners":
        path.with_suffix(".toml").write_text('kind = "vitpose"\n')
    teacher = distillation.open_teacher(path)
    assert (teacher.stride, teacher.skeleton.name) == (4, COCO17.name)
    for scale in (1, 2):
        size = Size(scale * SIZE.height, scale * SIZE.width)
        maps = teacher.predict(np.zeros((2, *size, 3), np.uint8))
        assert maps.shape == (2, 17, size.height // 4, size.width // 4)
        points, _, _ = heatmap.decode(maps.astype(np.float32))
        found = geometry.heatmap_to_crop(points, 4)
        expected = scale * JOINTS_PX + (scale - 1) / 2
        np.testing.assert_allclose(found, np.tile(expected, (2, 1, 1)), atol=0.3 * scale)


def test_networks_of_other_projects_without_heatmaps_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a rtmpose network gives none; expected a heatmap netw"):
        distillation.open_teacher(write_simcc(tmp_path / "net.onnx"))


def test_cached_teacher_is_computed_once(tmp_path: Path) -> None:
    calls = 0

    def predict(crops: Crops) -> Heatmaps:
        nonlocal calls
        calls += 1
        return np.zeros((len(crops), 17, 32, 24), np.float32)

    people = TrainingPeople(
        stored_crops=StoredCrops([np.zeros((140, 100, 3), np.uint8)] * 4),
        boxes_stored=np.tile(np.array([10, 20, 80, 120], np.float32), (4, 1)),
        points_stored=np.ones((4, 17, 2), np.float32),
        weights=np.ones((4, 17), np.float32),
        sources=[""] * 4,
        skeleton=COCO17,
    )
    teacher = distillation.Teacher(
        name="one", runs_on="NumPy", skeleton=COCO17, stride=4, predict=predict
    )
    size = Size(128, 96)
    cache = tmp_path / "run" / distillation.TEACHER_CACHE
    first = distillation.cached_teacher(people, teacher, size=size, cache=cache)
    assert calls == 2  # one batch, plain and flipped
    np.testing.assert_array_equal(
        distillation.cached_teacher(people, teacher, size=size, cache=cache), first
    )
    assert calls == 2
    assert cache.stat().st_size < 24 * 17 * len(people) + 600
    moved = dataclasses.replace(people, boxes_stored=people.boxes_stored + 1)
    other = dataclasses.replace(teacher, name="two")
    for changed in ((people, other, size), (people, teacher, Size(64, 64)), (moved, teacher, size)):
        calls = 0
        distillation.cached_teacher(changed[0], changed[1], size=changed[2], cache=cache)
        assert calls == 2
