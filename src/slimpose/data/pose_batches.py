"""Batches for the pose net: augmented crops, Gaussian targets, weights; batch i is a pure function of i."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Image, Scores, Size
from slimpose.data.augment import (
    Augmentation,
    jitter_color,
    mix_up,
    random_erase,
    sample_affine,
    truncate_image,
)
from slimpose.data.order import SampleOrder
from slimpose.data.people import TrainingPeople
from slimpose.data.teacher_cache import Peaks, draw_peaks


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatch:
    """Crops (n, H, W, 3), target heatmaps (n, J, h, w), joint weights (n, J); the teacher's heatmaps, if known."""

    crops: Crops
    heatmaps: Heatmaps
    weights: Scores
    teacher_heatmaps: Heatmaps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatches:
    """Makes the batches of one run.

    Attributes:
        people: Whom to draw.
        order: Whom at which position.
        stride: Crop pixels a heatmap cell.
        sigma_share: The target's standard deviation as a share of the heatmap's height (2 cells of
            64: 1/32).
        seed: Fixes every draw, together with the position.
        trust: Factor a person (n,) for its joints' weights; 1 by default.
        taught: What a teacher sees in each person, of ``data/taught.py``.
    """

    people: TrainingPeople
    order: SampleOrder
    stride: int
    sigma_share: float
    seed: int
    keypoint_confidence: Float32[np.ndarray, " n"] | None = None
    cached_peaks: Peaks | None = None

    def batch(
        self,
        first: int,
        count: int,
        size: Size,
        augmentation: Augmentation,
        *,
        with_cached_teacher: bool = True,
    ) -> PoseBatch:
        """Return the batch of positions first .. first + count - 1.

        ``taught`` says whether what the teacher saw, if it is known, is to be drawn; it is not
        known of blends.
        """
        rows = [
            self._drawn(self.order.at(first + row), (self.seed, first + row), size, augmentation)
            for row in range(count)
        ]
        to_crop = np.stack([row.to_crop for row in rows])
        points_crop = np.stack([row.points_crop for row in rows])
        weights = np.stack([row.weights for row in rows])
        inside = (points_crop > -0.5) & (
            points_crop < np.array([size.width - 0.5, size.height - 0.5])
        )
        map_size = Size(size.height // self.stride, size.width // self.stride)
        points_heatmap = geometry.crop_to_heatmap(points_crop, self.stride)
        sigma_px = self.sigma_share * map_size.height
        peaks = (
            [row.peaks_cut for row in rows if row.peaks_cut is not None]
            if with_cached_teacher
            else []
        )
        return PoseBatch(
            crops=np.stack([row.crop for row in rows]),
            heatmaps=heatmap.encode(points_heatmap, map_size, sigma_px=sigma_px),
            weights=weights * inside.all(axis=2),
            teacher_heatmaps=draw_peaks(
                np.stack(peaks), to_crop, size, stride=self.stride, sigma_px=sigma_px
            )
            if peaks
            else None,
        )

    def _drawn(self, person: int, seed: tuple[int, ...], size: Size, how: Augmentation) -> _Drawn:
        rng = np.random.default_rng(seed)
        skeleton = self.people.skeleton
        cut, box, points_stored = (
            self.people.stored_crops[person],
            self.people.boxes_stored[person],
            self.people.points_stored[person],
        )
        labels = self.people.weights[person]
        kept = truncate_image(rng, how, box, Size(*cut.shape[:2]))
        shown = _within(points_stored, kept)
        if (labels * shown > 0).sum() < min(3, (labels > 0).sum()):
            kept, shown = (
                truncate_image(rng, Augmentation(), box, Size(*cut.shape[:2])),
                np.ones_like(shown),
            )
        to_crop, mirror = sample_affine(
            rng,
            how,
            box=np.concatenate([np.maximum(box[:2], kept[:2]), np.minimum(box[2:], kept[2:])]),
            points=points_stored,
            labeled=labels * shown > 0,
            upper_body=np.isin(skeleton.joints, skeleton.upper_body),
            crop_size=size,
        )
        x1, y1, x2, y2 = kept.astype(int)
        from_kept = to_crop.copy()
        from_kept[:, 2] += from_kept[:, :2] @ kept[:2]
        crop = cv2.warpAffine(
            cut[y1:y2, x1:x2], from_kept, (size.width, size.height), flags=cv2.INTER_LINEAR
        )
        crop = random_erase(rng, how, jitter_color(rng, how, crop), self.people.stored_crops)
        order = skeleton.flip_indices if mirror else slice(None)
        peaks = None
        if self.cached_peaks is not None:
            peaks = self.cached_peaks[person].copy()
            peaks[..., 2] *= _within(peaks[..., :2], kept)
            peaks = peaks[order]
        weights = (
            1.0 if self.keypoint_confidence is None else self.keypoint_confidence[person]
        ) * (labels * shown)[order]
        if rng.random() < how.mixup:
            other = int(rng.integers(len(self.people)))
            alone = dataclasses.replace(how, mixup=0.0)
            beside = self._drawn(
                other, (*seed, 1 + other), size, alone
            )  # a last seed of 0 would change nothing
            crop = mix_up(rng, crop, beside.crop)
            weights = np.zeros_like(weights)
        return _Drawn(
            crop=crop,
            to_crop=to_crop,
            points_crop=geometry.transform_points(to_crop[None], points_stored[None])[0][order],
            weights=weights.astype(np.float32),
            peaks_cut=peaks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """One person's crop (H, W, 3), the affine to it from the cut, joints (J, 2) there and their weights (J,).

    ``peaks_cut`` are the teacher's, in the cut.
    """

    crop: Image
    to_crop: Float32[np.ndarray, "2 3"]
    points_crop: Float32[np.ndarray, "joints 2"]
    weights: Float32[np.ndarray, " joints"]
    peaks_cut: Float32[np.ndarray, "joints peaks 3"] | None


def _within(points: np.ndarray, part: Float32[np.ndarray, "4"]) -> np.ndarray:
    """Which points (..., 2) lie in a picture's part x1, y1, x2, y2."""
    return np.all((points > part[:2] - 0.5) & (points < part[2:] - 0.5), axis=-1, keepdims=True)[
        ..., 0
    ]
