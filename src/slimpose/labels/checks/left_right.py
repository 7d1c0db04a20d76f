"""Instances whose left and right are exchanged as a whole, found by what is usual in the data.

A classifier learns from the labels themselves: each instance as it is labeled against the same one
with left and right exchanged. It sees where the joints are relative to each other and which are
visible, so a face between shoulders in the wrong order, or a hidden arm on the near side, gives an
exchange away. It is a ridge regression on random Fourier features (Rahimi and Recht, NIPS 2007),
antisymmetric in the exchange and fitted without the instances that it judges. A model's
predictions are a second evidence.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from slimpose.labels.checks.pose_arrays import PoseArrays

_FEATURES = 1000
_FOLDS = 5
_RIDGE_SHARE = 0.3
_MIN_INSTANCES = 30
_MAX_SHARE = 0.3
_PRIOR = 1e-4
_MAX_WEIGHT = 15.0
_STARTS = ((2.0, 0.01), (8.0, 0.05), (4.0, 0.2))
"""Weights and shares that the fit starts from; the most likely result is used."""
_SIMILAR_SHARE = 0.12
"""Distance at which a prediction hardly supports a label, as a share of the instance's size."""


def side_evidence(
    poses: PoseArrays, flip_indices: np.ndarray, *, seed: int = 0
) -> Float64[np.ndarray, " n"]:
    """Return how well each instance's sides fit the others', about -1..1; 0 says nothing.

    Args:
        poses: The instances.
        flip_indices: For each joint its partner, itself in the middle.
        seed: Of the random features.
    """
    n = len(poses.people)
    if n < _MIN_INSTANCES or (flip_indices == np.arange(len(flip_indices))).all():
        return np.zeros(n)
    inputs = _inputs(poses, flip_indices, is_swapped=False, is_mirrored=False)
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(inputs.shape[1], _FEATURES)) * 2 / inputs.shape[1] ** 0.5
    phases = generator.uniform(0, 2 * np.pi, _FEATURES)

    def features(*, is_swapped: bool, is_mirrored: bool) -> np.ndarray:
        values = _inputs(poses, flip_indices, is_swapped=is_swapped, is_mirrored=is_mirrored)
        waves = np.cos((values @ directions + phases).astype(np.float32))
        return np.concatenate([waves, values.astype(np.float32)], axis=1)

    # Antisymmetric in the exchange; the same for an image and its mirror image.
    design = features(is_swapped=False, is_mirrored=False)
    design -= features(is_swapped=True, is_mirrored=False)
    design += features(is_swapped=False, is_mirrored=True)
    design -= features(is_swapped=True, is_mirrored=True)
    design /= design.std(axis=0) + 1e-3
    # Instances of one image are alike: they are judged together.
    _, images = np.unique([one.image_id for one in poses.people], return_inverse=True)
    folds = generator.permutation(images.max() + 1)[images] % _FOLDS
    gram, target = design.T @ design, design.sum(axis=0)
    ridge = _RIDGE_SHARE * n * np.eye(len(gram), dtype=np.float32)
    evidence = np.zeros(n)
    for fold in range(_FOLDS):
        rows = folds == fold
        part = design[rows]
        weights = np.linalg.solve(gram - part.T @ part + ridge, target - part.sum(axis=0))
        evidence[rows] = part @ weights
    return evidence


def model_evidence(
    poses: PoseArrays,
    predicted: Float64[np.ndarray, "n joints 2"],
    scores: Float64[np.ndarray, "n joints"],
    flip_indices: np.ndarray,
) -> Float64[np.ndarray, " n"]:
    """Return how much better predictions fit the labels than the exchanged labels, -1..1."""
    paired = poses.labeled & (flip_indices != np.arange(len(flip_indices)))
    weight = paired * np.minimum(scores, scores[:, flip_indices])

    def similarity(points: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(points - poses.points, axis=2)
        return np.exp(-0.5 * (distance / (_SIMILAR_SHARE * poses.sizes_px[:, None])) ** 2)

    gain = similarity(predicted) - similarity(predicted[:, flip_indices])
    return (gain * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 0.5)


def swap_probability(evidence: Float64[np.ndarray, "n kinds"]) -> Float64[np.ndarray, " n"]:
    """Return the probability of each instance that its sides are exchanged.

    The logistic function of weighted evidence, with the weights and the share of exchanged
    instances that make the evidence of all instances most likely (expectation maximization): so
    nothing is flagged in data whose sides cannot be known from it.
    """
    n, kinds = evidence.shape
    if not n or not np.abs(evidence).any():
        return np.zeros(n)
    fits = [_fit(evidence, np.full(kinds, weight), share) for weight, share in _STARTS]
    return max(fits, key=lambda fit: fit[0])[1]


def _fit(
    evidence: np.ndarray, weights: np.ndarray, share: float
) -> tuple[float, Float64[np.ndarray, " n"]]:
    """Expectation maximization from one start; return the log likelihood and probabilities."""
    n, kinds = evidence.shape
    for _ in range(60):
        is_right = 1 / (1 + np.exp(-np.clip(evidence @ weights, -30, 30)))
        wrong = share * (1 - is_right)
        probability = wrong / (wrong + (1 - share) * is_right)
        share = float(np.clip(probability.mean(), 0.2 / n, _MAX_SHARE))
        gradient = evidence.T @ ((1 - probability) - is_right) - _PRIOR * n * weights
        curvature = (evidence * (is_right * (1 - is_right))[:, None]).T @ evidence
        step = np.linalg.solve(curvature + (_PRIOR * n + 1e-6) * np.eye(kinds), gradient)
        weights = np.clip(weights + np.clip(step, -2, 2), 0, _MAX_WEIGHT)
    is_right = 1 / (1 + np.exp(-np.clip(evidence @ weights, -30, 30)))
    wrong = share * (1 - is_right)
    likelihood = float(np.log(wrong + (1 - share) * is_right).sum())
    likelihood -= 0.5 * _PRIOR * n * float(weights @ weights)
    return likelihood, wrong / (wrong + (1 - share) * is_right)


def _inputs(
    poses: PoseArrays, flip_indices: np.ndarray, *, is_swapped: bool, is_mirrored: bool
) -> np.ndarray:
    """Positions and visibility of the joints, exchanged (another person's labels) or mirrored.

    The mirror image of a person is a person again once left and right are exchanged.
    """
    points, visibility = poses.normalized, poses.visibility
    if is_mirrored:
        points = points * np.array([-1.0, 1.0])
    if is_swapped != is_mirrored:
        points, visibility = points[:, flip_indices], visibility[:, flip_indices]
    flat = points.reshape(len(points), -1)
    return np.concatenate([flat, visibility > 0, visibility == 2], axis=1).astype(np.float64)
