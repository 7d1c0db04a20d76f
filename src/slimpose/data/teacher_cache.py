"""Cached teacher: the two highest peaks of each joint's heatmap, computed once for every person.

The teacher runs on plain crops, flipped too, at the largest size: it is more accurate there than on
crops that are rotated, zoomed and partly covered, and need not run while the student trains. Peaks
follow any augmentation, and drawn again they keep the target's width; warped heatmaps would be
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
_MIN_DISTANCE_SHARE = 3 / 32
"""Least distance of peaks as a share of the map's height: three sigmas of the usual target."""

Peaks = Float32[np.ndarray, "n joints peaks 3"]


def cache_teacher_peaks(
    people: TrainingPeople,
    rows: Sequence[int],
    predict: Callable[[Crops], Heatmaps],
    *,
    size: Size,
    batch: int = 32,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Peaks:
    """Return each peak's x, y in the person's stored crop and its height 0..1, highest first.

    Only the people of ``rows`` are computed, from crops of ``size``, ``batch`` per call of the
    teacher's ``predict``. ``on_progress`` is called with the number of people done, and of all.
    """
    predict = heatmap.flip_averaged(predict, people.skeleton)
    peaks = [np.zeros((0, len(people.skeleton.joints), PEAKS, 3), np.float32)]
    for first in range(0, len(rows), batch):
        current = rows[first : first + batch]
        cropped = [
            crop_people(people.stored_crops[person], people.boxes_stored[person : person + 1], size)
            for person in current
        ]
        # Always a full batch: a new shape would be compiled again.
        crops = np.zeros((batch, *size, 3), np.uint8)
        crops[: len(current)] = np.concatenate([crop for crop, _ in cropped])
        maps = predict(crops)[: len(current)]
        to_crop = np.concatenate([affine for _, affine in cropped])
        stride = size.height // maps.shape[2]
        peaks.append(_in_stored_crops(highest_peaks(maps), to_crop, stride=stride))
        on_progress(first + len(current), len(rows))
    return np.concatenate(peaks)


def highest_peaks(heatmaps: Heatmaps) -> Peaks:
    """Return x, y in cells and height of each map's highest separate peaks, highest first."""
    rest = heatmaps.copy()
    height, width = heatmaps.shape[2:]
    min_distance = _MIN_DISTANCE_SHARE * height
    y, x = np.mgrid[:height, :width].astype(np.float32)
    peaks: list[np.ndarray] = []
    for _ in range(PEAKS):
        decoded = heatmap.decode(rest)
        peaks.append(np.concatenate([decoded.points_heatmap, decoded.scores[..., None]], axis=2))
        peak_x, peak_y = (decoded.points_heatmap[..., axis, None, None] for axis in (0, 1))
        rest[(x - peak_x) ** 2 + (y - peak_y) ** 2 < min_distance**2] = 0
    return np.stack(peaks, axis=2)


def draw_peaks(
    peaks: Peaks, to_crop: Affines, size: Size, *, stride: int, sigma_px: float
) -> Heatmaps:
    """Return heatmaps (n, J, H/stride, W/stride) with a Gaussian per peak, the maximum of both.

    The peaks are in the stored crops, from which ``to_crop`` leads to the crops of ``size``.
    ``sigma_px`` is the standard deviation of the Gaussians in cells.
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


def _in_stored_crops(peaks: Peaks, to_crop: Affines, *, stride: int) -> Peaks:
    n, joints = peaks.shape[:2]
    points_crop: Points = geometry.heatmap_to_crop(peaks[..., :2].reshape(n, -1, 2), stride)
    points_stored = geometry.transform_points(geometry.invert_affines(to_crop), points_crop)
    return np.concatenate(
        [points_stored.reshape(n, joints, PEAKS, 2), peaks[..., 2:]], axis=3
    ).astype(np.float32)
