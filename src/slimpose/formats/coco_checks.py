"""Checks of a whole COCO annotation file: ids, boxes and areas."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from slimpose import fields
from slimpose.arrays import Size
from slimpose.fields import Fields
from slimpose.messages import DataWarning

if TYPE_CHECKING:
    from slimpose.formats.coco import CocoImage, CocoPerson

_SMALLEST_AREA, _LARGEST_AREA = 0.01, 1.2
"""Plausible areas of people as shares of their box; COCO's are 0.2 to 0.9."""
_USUAL_AREA, _MIN_PEOPLE_OF_USUAL_AREA = (0.2, 1.0), 5
"""The median of such shares; COCO's is 0.51."""
_MAX_ABSURD_SHARE = 0.01
MAX_MISPLACED_SHARE = 0.1
"""Of people whose coordinates contradict each other; COCO has 0.002, wrong formats 0.2 and more."""
PLAUSIBLE_BOX = (
    "x, y, width, height in pixels, mostly inside the image (x1, y1, x2, y2? normalized 0..1?)"
)
_PLAUSIBLE_KEYPOINTS = (
    "most labeled keypoints in or near the bbox, in pixels of the image (normalized 0..1, relative "
    "to the bbox, y before x, of another image, or absent ones with v 2?)"
)
_MARGIN = 0.25
"""Share of a box's sides by which keypoints may lie outside of it."""


def check_unique(path: Path, kind: str, ids: list[int]) -> None:
    """Raise ValueError if an id is doubled."""
    known: set[int] = set()
    for number in ids:
        if number in known:
            raise ValueError(
                f"{path}: {kind} id {number} is duplicated; expected unique ids (two files joined?)"
            )
        known.add(number)


def check_boxes(path: Path, people: tuple[CocoPerson, ...], images: dict[int, CocoImage]) -> None:
    """Raise ValueError if people to find have no box in the image; warn of other empty boxes."""
    empty = [person for person in people if not person.has_box and not person.is_crowd]
    labeled = [person for person in empty if person.is_labeled]
    if labeled:
        x1, y1, x2, y2 = labeled[0].box_image
        raise ValueError(
            f"{path}: the bbox of {len(labeled)} people with keypoints has no area; the first is "
            f"annotation {labeled[0].id}: x={x1:g} y={y1:g} width={x2 - x1:g} height={y2 - y1:g}; "
            "expected a width and a height above 0"
        )
    for person in people:
        image = images[person.image_id]
        x1, y1, x2, y2 = person.box_image.tolist()
        is_outside = x1 >= image.width or y1 >= image.height or x2 <= 0 or y2 <= 0
        if is_outside and person.is_labeled and not person.is_crowd:
            raise ValueError(
                f"{path}: annotation {person.id}: box lies outside the image: x1={x1:g} y1={y1:g} "
                f"x2={x2:g} y2={y2:g}, the image is {image.width} wide and {image.height} high; "
                "expected some overlap"
            )
    _check_coordinates(path, people, images)
    if empty and empty[0].keypoints is None:
        warnings.warn(
            f"{path}: the bbox of {len(empty)} of {len(people)} people has no area: they cannot be "
            f"used (annotation {empty[0].id} is the first)",
            DataWarning,
            stacklevel=2,
        )


def _check_coordinates(
    path: Path, people: tuple[CocoPerson, ...], images: dict[int, CocoImage]
) -> None:
    """Raise ValueError if many boxes do not fit their images, or keypoints their boxes."""
    boxed = [person for person in people if person.has_box and not person.is_crowd]
    labeled = [person for person in boxed if person.is_labeled]

    def fits_image(person: CocoPerson) -> bool:
        image = images[person.image_id]
        return is_plausible_box(person.box_image, Size(image.height, image.width))

    for field, candidates, is_plausible, expected in (
        ("bbox", boxed, fits_image, PLAUSIBLE_BOX),
        ("keypoints", labeled, _has_plausible_keypoints, _PLAUSIBLE_KEYPOINTS),
    ):
        wrong = [person for person in candidates if not is_plausible(person)]
        if len(wrong) > MAX_MISPLACED_SHARE * len(candidates):
            x1, y1, x2, y2 = wrong[0].box_image.tolist()
            image = images[wrong[0].image_id]
            raise ValueError(
                f"{path}: the {field} of {len(wrong)} of {len(candidates)} people cannot be right; "
                f"the first is annotation {wrong[0].id}: bbox x={x1:g} y={y1:g} width={x2 - x1:g} "
                f"height={y2 - y1:g} in an image {image.width} wide and {image.height} high; "
                f"expected {expected}"
            )


