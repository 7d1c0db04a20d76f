"""A trial of a network on a sample photo: where a heatmap network's cells lie, what boxes are in.

Networks trained with UDP have the same outputs as others, but their cells lie up to three pixels
away. Mirroring shows it: a joint at cell i is at cell j of the mirrored crop, and i + j is
cells - 1 where corner cells lie on corner pixels, cells - 1 / stride where cell i lies on pixel
stride * i.

Some exporters give boxes and points as shares 0..1 of the input instead of pixels. Boxes of people
that are smaller than two pixels show it, and the person in the photo whether shares of the input
are meant.

The same person confirms the kind: outputs of another kind may have the same shapes, and then it is
not found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Image, Points, Size
from slimpose.geometry import CanvasFit
from slimpose.media.images import read_image
from slimpose.oks import oks_matrix
from slimpose.runtime.crops import crop_people, fit_canvas
from slimpose.runtime.foreign.facts import Facts
from slimpose.runtime.foreign.pose_decoders import channels_first
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.skeleton import COCO17, Skeleton

_PHOTO = "000000409475.jpg"
_PART = (slice(120, 480), slice(90, 390))
"""Rows and columns of the photo with one person."""
_BOX = np.array([[37, 21.5, 210.5, 359.5]], np.float32)
_POINTS = np.array(
    [
        [103, 66], [108.5, 57], [96, 60.5], [120.5, 57.5], [89.5, 63.5], [142.5, 96.5], [74, 105],
        [147.5, 150], [58.5, 155.5], [184.5, 170], [74.5, 170], [126, 206.5], [91.5, 208.5],
        [125, 282.5], [96.5, 285.5], [113, 342], [67, 342],
    ],
    np.float32,
)  # fmt: skip
"""The person in it, COCO's joints: as the shipped model finds them, seen to be right."""
_SCALES = (0.9, 1.05, 1.2)
_MIN_SCORE = 0.3
_MIN_JOINTS = 20
"""Of the three crops' 51, that both a crop and its mirror image show."""
_MIN_OKS = 0.5
_LARGEST_SHARE = 2.0
"""Shares exceed 1 where a box leaves the image; pixels of a person's box exceed 2."""
_MIN_IOU = 0.5
_SCORE_TOLERANCE = 0.01

Found = Literal["pixels", "normalized", "elsewhere", "no person", "invalid scores"]
"""What a detector's boxes of a photo are."""
Run = Callable[[Crops], list[np.ndarray]]
"""Returns a file's outputs for uint8 RGB images (n, height, width, 3)."""


def sample_photo() -> Image | None:
    """Return the photo; None if this package was built without photos."""
    file = sample_photos_folder() / _PHOTO
    return np.ascontiguousarray(read_image(file)[_PART]) if file.is_file() else None


def has_corner_cells(run: Run, photo: Image, facts: Facts, skeleton: Skeleton) -> bool:
    """Return whether a heatmap network's corner cells lie on the crop's corner pixels.

    Where it does not find the person, or too few of the joints, the answer is no.
    """
    crops, to_crops = _person_crops(photo, facts.size)
    found = heatmap.decode(
        channels_first(run(np.concatenate([crops, crops[:, :, ::-1]]))[0], facts)
    )
    count, flip = len(crops), skeleton.flip_indices
    near = geometry.transform_points(
        geometry.invert_affines(to_crops), found.points_heatmap[:count] * np.float32(facts.stride)
    )
    if not begins_with_coco(skeleton) or _best_oks(near) < _MIN_OKS:
        return False
    columns, scores = found.points_heatmap[..., 0], found.scores
    sums = columns[:count] + columns[count:, flip]
    counted = np.minimum(scores[:count], scores[count:, flip]) > _MIN_SCORE
    if counted.sum() < _MIN_JOINTS:
        return False
    cells = facts.size.width // facts.stride
    from_corners = abs(np.median(sums[counted]) - (cells - 1))
    return bool(from_corners < (1 - 1 / facts.stride) / 2)


def find_boxes(
    detect: Callable[[Image], tuple[np.ndarray, np.ndarray]],
    photo: Image,
    size: Size,
    fit: CanvasFit,
    score_threshold: float,
) -> Found:
    """Return whether the best box is where the person is, in pixels or in shares of the input.

    ``detect`` returns boxes (k, 4) and their scores (k,) for an input image.
    """
    canvas, to_canvas = fit_canvas(photo, size, fit)
    boxes, scores = detect(canvas)
    if not (np.abs(scores - 0.5) <= 0.5 + _SCORE_TOLERANCE).all():
        return "invalid scores"
    found = boxes[scores > score_threshold]
    if not len(found):
        return "no person"
    corners = geometry.transform_points(to_canvas, _BOX.reshape(1, 2, 2))
    person = corners.reshape(1, 4).astype(np.float32)
    best = boxes[None, scores.argmax()]
    in_pixels = best * np.array([size.width, size.height] * 2, np.float32)
    if geometry.box_iou(person, best).max() >= _MIN_IOU:
        return "pixels"
    are_shares = (np.abs(found) <= _LARGEST_SHARE).all()
    is_near = geometry.box_iou(person, in_pixels).max() >= _MIN_IOU
    return "normalized" if are_shares and is_near else "elsewhere"


def finds_person(estimate: Callable[[Crops], Points], photo: Image, size: Size) -> bool:
    """Return whether the points (1, joints, 2) of a crop are those of the person in it."""
    crops, to_crops = (of_scales[1:2] for of_scales in _person_crops(photo, size))
    points = geometry.transform_points(geometry.invert_affines(to_crops), estimate(crops))
    return _best_oks(points) >= _MIN_OKS


def _person_crops(photo: Image, size: Size) -> tuple[Crops, np.ndarray]:
    """Return three crops of the person, and the affines from the photo to them."""
    center, half = (_BOX[:, :2] + _BOX[:, 2:]) / 2, (_BOX[:, 2:] - _BOX[:, :2]) / 2
    scales = np.array(_SCALES, np.float32)[:, None]
    boxes = np.concatenate([center - half * scales, center + half * scales], axis=1)
    return crop_people(photo, boxes, size)


def begins_with_coco(skeleton: Skeleton) -> bool:
    """Return whether the first joints are COCO's."""
    return skeleton.joints[: len(COCO17.joints)] == COCO17.joints


def _best_oks(points: Points) -> float:
    """Return the OKS of the best of people (n, joints, 2) with the one in the photo."""
    if not len(points):
        return 0.0
    area = (_BOX[:, 2] - _BOX[:, 0]) * (_BOX[:, 3] - _BOX[:, 1])
    body = np.ascontiguousarray(points[:, : len(COCO17.joints)], np.float32)
    return float(oks_matrix(_POINTS[None], body, area, COCO17).max())
