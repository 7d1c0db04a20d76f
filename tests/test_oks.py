from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slimpose.arrays import Points
from slimpose.oks import oks_matrix, oks_nms
from slimpose.skeleton import COCO17


def person_at(x: float, y: float, *, height_px: float = 100.0) -> Points:
    """A vertical column of 17 joints."""
    column = np.stack([np.zeros(17), np.linspace(0, height_px, 17)], axis=1)
    return (column + np.array([x, y])).astype(np.float32)[None]


AREA = np.array([5000], np.float32)


# known values


def test_identical_poses_have_similarity_1() -> None:
    assert oks_matrix(person_at(10, 20), person_at(10, 20), AREA, COCO17)[0, 0] == 1


def test_error_of_one_sigma_has_similarity_exp_minus_half() -> None:
    # A single counted joint with an error of k * sqrt(area), k = 2 sigma, scores exp(-1/2).
    nose_only = np.arange(17)[None] == 0
    off = person_at(0, 0).copy()
    off[0, 0, 0] += 2 * COCO17.sigmas[0] * np.sqrt(5000)
    similarity = oks_matrix(person_at(0, 0), off, AREA, COCO17, counted_a=nose_only)
    assert similarity[0, 0] == pytest.approx(np.exp(-0.5), rel=1e-5)


def test_joints_not_counted_are_ignored() -> None:
    counted = np.ones((1, 17), bool)
    counted[0, 16] = False
    off = person_at(0, 0).copy()
    off[0, 16] += 1000
    assert oks_matrix(person_at(0, 0), off, AREA, COCO17, counted_a=counted)[0, 0] == 1


def test_person_without_counted_joints_has_similarity_0() -> None:
    none_counted = np.zeros((1, 17), bool)
    similarity = oks_matrix(person_at(0, 0), person_at(0, 0), AREA, COCO17, counted_a=none_counted)
    assert similarity[0, 0] == 0


def test_person_without_area_has_similarity_0_not_nan() -> None:
    similarity = oks_matrix(person_at(0, 0), person_at(1, 0), np.zeros(1, np.float32), COCO17)
    assert similarity[0, 0] == 0


def test_nms_keeps_the_better_of_two_similar_poses() -> None:
    poses = np.concatenate([person_at(0, 0), person_at(1, 0), person_at(300, 0)])
    scores, areas = np.array([0.5, 0.9, 0.3], np.float32), np.full(3, 5000, np.float32)
    assert oks_nms(poses, scores, areas, COCO17, threshold=0.9) == [1, 2]


def test_nms_with_threshold_1_keeps_all_best_first() -> None:
    poses = np.concatenate([person_at(0, 0)] * 3)
    scores, areas = np.array([0.5, 0.9, 0.5], np.float32), np.full(3, 5000, np.float32)
    assert oks_nms(poses, scores, areas, COCO17, threshold=1.0) == [1, 0, 2]


def test_empty_arrays_are_supported() -> None:
    points, scores = np.zeros((0, 17, 2), np.float32), np.zeros(0, np.float32)
    assert oks_nms(points, scores, scores, COCO17, threshold=0.9) == []
    assert oks_matrix(points, person_at(0, 0), scores, COCO17).shape == (0, 1)


# parity with pycocotools


def _by_pycocotools(
    truth: list[dict[str, Any]], found: list[dict[str, Any]], path: Path
) -> np.ndarray:
    """OKS as (truth, found), in the order of ``found``."""
    import json

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    document = {
        "info": {},
        "images": [{"id": 1, "height": 400, "width": 400}],
        "annotations": truth,
        "categories": [{"id": 1, "name": "person"}],
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO(str(path))
        loaded = ground.loadRes(found)  # pyright: ignore[reportArgumentType]
        evaluation = COCOeval(ground, loaded, "keypoints")
        evaluation.params.imgIds, evaluation.params.catIds = [1], [1]
        evaluation._prepare()  # pyright: ignore[reportAttributeAccessIssue]
        return np.asarray(evaluation.computeOks(1, 1)).T


@pytest.mark.parametrize("seed", range(12))
def test_similarity_equals_pycocotools_on_random_people(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    people, predictions = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    points_a = rng.uniform(0, 400, (people, 17, 2)).astype(np.float32)
    noise = rng.normal(0, 10.0 ** rng.uniform(-1, 2), (predictions, 17, 2))
    points_b = (points_a[rng.integers(0, people, predictions)] + noise).astype(np.float32)
    areas = (10 ** rng.uniform(2.5, 5, people)).astype(np.float32)
    visibility = rng.integers(0, 3, (people, 17))
    visibility[:, 0] = 2  # with no labeled joint COCO falls back to the box; ours is 0
    truth = [
        {
            "id": i + 1,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "num_keypoints": int((visibility[i] > 0).sum()),
            "area": float(areas[i]),
            "bbox": [0, 0, 400, 400],
            "keypoints": np.concatenate([points_a[i], visibility[i][:, None]], axis=1)
            .ravel()
            .tolist(),
        }
        for i in range(people)
    ]
    found = [
        {
            "image_id": 1,
            "category_id": 1,
            "score": 1 - i / 100,  # pycocotools sorts by score
            "keypoints": np.concatenate([points_b[i], np.ones((17, 1))], axis=1).ravel().tolist(),
        }
        for i in range(predictions)
    ]
    expected = _by_pycocotools(truth, found, tmp_path / "truth.json")
    ours = oks_matrix(points_a, points_b, areas, COCO17, counted_a=visibility > 0)
    np.testing.assert_allclose(ours, expected, atol=2e-5)