def is_plausible_box(box_image: Float32[np.ndarray, "4"], size: Size) -> bool:
    """Return whether a box is larger than a pixel and at least half of it is inside its image."""
    x1, y1, x2, y2 = box_image.tolist()
    inside = (min(x2, size.width) - max(x1, 0.0)) * (min(y2, size.height) - max(y1, 0.0))
    return max(x2 - x1, y2 - y1) > 1 and inside >= 0.5 * (x2 - x1) * (y2 - y1)


def _has_plausible_keypoints(person: CocoPerson) -> bool:
    """Whether at least half of the labeled keypoints are in or near the box."""
    assert person.keypoints is not None
    points = person.keypoints[person.keypoints[:, 2] > 0, :2]
    low, high = person.box_image[:2], person.box_image[2:]
    margin = _MARGIN * (high - low)
    is_near = ((points >= low - margin) & (points <= high + margin)).all(axis=1)
    return bool(is_near.mean() >= 0.5)


def check_mask_sizes(entries: Iterable[Fields], images: dict[int, CocoImage]) -> None:
    """Raise ValueError if a run-length encoded mask has another size than its image."""
    for entry in entries:
        mask = entry.values.get("segmentation")
        size = mask.get("size") if isinstance(mask, dict) else None
        image = images[entry.integer("image_id")]
        if isinstance(size, list) and size != [image.height, image.width]:
            raise fields.fail(
                entry.what("segmentation: size"),
                size,
                f"{[image.height, image.width]}, the declared height and width of image "
                f"{image.id} (annotations of another size, or width before height?)",
            )


def check_areas(path: Path, people: tuple[CocoPerson, ...], missing: list[CocoPerson]) -> None:
    """Warn of missing areas; raise ValueError if many do not fit their boxes."""
    if missing:
        warnings.warn(
            f"{path}: {len(missing)} of {len(people)} people have no area (annotation "
            f"{missing[0].id} is the first); the area of the box is used: AP is higher than with "
            "the area of the person's outline, which COCO uses",
            DataWarning,
            stacklevel=2,
        )
    _check_usual_area(path, people)
    absurd = [
        person for person in people if not person.is_crowd and not _has_plausible_area(person)
    ]
    if not absurd:
        return
    box = absurd[0].box_image[2:] - absurd[0].box_image[:2]
    message = (
        f"{path}: the area of {len(absurd)} of {len(people)} people does not fit their bbox; the "
        f"first is annotation {absurd[0].id}: area {absurd[0].area:g}, bbox {box[0]:g} wide and "
        f"{box[1]:g} high; expected {_SMALLEST_AREA} to {_LARGEST_AREA} of the box's area, in "
        "square pixels, since AP is relative to it (remove the field to use the box's area)"
    )
    if len(absurd) > _MAX_ABSURD_SHARE * len(people):
        raise ValueError(message)
    warnings.warn(message, DataWarning, stacklevel=2)


def _check_usual_area(path: Path, people: tuple[CocoPerson, ...]) -> None:
    """Warn if areas are much smaller or larger than their boxes' throughout."""
    boxed = [one for one in people if one.has_box and one.is_labeled and not one.is_crowd]
    extents = [one.box_image[2:] - one.box_image[:2] for one in boxed]
    shares = [one.area / float(x * y) for one, (x, y) in zip(boxed, extents, strict=True)]
    low, high = _USUAL_AREA
    if len(shares) < _MIN_PEOPLE_OF_USUAL_AREA or low <= (usual := np.median(shares)) <= high:
        return
    warnings.warn(
        f"{path}: the area of people is {usual:.2g} of their box's as a rule; expected {low} to "
        f"{high} (areas of images of another size?): AP is relative to the area, and is that of "
        "people of another size (remove the field to use the box's area)",
        DataWarning,
        stacklevel=2,
    )


def _has_plausible_area(person: CocoPerson) -> bool:
    """Whether a person without a box, or with one, has an area that fits it."""
    x1, y1, x2, y2 = person.box_image.tolist()
    return not person.has_box or area_fits(person.area, x2 - x1, y2 - y1)


def area_fits(area: float, width: float, height: float) -> bool:
    """Return whether an area in square pixels may be that of a person in a box of this size."""
    # Some tools count both border pixels.
    return _SMALLEST_AREA * width * height <= area <= _LARGEST_AREA * (width + 2) * (height + 2)
