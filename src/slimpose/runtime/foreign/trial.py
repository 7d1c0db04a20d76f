"""A trial of a file on a sample photo: what inputs and outputs do not tell.

Heatmap networks trained with UDP have the same outputs as others, but their cells lie up to three
pixels away. Mirroring shows it: a joint at cell i is at cell j of the mirrored crop, and i + j is
cells - 1 where corner cells lie on corner pixels, cells - 1 / stride where cell i lies on pixel
stride * i. And a file that does not find the person in the photo is of another kind, or was trained
for other pixels, than it seems.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slimpose import geometry, heatmap
from slimpose.arrays import Crops, Image, Points, Size
from slimpose.geometry import CanvasFit
from slimpose.media.images import read_image
from slimpose.oks import oks_matrix
from slimpose.runtime.crops import crop_people, fit_canvas
from slimpose.runtime.foreign.facts import ANY_CLASS, Arrays, Facts
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
_MIN_OKS, _MIN_IOU = 0.5, 0.4
_MAX_BOX_SCORE = 1.05

Run = Callable[[Crops], list[np.ndarray]]
"""Returns a file's outputs for uint8 RGB images (n, height, width, 3)."""
Decode = Callable[[list[np.ndarray]], Arrays]
"""Decodes them."""


def sample_photo() -> Image | None:
    """Return the photo; None if this package was built without photos."""
    file = sample_photos_folder() / _PHOTO
    return np.ascontiguousarray(read_image(file)[_PART]) if file.is_file() else None


def has_corner_cells(run: Run, photo: Image, facts: Facts, skeleton: Skeleton) -> bool:
    """Return whether a heatmap network's corner cells lie on the crop's corner pixels.

    Where it does not find the person, or not enough joints to tell, the answer is no.
    """
    crops, to_crops = _person_crops(photo, facts.size)
    found = heatmap.decode(
        channels_first(run(np.concatenate([crops, crops[:, :, ::-1]]))[0], facts)
    )
    count, flip = len(crops), skeleton.flip_indices
    near = geometry.transform_points(
        geometry.invert_affines(to_crops), found.points_heatmap[:count] * np.float32(facts.stride)
    )
    if not _begins_with_coco(skeleton) or _best_oks(near) < _MIN_OKS:
        return False
    columns, scores = found.points_heatmap[..., 0], found.scores
    sums = columns[:count] + columns[count:, flip]
    counted = np.minimum(scores[:count], scores[count:, flip]) > _MIN_SCORE
    if counted.sum() < _MIN_JOINTS:
        return False
    cells = facts.size.width // facts.stride
    from_corners = abs(np.median(sums[counted]) - (cells - 1))
    return bool(from_corners < (1 - 1 / facts.stride) / 2)


def doubts_about_pose(
    run: Run, decode: Decode, photo: Image, facts: Facts, skeleton: Skeleton
) -> str | None:
    """Return what is odd in a pose model's joints of the person in the photo; None if nothing is.

    Raises:
        ValueError: If it gives no numbers.
    """
    crops, to_crops = _person_crops(photo, facts.size)
    found = decode(run(crops))
    _check_numbers(found, "points", "scores")
    if not _begins_with_coco(skeleton):
        return None
    points = geometry.transform_points(geometry.invert_affines(to_crops), found["points"])
    return _doubt(_best_oks(points), _MIN_OKS, "OKS")


def doubts_about_people(
    run: Run,
    decode: Decode,
    photo: Image,
    facts: Facts,
    skeleton: Skeleton | None,
    *,
    fit: CanvasFit,
    score_threshold: float,
) -> str | None:
    """Return what is odd in what a detector or a one-stage model, of a skeleton, finds.

    Raises:
        ValueError: If it gives no numbers, or scores that are none.
    """
    canvas, to_canvas = fit_canvas(photo, facts.size, fit)
    found = decode(run(canvas[None]))
    scores = found["scores" if skeleton is None else "box_scores"][0]
    _check_numbers(found, "scores")
    if scores.max(initial=0) > _MAX_BOX_SCORE:
        raise ValueError(
            f"its boxes score up to {scores.max():.3g} on a sample photo; expected 0..1 (exported "
            "without its sigmoid, or of another kind than it looks?)"
        )
    kept, to_image = scores > score_threshold, geometry.invert_affines(to_canvas)
    if skeleton is None:
        if facts.person == ANY_CLASS:
            return None
        boxes = geometry.transform_points(to_image, found["boxes"][0][kept].reshape(1, -1, 2))
        overlaps = geometry.box_iou(_BOX, boxes.reshape(-1, 4).astype(np.float32))
        return _doubt(float(overlaps.max(initial=0)), _MIN_IOU, "IoU")
    if not _begins_with_coco(skeleton):
        return None
    points = found["points"][0][kept]
    in_photo = geometry.transform_points(to_image, points.reshape(1, -1, 2)).reshape(points.shape)
    return _doubt(_best_oks(in_photo), _MIN_OKS, "OKS")


def _person_crops(photo: Image, size: Size) -> tuple[Crops, np.ndarray]:
    """Return three crops of the person, and the affines from the photo to them."""
    center, half = (_BOX[:, :2] + _BOX[:, 2:]) / 2, (_BOX[:, 2:] - _BOX[:, :2]) / 2
    scales = np.array(_SCALES, np.float32)[:, None]
    boxes = np.concatenate([center - half * scales, center + half * scales], axis=1)
    return crop_people(photo, boxes, size)


def _begins_with_coco(skeleton: Skeleton) -> bool:
    return skeleton.joints[: len(COCO17.joints)] == COCO17.joints


def _best_oks(points: Points) -> float:
    """Return the OKS of the best of people (n, joints, 2) with the one in the photo."""
    if not len(points):
        return 0.0
    area = (_BOX[:, 2] - _BOX[:, 0]) * (_BOX[:, 3] - _BOX[:, 1])
    body = np.ascontiguousarray(points[:, : len(COCO17.joints)], np.float32)
    return float(oks_matrix(_POINTS[None], body, area, COCO17).max())


def _check_numbers(found: Arrays, *names: str) -> None:
    for name in names:
        if not np.isfinite(found[name]).all():
            raise ValueError(
                f"its {name} on a sample photo are infinite or no numbers; expected numbers "
                "(overflow in FP16, or damaged weights?)"
            )


def _doubt(similarity: float, least: float, measure: str) -> str | None:
    if similarity >= least:
        return None
    return (
        f"does not find the person in a sample photo ({measure} {similarity:.2f}; expected "
        f"{least} or more): is it of another kind than it looks, trained for other pixels "
        "(mean, std, bgr), or for other objects?"
    )
