"""What a teacher sees in every person, once: the two highest peaks of each joint's heatmap, small enough to keep.

A plain crop, mirrored too, at the largest size: the teacher judges better there than on a crop that
is turned, zoomed and half covered, and it need not run while the student trains. Peaks move with
any augmentation, and drawn anew they keep the target's width; heatmaps moved instead would be
blurred by every zoom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from slimpose import geometry, heatmap
from slimpose.arrays import Affines, Crops, Heatmaps, Points, Size
from slimpose.data.people import TrainingPeople
from slimpose.runtime.crops import crop_people

PEAKS = 2
_APART_SHARE = 3 / 32
"""Least distance of two peaks as a share of the map's height: three standard deviations of the usual target."""

Peaks = Float32[np.ndarray, "n joints peaks 3"]


def cache_teacher_peaks(
    people: TrainingPeople,
    rows: Sequence[int],
    heatmaps_of: Callable[[Crops], Heatmaps],
    *,
    size: Size,
    batch: int = 32,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Peaks:
    """Return x, y in each person's cut and the height 0..1 of the peaks, highest first.

    Args:
        people: All of them.
        who: Whom to look at.
        heatmaps_of: The teacher.
        size: Of the crops it is shown.
        batch: How many at a time.
        on_progress: Told how many are done, of how many.
    """
    look = heatmap.flip_averaged(heatmaps_of, people.skeleton)
    found = [np.zeros((0, len(people.skeleton.joints), PEAKS, 3), np.float32)]
    for first in range(0, len(rows), batch):
        now = rows[first : first + batch]
        cut = [
            crop_people(people.stored_crops[person], people.boxes_stored[person : person + 1], size)
            for person in now
        ]
        shown = np.zeros(
            (batch, *size, 3), np.uint8
        )  # always as many: a new shape would be compiled anew
        shown[: len(now)] = np.concatenate([crop for crop, _ in cut])
        maps = look(shown)[: len(now)]
        to_crop = np.concatenate([affine for _, affine in cut])
        found.append(_in_cuts(highest_peaks(maps), to_crop, stride=size.height // maps.shape[2]))
        on_progress(first + len(now), len(rows))
    return np.concatenate(found)


def highest_peaks(heatmaps: Heatmaps) -> Peaks:
    """Return x, y in cells and height of each map's highest peaks that lie apart, highest first."""
    rest = heatmaps.copy()
    height, width = heatmaps.shape[2:]
    apart = _APART_SHARE * height
    y, x = np.mgrid[:height, :width].astype(np.float32)
    found: list[np.ndarray] = []
    for _ in range(PEAKS):
        decoded = heatmap.decode(rest)
        found.append(np.concatenate([decoded.points_heatmap, decoded.scores[..., None]], axis=2))
        at_x, at_y = decoded.points_heatmap[..., :1, None], decoded.points_heatmap[..., 1:, None]
        rest[(x - at_x) ** 2 + (y - at_y) ** 2 < apart**2] = 0
    return np.stack(found, axis=2)


def draw_peaks(
    peaks: Peaks, to_crop: Affines, size: Size, *, stride: int, sigma_px: float
) -> Heatmaps:
    """Return the heatmaps (n, J, H/stride, W/stride) that the peaks stand for in crops; where two meet, the higher.

    Args:
        peaks: Of the crops' people, in their cuts.
        to_crop: Each crop's affine from its cut.
        size: The crops'.
        stride: Crop pixels a cell.
        sigma_px: The peaks' standard deviation in cells.
    """
    n, joints = peaks.shape[:2]
    points_crop = geometry.transform_points(to_crop, peaks[..., :2].reshape(n, -1, 2))
    cells = geometry.crop_to_heatmap(points_crop, stride).reshape(n, joints, PEAKS, 2)
    map_size = Size(size.height // stride, size.width // stride)
    drawn = [
        heatmap.encode(np.ascontiguousarray(cells[:, :, peak]), map_size, sigma_px=sigma_px)
        * peaks[:, :, peak, 2, None, None]
        for peak in range(PEAKS)
    ]
    return np.maximum(*drawn)


def _in_cuts(peaks: Peaks, to_crop: Affines, *, stride: int) -> Peaks:
    n, joints = peaks.shape[:2]
    points_crop: Points = geometry.heatmap_to_crop(peaks[..., :2].reshape(n, -1, 2), stride)
    points_stored = geometry.transform_points(geometry.invert_affines(to_crop), points_crop)
    return np.concatenate(
        [points_stored.reshape(n, joints, PEAKS, 2), peaks[..., 2:]], axis=3
    ).astype(np.float32)
