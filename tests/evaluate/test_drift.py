"""``slimpose verify``: known distances, limits that fail, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.arrays import Size
from slimpose.cli.main import main
from slimpose.evaluate.drift import compare_models
from slimpose.runtime.session import ModelInfo, read_info
from slimpose.skeleton import COCO17, Skeleton
from synthetic_models import CROP, dot_image, metadata_of, write_detector_model, write_pose_model

COUNT = 3
AREAS = np.full(COUNT, 1024, np.float32)
CROPS = np.zeros((COUNT, *CROP, 3), np.uint8)


class Answers:
    """A model whose answers are given."""

    def __init__(
        self, points: np.ndarray, scores: np.ndarray, heatmaps: np.ndarray | None = None
    ) -> None:
        self.info: ModelInfo = read_info(Path("given"), metadata_of("pose", CROP))
        self._given = {"points": points, "scores": scores}
        if heatmaps is not None:
            self._given["heatmaps"] = heatmaps
        self.outputs = tuple(self._given)

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        assert len(batch) == COUNT
        return [self._given[name] for name in outputs]


def answers(
    *, shift_x: float = 0.0, score: float = 0.8, low: int = 0, maps: float | None = None
) -> Answers:
    """Every joint ``shift_x`` right of 20, 20; the first ``low`` joints of each person score 0.1."""
    points = np.full((COUNT, 17, 2), 20, np.float32)
    points[..., 0] += shift_x
    scores = np.full((COUNT, 17), score, np.float32)
    scores[:, :low] = 0.1
    heatmaps = None if maps is None else np.full((COUNT, 17, 16, 12), maps, np.float32)
    return Answers(points, scores, heatmaps)


def test_distances_and_scores_are_those_of_joints_that_both_models_see() -> None:
    drift = compare_models(
        answers(maps=0.5), answers(shift_x=3, score=0.7, low=5, maps=0.25), CROPS, AREAS
    )
    assert (drift.people, drift.joints) == (3, 3 * 12)
    assert (drift.mean_px, drift.p95_px, drift.max_px) == (3, 3, 3)
    assert drift.score_max == pytest.approx(
        0.7
    )  # a joint that one model sees and the other does not
    assert drift.score_mean == pytest.approx((12 * 0.1 + 5 * 0.7) / 17)
    sigmas = COCO17.sigma_array[5:]
    assert drift.oks_mean == pytest.approx(
        float(np.exp(-9 / (2 * 1024 * (2 * sigmas) ** 2)).mean()), abs=1e-5
    )
    assert (drift.map_rms, drift.map_max) == (0.25, 0.25)


@given(shift_x=st.floats(0, 40, width=32))
def test_oks_falls_from_1_as_points_part(shift_x: float) -> None:
    drift = compare_models(answers(), answers(shift_x=shift_x), CROPS, AREAS)
    assert drift.mean_px == pytest.approx(shift_x, abs=1e-4)
    further = compare_models(answers(), answers(shift_x=shift_x + 1), CROPS, AREAS)
    assert 0 <= further.oks_mean <= drift.oks_mean <= 1 + 1e-6
    assert drift.map_rms is None


def test_a_model_that_sees_nobody_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"of 3 people no joint scores over 0\.3 in both models"):
        compare_models(answers(), answers(score=0.2), CROPS, AREAS)


@pytest.fixture
def scene(tmp_path: Path) -> list[object]:
    """One picture with one person; the options that name it."""
    cv2.imwrite(str(tmp_path / "a.png"), dot_image(Size(160, 160), 64, 62))
    person = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [40, 30, 48, 64],
        "area": 3072,
        "iscrowd": 0,
    }
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 160, "width": 160}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "people.json").write_text(json.dumps(document))
    return ["--images", tmp_path, "--annotations", tmp_path / "people.json", "--threads", "1"]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def test_a_model_is_the_same_as_itself_however_it_is_named(
    tmp_path: Path, scene: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_pose_model(tmp_path / "a@b.onnx")
    asked = ["verify", model, f"{model}@onnxruntime:fp32", *scene, "--max-px", "0", "--json"]
    assert run(*asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["people"], told["joints"], told["max_px"], told["oks_min"], told["broken"]) == (
        1,
        17,
        0,
        1,
        [],
    )


def test_a_broken_limit_is_told_and_fails(
    tmp_path: Path,
    scene: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from slimpose.cli import verify
    from slimpose.evaluate.drift import PredictionDrift

    far = compare_models(answers(), answers(shift_x=2), CROPS, AREAS)
    monkeypatch.setattr(verify, "compare_models", lambda *_args, **_options: far)
    assert isinstance(far, PredictionDrift)
    model = write_pose_model(tmp_path / "pose.onnx")
    assert run("verify", model, model, *scene, "--max-px", "2.5", "--max-p95-px", "1.5") == 1
    told = capsys.readouterr()
    assert "the 95th percentile is 2.000 px; at most 1.5 is allowed" in told.err
    assert "largest" not in told.err
    assert "mean 2.000" in told.out


def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, scene: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    pose = write_pose_model(tmp_path / "pose.onnx")
    two = Skeleton(
        name="two", joints=("a", "b"), limbs=(("a", "b"),), sigmas=(0.1, 0.1), upper_body=()
    )
    other = write_pose_model(tmp_path / "two.onnx", skeleton=two)
    cases = [
        ([pose, other, *scene], "expected the same size and joints"),
        (
            [pose, write_detector_model(tmp_path / "d.onnx"), *scene],
            "is a detect model; expected a pose model",
        ),
        ([pose, "nobody", *scene], "no model is named 'nobody'"),
        ([pose, f"{pose}@abacus", *scene], "abacus"),
        ([pose, pose, *scene, "--max-px", "-1"], "--max-px is -1"),
        ([pose, pose, *scene, "--min-score", "2"], "--min-score is 2"),
        ([pose, pose, "--annotations", tmp_path / "people.json"], "expected --images"),
        ([pose, pose, "--images", tmp_path / "nowhere"], "no image folder"),
    ]
    for words, message in cases:
        assert run("verify", *words) == 2
        assert message in capsys.readouterr().err
