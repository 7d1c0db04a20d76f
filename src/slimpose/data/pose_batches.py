"""Batches for the pose net: augmented crops, Gaussian targets, weights; batch i is a pure function of i."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Heatmaps, Scores, Size
from slimpose.data.augment import Augmentation, change_light, cut_out, draw_affine
from slimpose.data.order import Order
from slimpose.data.people import People


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBatch:
    """Crops (n, H, W, 3), target heatmaps (n, J, h, w), joint weights (n, J)."""

    crops: Crops
    heatmaps: Heatmaps
    weights: Scores


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
    """

    people: People
    order: Order
    stride: int
    sigma_share: float
    seed: int
    trust: Float32[np.ndarray, " n"] | None = None

    def batch(self, first: int, count: int, size: Size, how: Augmentation) -> PoseBatch:
        """Return the batch of positions first .. first + count - 1."""
        skeleton = self.people.skeleton
        upper = np.isin(skeleton.joints, skeleton.upper_body)
        crops = np.empty((count, *size, 3), np.uint8)
        points_crop = np.empty((count, len(skeleton.joints), 2), np.float32)
        weights = np.empty((count, len(skeleton.joints)), np.float32)
        for row in range(count):
            person = self.order.at(first + row)
            rng = np.random.default_rng((self.seed, first + row))
            affine, mirror = draw_affine(
                rng,
                how,
                box=self.people.boxes_cut[person],
                points=self.people.points_cut[person],
                labelled=self.people.weights[person] > 0,
                upper_body=upper,
                crop_size=size,
            )
            cut = self.people.cuts[person]
            crop = cv2.warpAffine(cut, affine, (size.width, size.height), flags=cv2.INTER_LINEAR)
            crops[row] = cut_out(rng, how, change_light(rng, how, crop))
            order = skeleton.flip_indices if mirror else slice(None)
            points_cut = self.people.points_cut[person]
            points_crop[row] = geometry.transform_points(affine[None], points_cut[None])[0][order]
            trust = 1.0 if self.trust is None else self.trust[person]
            weights[row] = trust * self.people.weights[person][order]
        inside = (points_crop > -0.5) & (points_crop < np.array([size.width - 0.5, size.height - 0.5]))
        map_size = Size(size.height // self.stride, size.width // self.stride)
        points_heatmap = geometry.crop_to_heatmap(points_crop, self.stride)
        targets = heatmap.encode(points_heatmap, map_size, sigma_px=self.sigma_share * map_size.height)
        return PoseBatch(crops=crops, heatmaps=targets, weights=weights * inside.all(axis=2))
