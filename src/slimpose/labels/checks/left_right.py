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
_MIN_VARIANCE = 1e-3
_MAX_UNKNOWN = 0.05
_PRIOR = 1e-4
_MAX_WEIGHT = 15.0
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

    Where nearly all instances show their sides, exchanged ones are a group of their own, apart from
    the others: by all evidence, or by one kind. Elsewhere the probability is the logistic function
    of weighted evidence. What the data do not show is not flagged.
    """
    used = evidence[:, np.abs(evidence).sum(axis=0) > 0]
    if len(used) < _MIN_INSTANCES or not used.shape[1]:
        return np.zeros(len(evidence))
    probabilities = [_logistic(used)]
    for columns in (used, *(used[:, [column]] for column in range(used.shape[1]))):
        exchanged, unknown = _as_groups(columns)
        if unknown < _MAX_UNKNOWN:
            probabilities.append(exchanged)
    return np.max(probabilities, axis=0)


def _as_groups(used: np.ndarray) -> tuple[Float64[np.ndarray, " n"], float]:
    """Fit a mixture of normal distributions to the evidence (expectation maximization).

    Its groups are instances around a mean, exchanged ones around the opposite of it, and ones that
    show nothing around 0. Returns the probabilities of the second group, and the third's share.
    """
    kinds = used.shape[1]
    n = len(used)
    mean = np.maximum(np.median(used, axis=0), 1e-3)
    spread = np.diag(np.maximum(used.std(axis=0) ** 2 / 4, _MIN_VARIANCE))
    wide = np.diag(np.maximum((used**2).mean(axis=0), _MIN_VARIANCE))
    share, unknown = 0.02, 0.2
    exchanged = np.zeros(n)
    for _ in range(100):
        logs = np.stack(
            [
                np.log((1 - unknown) * (1 - share)) + _log_normal(used - mean, spread),
                np.log((1 - unknown) * share) + _log_normal(used + mean, spread),
                np.log(unknown) + _log_normal(used, wide),
            ],
            axis=1,
        )
        parts = np.exp(logs - logs.max(axis=1, keepdims=True))
        parts /= parts.sum(axis=1, keepdims=True)
        right, exchanged, none = parts.T
        known = float((right + exchanged).sum()) + 1e-9
        share = float(np.clip(exchanged.sum() / known, 0.2 / n, _MAX_SHARE))
        unknown = float(np.clip(none.mean(), 0.01, 0.99))
        mean = np.maximum(((right - exchanged)[:, None] * used).sum(axis=0) / known, 1e-3)
        from_mean, from_opposite = used - mean, used + mean
        spread = (from_mean * right[:, None]).T @ from_mean
        spread += (from_opposite * exchanged[:, None]).T @ from_opposite
        spread = spread / known + _MIN_VARIANCE * np.eye(kinds)
        wide = (used * none[:, None]).T @ used / (float(none.sum()) + 1e-9)
        wide += _MIN_VARIANCE * np.eye(kinds)
    return exchanged, unknown


def _logistic(used: np.ndarray) -> Float64[np.ndarray, " n"]:
    """Fit the evidence's weights and the share of exchanged instances that are most likely."""
    n, kinds = used.shape
    weights, share = np.full(kinds, 2.0), 0.01
    probability = np.zeros(n)
    for _ in range(60):
        is_right = 1 / (1 + np.exp(-np.clip(used @ weights, -30, 30)))
        wrong = share * (1 - is_right)
        probability = wrong / (wrong + (1 - share) * is_right)
        share = float(np.clip(probability.mean(), 0.2 / n, _MAX_SHARE))
        gradient = used.T @ ((1 - probability) - is_right) - _PRIOR * n * weights
        curvature = (used * (is_right * (1 - is_right))[:, None]).T @ used
        step = np.linalg.solve(curvature + (_PRIOR * n + 1e-6) * np.eye(kinds), gradient)
        weights = np.clip(weights + np.clip(step, -2, 2), 0, _MAX_WEIGHT)
    return probability


def _log_normal(offsets: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Logarithm of the density of a normal distribution about 0, but for a constant factor."""
    whitened = np.linalg.solve(covariance, offsets.T).T
    return -0.5 * (np.einsum("nk,nk->n", offsets, whitened) + np.linalg.slogdet(covariance)[1])


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
