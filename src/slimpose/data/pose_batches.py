"""Batches for the pose net: augmented crops, Gaussian targets, weights; batch i is a pure function of i."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Scores, Size
from slimpose.data.augment import Augmentation, change_light, cut_out, draw_affine, end_picture
from slimpose.data.order import Order
from slimpose.data.people import People
from slimpose.data.taught import Peaks, draw_peaks


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatch:
    """Crops (n, H, W, 3), target heatmaps (n, J, h, w), joint weights (n, J); the teacher's heatmaps, if known."""

    crops: Crops
    heatmaps: Heatmaps
    weights: Scores
    taught: Heatmaps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatches:
    """Makes the batches of one run.

    Attributes:
        people: Whom to draw.
        order: Whom at which position.
        stride: Crop pixels a heatmap cell.
        sigma_share: The target's standard deviation as a share of the heatmap's height (2 cells of 64: 1/32).
        seed: Fixes every draw, together with the position.
        trust: Factor a person (n,) for its joints' weights; 1 by default.
        taught: What a teacher sees in each person, of ``data/taught.py``.
    """

    people: People
    order: Order
    stride: int
    sigma_share: float
    seed: int
    trust: Float32[np.ndarray, " n"] | None = None
    taught: Peaks | None = None

    def batch(self, first: int, count: int, size: Size, how: Augmentation, *, taught: bool = True) -> PoseBatch:
        """Return the batch of positions first .. first + count - 1.

        ``taught`` says whether what the teacher saw, if it is known, is to be drawn.
        """
        skeleton = self.people.skeleton
        upper = np.isin(skeleton.joints, skeleton.upper_body)
        crops = np.empty((count, *size, 3), np.uint8)
        to_crop = np.empty((count, 2, 3), np.float32)
        points_crop = np.empty((count, len(skeleton.joints), 2), np.float32)
        peaks_cut: list[Peaks] = []
        weights = np.empty((count, len(skeleton.joints)), np.float32)
        for row in range(count):
            person = self.order.at(first + row)
            rng = np.random.default_rng((self.seed, first + row))
            cut, box, points_cut = (
                self.people.cuts[person],
                self.people.boxes_cut[person],
                self.people.points_cut[person],
            )
            labels = self.people.weights[person]
            kept = end_picture(rng, how, box, Size(*cut.shape[:2]))
            shown = _within(points_cut, kept)
            if (labels * shown > 0).sum() < min(3, (labels > 0).sum()):
                kept, shown = end_picture(rng, Augmentation(), box, Size(*cut.shape[:2])), np.ones_like(shown)
            to_crop[row], mirror = draw_affine(
                rng,
                how,
                box=np.concatenate([np.maximum(box[:2], kept[:2]), np.minimum(box[2:], kept[2:])]),
                points=points_cut,
                labelled=labels * shown > 0,
                upper_body=upper,
                crop_size=size,
            )
            x1, y1, x2, y2 = kept.astype(int)
            from_kept = to_crop[row].copy()
            from_kept[:, 2] += from_kept[:, :2] @ kept[:2]
            crop = cv2.warpAffine(cut[y1:y2, x1:x2], from_kept, (size.width, size.height), flags=cv2.INTER_LINEAR)
            crops[row] = cut_out(rng, how, change_light(rng, how, crop), self.people.cuts)
            order = skeleton.flip_indices if mirror else slice(None)
            points_crop[row] = geometry.transform_points(to_crop[row : row + 1], points_cut[None])[0][order]
            trust = 1.0 if self.trust is None else self.trust[person]
            weights[row] = trust * (labels * shown)[order]
            if self.taught is not None and taught:
                peaks = self.taught[person].copy()
                peaks[..., 2] *= _within(peaks[..., :2], kept)
                peaks_cut.append(peaks[order])
        inside = (points_crop > -0.5) & (points_crop < np.array([size.width - 0.5, size.height - 0.5]))
        map_size = Size(size.height // self.stride, size.width // self.stride)
        points_heatmap = geometry.crop_to_heatmap(points_crop, self.stride)
        sigma_px = self.sigma_share * map_size.height
        return PoseBatch(
            crops=crops,
            heatmaps=heatmap.encode(points_heatmap, map_size, sigma_px=sigma_px),
            weights=weights * inside.all(axis=2),
            taught=draw_peaks(np.stack(peaks_cut), to_crop, size, stride=self.stride, sigma_px=sigma_px)
            if peaks_cut
            else None,
        )


def _within(points: np.ndarray, part: Float32[np.ndarray, "4"]) -> np.ndarray:
    """Which points (..., 2) lie in a picture's part x1, y1, x2, y2."""
    return np.all((points > part[:2] - 0.5) & (points < part[2:] - 0.5), axis=-1, keepdims=True)[..., 0]
