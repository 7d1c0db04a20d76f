"""What labels show about a skeleton: sigmas, limbs, doubtful pairs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drawn_objects import KINDS, projected
from slimpose.joint_names import mirror_pairs
from slimpose.label_geometry import (
    MIN_REPEATED,
    SIGMA_RANGE,
    LabeledPoints,
    asymmetry,
    doubtful_pairs,
    joint_distances,
    shortest_limbs,
    sigmas_from_labels,
    sigmas_from_repeats,
)


def labels_of(kind: str, count: int = 200, *, noise: float = 0.0) -> LabeledPoints:
    rng = np.random.default_rng(3)
    points = np.stack([projected(KINDS[kind], rng)[:, :2] for _ in range(count)])
    points = points * rng.uniform(40, 200, (count, 1, 1))
    extents = np.ptp(points, axis=1)
    areas = np.maximum(extents.prod(axis=1), 1)
    points += noise * np.sqrt(areas)[:, None, None] * rng.normal(0, 1, points.shape)
    return LabeledPoints(
        points=points, labeled=np.ones(points.shape[:2], bool), areas=areas.astype(np.float64)
    )


def partners(kind: str) -> np.ndarray:
    return np.array(mirror_pairs(KINDS[kind].joints).partners)


@pytest.mark.parametrize("kind", KINDS)
def test_sigmas_are_in_cocos_range_and_not_one_over_n(kind: str) -> None:
    sigmas = sigmas_from_labels(labels_of(kind), partners(kind))
    assert (sigmas >= SIGMA_RANGE[0]).all()
    assert (sigmas <= SIGMA_RANGE[1]).all()
    np.testing.assert_array_equal(sigmas, sigmas[partners(kind)])
    assert not np.allclose(sigmas, 1 / len(sigmas), atol=0.01)


def test_close_joints_have_smaller_sigmas() -> None:
    sigmas = dict(
        zip(
            KINDS["animal"].joints,
            sigmas_from_labels(labels_of("animal"), partners("animal")),
            strict=True,
        )
    )
    assert sigmas["eye.L"] < sigmas["nose"] < sigmas["tail"] + 0.02


def test_rigid_object_has_sigmas_of_its_label_noise() -> None:
    """A plate with four corners and a center: each is where the others say."""
    rng = np.random.default_rng(0)
    plate = np.array([[0, 0], [100, 0], [100, 100], [0, 100], [50, 50]], float)
    turns = rng.uniform(0, 2 * np.pi, 300)
    turn = np.stack([[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]]).transpose(
        2, 0, 1
    )
    points = plate @ turn

    def sigmas(noise_px: float) -> np.ndarray:
        labels = LabeledPoints(
            points=points + noise_px * rng.normal(0, 1, points.shape),
            labeled=np.ones(points.shape[:2], bool),
            areas=np.full(300, 1e4),
        )
        return sigmas_from_labels(labels, np.arange(5))

    np.testing.assert_array_equal(sigmas(0.2), SIGMA_RANGE[0])
    assert (sigmas(1.2) > SIGMA_RANGE[0]).all()
    assert (sigmas(1.2) < 0.075).all()


def test_error_of_a_tenth_of_the_size_is_not_rewarded() -> None:
    """With 1/n, five joints and an error of a tenth of the body's size had an OKS of 0.97."""
    sigmas = sigmas_from_labels(labels_of("shears"), partners("shears"))
    oks = np.exp(-(0.1**2) / (2 * (2 * sigmas) ** 2)).mean()
    assert oks < 0.85
    assert np.exp(-(0.1**2) / (2 * (2 / 5) ** 2)) > 0.96


def test_too_few_labels_give_no_sigma() -> None:
    labels = labels_of("animal")
    labeled = labels.labeled.copy()
    labeled[4:, 0] = False
    few = dataclasses.replace(labels, labeled=labeled)
    sigmas = sigmas_from_labels(few, partners("animal"))
    assert np.isnan(sigmas[0])
    assert np.isfinite(sigmas[1:]).all()


def test_repeated_labels_give_the_noise_of_one_label() -> None:
    """Two people who each err by 3 px along x and y on objects of 100 px."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 500, (4000, 2, 2))
    first, second = (
        LabeledPoints(
            points=true + 3 * rng.normal(0, 1, true.shape),
            labeled=np.ones((4000, 2), bool),
            areas=np.full(4000, 1e4),
        )
        for _ in range(2)
    )
    np.testing.assert_allclose(sigmas_from_repeats(first, second), 0.03 * np.sqrt(2), rtol=0.05)
    few = MIN_REPEATED - 1
    one, other = (
        LabeledPoints(points=a.points[:few], labeled=a.labeled[:few], areas=a.areas[:few])
        for a in (first, second)
    )
    assert np.isnan(sigmas_from_repeats(one, other)).all()


def test_right_pairs_are_not_doubtful_and_wrong_ones_are() -> None:
    distances = joint_distances(labels_of("animal"))
    assert doubtful_pairs(distances, partners("animal")) == []
    joints = KINDS["animal"].joints
    wrong = np.arange(20)
    a, b = joints.index("eye.L"), joints.index("hl_hoof")
    wrong[[a, b]] = b, a
    assert doubtful_pairs(distances, wrong) == [(a, b)]


def test_asymmetry_of_too_few_labels_is_unknown() -> None:
    assert asymmetry(np.full((4, 4), np.inf), 0, 1) == 0


def test_shortest_limbs_connect_all_joints() -> None:
    distances = joint_distances(labels_of("hand"), quantile=0.9)
    limbs = shortest_limbs(distances)
    assert len(limbs) == 20
    assert {joint for limb in limbs for joint in limb} == set(range(21))
    joints = KINDS["hand"].joints
    named = {frozenset((joints[a], joints[b])) for a, b in limbs}
    assert sum(frozenset((f"{f}_3", f"{f}_4")) in named for f in ("index", "ring", "pinky")) >= 2
    alone = distances.copy()
    alone[0], alone[:, 0] = np.inf, np.inf
    assert len(shortest_limbs(alone)) == 19
