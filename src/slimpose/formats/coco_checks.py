"""Checks of a whole COCO annotation file: ids, boxes and areas."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from slimpose.messages import DataWarning

if TYPE_CHECKING:
    from slimpose.formats.coco import CocoImage, CocoPerson

_SMALLEST_AREA, _LARGEST_AREA = 0.01, 1.2
"""Plausible areas of people as shares of their box; COCO's are 0.2 to 0.9."""
_MAX_ABSURD_SHARE = 0.01


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
    if empty and empty[0].keypoints is None:
        warnings.warn(
            f"{path}: the bbox of {len(empty)} of {len(people)} people has no area: they cannot be "
            f"used (annotation {empty[0].id} is the first)",
            DataWarning,
            stacklevel=2,
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


def _has_plausible_area(person: CocoPerson) -> bool:
    """Whether a person without a box, or with one, has an area that fits it."""
    x1, y1, x2, y2 = person.box_image.tolist()
    return not person.has_box or area_fits(person.area, x2 - x1, y2 - y1)


def area_fits(area: float, width: float, height: float) -> bool:
    """Return whether an area in square pixels may be that of a person in a box of this size."""
    # Some tools count both border pixels.
    return _SMALLEST_AREA * width * height <= area <= _LARGEST_AREA * (width + 2) * (height + 2)
