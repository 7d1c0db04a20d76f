"""Batches for the pose network: crops, heatmaps, weights; batch i is a pure function of i."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Image, Scores, Size
from slimpose.data.augment import (
    Augmentation,
    jitter_color,
    lower_resolution,
    mix_up,
    random_erase,
    sample_affine,
    truncate_image,
)
from slimpose.data.order import SampleOrder
from slimpose.data.people import TrainingPeople
from slimpose.data.teacher_cache import Peaks, draw_peaks

_RESOLUTION = 1 << 32
"""Seed of the resolution's random draws, none of which is that of a sample in a mixup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatch:
    """Crops (n, H, W, 3), their target heatmaps (n, J, h, w) and joint weights (n, J).

    ``sharp_crops`` are the crops before their resolution was lowered, for a teacher; they may have
    another size than ``crops``.
    ``teacher_heatmaps`` (n, J, h, w) come from a cached teacher, if the batch uses one.
    """

    crops: Crops
    sharp_crops: UInt8[np.ndarray, "_n _height _width 3"]
    heatmaps: Heatmaps
    weights: Scores
    teacher_heatmaps: Heatmaps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatches:
    """Makes the batches of one run.

    Attributes:
        people: The training set.
        order: The index of the person at each position.
        stride: Crop pixels per heatmap cell.
        sigma_share: Standard deviation of the target Gaussian as a share of the heatmap's height
            (2 cells of 64: 1/32).
        seed: Determines all random draws, together with the position.
        keypoint_confidence: Factor (n,) on the joint weights of each person; 1 by default.
        cached_peaks: The cached teacher's peaks of each person, see ``data/teacher_cache.py``.
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
        sharp_size: Size | None = None,
    ) -> PoseBatch:
        """Return the batch of positions first .. first + count - 1.

        ``with_cached_teacher`` draws the cached teacher's heatmaps, if there are any; mixup has
        none. ``sharp_size`` is the size of ``sharp_crops``, ``size`` by default.
        """
        positions = range(first, first + count)
        full = sharp_size or size
        samples = [
            self._sample(self.order.at(position), (self.seed, position), full, augmentation)
            for position in positions
        ]
        crops = [
            lower_resolution(
                np.random.default_rng((self.seed, position, _RESOLUTION)),
                augmentation,
                cv2.resize(sample.crop, (size.width, size.height)),
            )
            for position, sample in zip(positions, samples, strict=True)
        ]
        shrink = np.array([size.width / full.width, size.height / full.height], np.float32)
        to_crop = np.stack([sample.to_crop for sample in samples])
        points_crop = np.stack([sample.points_crop for sample in samples])
        points_crop = (points_crop + 0.5) * shrink - 0.5
        weights = np.stack([sample.weights for sample in samples])
        limits = np.array([size.width - 0.5, size.height - 0.5])
        inside = ((points_crop > -0.5) & (points_crop < limits)).all(axis=2)
        map_size = Size(size.height // self.stride, size.width // self.stride)
        points_heatmap = geometry.crop_to_heatmap(points_crop, self.stride)
        sigma_px = self.sigma_share * map_size.height
        teacher_heatmaps = None
        if with_cached_teacher and self.cached_peaks is not None:
            peaks = np.stack([sample.peaks for sample in samples if sample.peaks is not None])
            teacher_heatmaps = draw_peaks(
                peaks, to_crop, full, stride=self.stride, sigma_px=sigma_px
            )
        return PoseBatch(
            crops=np.stack(crops),
            sharp_crops=np.stack([sample.crop for sample in samples]),
            heatmaps=heatmap.encode(points_heatmap, map_size, sigma_px=sigma_px),
            weights=weights * inside,
            teacher_heatmaps=teacher_heatmaps,
        )

    def _sample(
        self, person: int, seed: tuple[int, ...], size: Size, augmentation: Augmentation
    ) -> _Sample:
        rng = np.random.default_rng(seed)
        people, skeleton = self.people, self.people.skeleton
        box, points = people.boxes_stored[person], people.points_stored[person]
        labels = people.weights[person]
        kept, is_kept = self._truncated(rng, augmentation, person)
        to_crop, is_flipped = sample_affine(
            rng,
            augmentation,
            box=np.concatenate([np.maximum(box[:2], kept[:2]), np.minimum(box[2:], kept[2:])]),
            points=points,
            labeled=labels * is_kept > 0,
            upper_body=np.isin(skeleton.joints, skeleton.upper_body),
            crop_size=size,
        )
        crop = _warped(people.stored_crops[person], kept, to_crop, size)
        crop = jitter_color(rng, augmentation, crop)
        crop = random_erase(rng, augmentation, crop, people.stored_crops)
        order = skeleton.flip_indices if is_flipped else slice(None)
        peaks = None
        if self.cached_peaks is not None:
            peaks = self.cached_peaks[person].copy()
            peaks[..., 2] *= _is_inside(peaks[..., :2], kept)
            peaks = peaks[order]
        confidence = 1.0 if self.keypoint_confidence is None else self.keypoint_confidence[person]
        weights = confidence * (labels * is_kept)[order]
        if rng.random() < augmentation.mixup:
            other = int(rng.integers(len(people)))
            alone = dataclasses.replace(augmentation, mixup=0.0)
            # 1 +: NumPy ignores a trailing 0 of a seed.
            crop = mix_up(rng, crop, self._sample(other, (*seed, 1 + other), size, alone).crop)
            weights = np.zeros_like(weights)
        return _Sample(
            crop=crop,
            to_crop=to_crop,
            points_crop=geometry.transform_points(to_crop[None], points[None])[0][order],
            weights=weights.astype(np.float32),
            peaks=peaks,
        )

    def _truncated(
        self, rng: np.random.Generator, augmentation: Augmentation, person: int
    ) -> tuple[Float32[np.ndarray, "4"], np.ndarray]:
        """Return the kept part x1, y1, x2, y2 of a stored crop, and which joints lie in it.

        All of it is kept if fewer than 3 labeled joints would be left.
        """
        people = self.people
        size = Size(*people.stored_crops[person].shape[:2])
        labels = people.weights[person]
        kept = truncate_image(rng, augmentation, people.boxes_stored[person], size)
        is_kept = _is_inside(people.points_stored[person], kept)
        if (labels * is_kept > 0).sum() < min(3, (labels > 0).sum()):
            kept = truncate_image(rng, Augmentation(), people.boxes_stored[person], size)
            is_kept = np.ones_like(is_kept)
        return kept, is_kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One person's crop (H, W, 3), its affine from the stored crop, and its labels.

    Joints (J, 2) lie in the crop, the cached teacher's peaks (J, peaks, 3) in the stored crop.
    """

    crop: Image
    to_crop: Float32[np.ndarray, "2 3"]
    points_crop: Float32[np.ndarray, "joints 2"]
    weights: Float32[np.ndarray, " joints"]
    peaks: Float32[np.ndarray, "joints peaks 3"] | None


def _warped(
    image: Image, kept: Float32[np.ndarray, "4"], to_crop: Float32[np.ndarray, "2 3"], size: Size
) -> Image:
    """Return the kept part of an image, warped by an affine of the whole image."""
    x1, y1, x2, y2 = kept.astype(int)
    from_kept = to_crop.copy()
    from_kept[:, 2] += from_kept[:, :2] @ kept[:2]
    return cv2.warpAffine(
        image[y1:y2, x1:x2], from_kept, (size.width, size.height), flags=cv2.INTER_LINEAR
    )


def _is_inside(points: np.ndarray, part: Float32[np.ndarray, "4"]) -> np.ndarray:
    """Return which points (..., 2) lie in an image's part x1, y1, x2, y2."""
    return np.all((points > part[:2] - 0.5) & (points < part[2:] - 0.5), axis=-1)
