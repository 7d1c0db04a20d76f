"""Drift between two models and ``slimpose verify``: known distances, limits, rejected input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_main import run_main
from slimpose.arrays import Size
from slimpose.cli import verify
from slimpose.evaluate.drift import PredictionDrift, compare_models
from slimpose.runtime.session import ModelInfo, read_info
from slimpose.skeleton import COCO17, Skeleton
from synthetic_models import CROP, dot_image, metadata_of, write_detector_model, write_pose_model

COUNT = 3
AREAS = np.full(COUNT, 1024, np.float32)
CROPS = np.zeros((COUNT, *CROP, 3), np.uint8)


class FixedModel:
    """A model with fixed outputs."""

    def __init__(
        self, points: np.ndarray, scores: np.ndarray, heatmaps: np.ndarray | None = None
    ) -> None:
        self.info: ModelInfo = read_info(Path("fixed"), metadata_of("pose", CROP))
        self._outputs = {"points": points, "scores": scores}
        if heatmaps is not None:
            self._outputs["heatmaps"] = heatmaps
        self.outputs = tuple(self._outputs)

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        assert len(batch) == COUNT
        return [self._outputs[name] for name in outputs]


def fixed_model(
    *, shift_x: float = 0.0, score: float = 0.8, low: int = 0, maps: float | None = None
) -> FixedModel:
    """A model with every joint ``shift_x`` right of 20, 20.

    The first ``low`` joints of each person score 0.1.
    """
    points = np.full((COUNT, 17, 2), 20, np.float32)
    points[..., 0] += shift_x
    scores = np.full((COUNT, 17), score, np.float32)
    scores[:, :low] = 0.1
    heatmaps = None if maps is None else np.full((COUNT, 17, 16, 12), maps, np.float32)
    return FixedModel(points, scores, heatmaps)


def test_distances_are_of_joints_that_score_in_both_models() -> None:
    drift = compare_models(
        fixed_model(maps=0.5), fixed_model(shift_x=3, score=0.7, low=5, maps=0.25), CROPS, AREAS
    )
    assert (drift.people, drift.joints) == (3, 3 * 12)
    assert (drift.mean_px, drift.p95_px, drift.max_px) == (3, 3, 3)
    # a joint that scores in one model only
    assert drift.score_max == pytest.approx(0.7)
    assert drift.score_mean == pytest.approx((12 * 0.1 + 5 * 0.7) / 17)
    sigmas = COCO17.sigma_array[5:]
    assert drift.oks_mean == pytest.approx(
        float(np.exp(-9 / (2 * 1024 * (2 * sigmas) ** 2)).mean()), abs=1e-5
    )
    assert (drift.map_rms, drift.map_max) == (0.25, 0.25)


@given(shift_x=st.floats(0, 40, width=32))
def test_oks_decreases_with_the_distance(shift_x: float) -> None:
    drift = compare_models(fixed_model(), fixed_model(shift_x=shift_x), CROPS, AREAS)
    assert drift.mean_px == pytest.approx(shift_x, abs=1e-4)
    farther = compare_models(fixed_model(), fixed_model(shift_x=shift_x + 1), CROPS, AREAS)
    assert 0 <= farther.oks_mean <= drift.oks_mean <= 1 + 1e-6
    assert drift.map_rms is None


def test_models_without_a_common_joint_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"of 3 people no joint scores over 0\.3 in both models"):
        compare_models(fixed_model(), fixed_model(score=0.2), CROPS, AREAS)


@pytest.fixture
def scene(tmp_path: Path) -> list[object]:
    """One image with one person; the options that name it."""
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(160, 160), 64, 62))
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 48, 64], "area": 3072}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 160, "width": 160}],
        "annotations": [person | {"iscrowd": 0}],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "people.json").write_text(json.dumps(document))
    return ["--images", tmp_path, "--annotations", tmp_path / "people.json", "--threads", "1"]


def test_model_does_not_differ_from_itself(
    tmp_path: Path, scene: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_pose_model(tmp_path / "a@b.onnx")
    arguments = ["verify", model, f"{model}@onnxruntime:fp32", *scene, "--max-px", "0", "--json"]
    assert run_main(*arguments) == 0
    result = json.loads(capsys.readouterr().out)
    expected = {"people": 1, "joints": 17, "max_px": 0, "oks_min": 1, "broken": []}
    assert {name: result[name] for name in expected} == expected


def test_exceeded_limit_is_reported_and_fails(
    tmp_path: Path,
    scene: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:

    far = compare_models(fixed_model(), fixed_model(shift_x=2), CROPS, AREAS)
    monkeypatch.setattr(verify, "compare_models", lambda *_args, **_options: far)
    assert isinstance(far, PredictionDrift)
    model = write_pose_model(tmp_path / "pose.onnx")
    assert run_main("verify", model, model, *scene, "--max-px", "2.5", "--max-p95-px", "1.5") == 1
    output = capsys.readouterr()
    assert "the 95th percentile is 2.000 px; at most 1.5 is allowed" in output.err
    assert "largest" not in output.err
    assert "mean 2.000" in output.out


def test_invalid_comparison_is_rejected(
    tmp_path: Path, scene: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    pose = write_pose_model(tmp_path / "pose.onnx")
    two = Skeleton(name="two", joints=("a", "b"), limbs=(), sigmas=(0.1, 0.1), upper_body=())
    other = write_pose_model(tmp_path / "two.onnx", skeleton=two)
    detector = write_detector_model(tmp_path / "d.onnx")
    cases = [
        ([pose, other, *scene], "expected the same size and joints"),
        ([pose, detector, *scene], "is a detect model; expected a pose model"),
        ([pose, "unknown", *scene], "no model is named 'unknown'"),
        ([pose, f"{pose}@abacus", *scene], "abacus"),
        ([pose, pose, *scene, "--max-px", "-1"], "--max-px is -1"),
        ([pose, pose, *scene, "--min-score", "2"], "--min-score is 2"),
        ([pose, pose, "--annotations", tmp_path / "people.json"], "expected --images"),
        ([pose, pose, "--images", tmp_path / "nowhere"], "no image folder"),
    ]
    for arguments, message in cases:
        assert run_main("verify", *arguments) == 2
        assert message in capsys.readouterr().err
