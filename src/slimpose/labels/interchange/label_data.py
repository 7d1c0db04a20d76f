"""Labels that were read from a file of any tool, and how readers put them together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from slimpose.arrays import Size
from slimpose.formats import coco
from slimpose.formats.coco import CocoFile
from slimpose.formats.coco_checks import MAX_MISPLACED_SHARE
from slimpose.formats.coco_document import annotation_entry, box_around, category_entry
from slimpose.formats.files import parse_file
from slimpose.media.images import read_image
from slimpose.messages import quoted
from slimpose.skeleton import Skeleton

READ_ERRORS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What other libraries raise where a file is damaged."""


def reason_of(error: Exception) -> str:
    """Return why a library could not read a file, in its words if they are for people."""
    in_words = isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError)
    return " ".join(str(error).split()) if in_words and str(error) else "damaged or truncated"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelData:
    """Labels, the folder of their images, and notes on what was read differently than stored."""

    file: CocoFile
    image_folder: Path
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Builder:
    """Collects images and instances and returns them as a validated file.

    Attributes:
        path: The file that is read, for messages.
        skeleton: The joints of its instances.
    """

    path: Path
    skeleton: Skeleton
    boxes_from_keypoints: int = 0
    _labeled: int = 0
    _outside: int = 0
    _images: list[dict[str, Any]] = field(default_factory=list)
    _annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_image(self, file_name: str, size: Size) -> int:
        """Add an image, named relative to the image folder; return its id."""
        number = len(self._images) + 1
        self._images.append(
            {"id": number, "file_name": file_name, "height": size.height, "width": size.width}
        )
        return number

    def add_instance(
        self,
        image_id: int,
        keypoints: Float[np.ndarray, "joints 3"],
        box_xywh: Sequence[float] | None = None,
    ) -> None:
        """Add an instance: x, y, v per joint in image pixels; without a box, one around them."""
        image = self._images[image_id - 1]
        points = keypoints[keypoints[:, 2] > 0, :2]
        is_outside = ((points < -1) | (points > (image["width"] + 1, image["height"] + 1))).any(1)
        self._labeled += len(points)
        self._outside += int(is_outside.sum())
        if box_xywh is None:
            box_xywh = box_around(keypoints, width=image["width"], height=image["height"])
            if box_xywh is None:
                return  # nothing is labeled
            self.boxes_from_keypoints += 1
        self._annotations.append(
            annotation_entry(
                annotation_id=len(self._annotations) + 1,
                image_id=image_id,
                keypoints=keypoints,
                box_xywh=box_xywh,
            )
        )

    def build(self) -> tuple[CocoFile, list[str]]:
        """Return the file and notes.

        Raises:
            ValueError: If an entry is invalid; the message names it.
        """
        if self._outside > MAX_MISPLACED_SHARE * self._labeled:
            raise ValueError(
                f"{self.path}: {self._outside} of {self._labeled} labeled keypoints are outside "
                "their images; expected them inside (images resized or cropped after labeling?)"
            )
        document = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [category_entry(self.skeleton)],
        }
        # As written, so that what is read now is what reading the written file gives.
        document = json.loads(json.dumps(document))
        notes = []
        if count := self.boxes_from_keypoints:
            notes.append(
                f"{count} instances have no boxes in {self.path.name}; theirs are around the "
                "keypoints, with a margin of 10 %"
            )
        return coco.parse(document, self.path, keypoints=True, areas=False), notes


def read_yaml(path: Path, kind: str) -> Any:
    """Read a YAML file; ``kind`` is what it is expected to be.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML.
    """
    import yaml

    def parse(text: str) -> Any:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from error

    return parse_file(path, parse, language="YAML", kind=kind)


def own_skeleton(
    name: str,
    joints: Sequence[str],
    limbs: Sequence[tuple[str, str]] = (),
    flip_pairs: Sequence[tuple[str, str]] | None = None,
) -> Skeleton:
    """Return the skeleton that the reader of COCO files makes of these joints.

    Raises:
        ValueError: If names are missing or doubled, or a pair names a joint that is not there.
    """
    number = {joint: index for index, joint in enumerate(joints, start=1)}
    category: dict[str, Any] = {"id": 1, "name": name, "keypoints": list(joints)}
    for key, pairs in (("skeleton", limbs), ("flip_pairs", flip_pairs)):
        if pairs is None:
            continue
        for pair in pairs:
            if unknown := [joint for joint in pair if joint not in number]:
                raise ValueError(
                    f"{key} of {quoted(name)} names {quoted(unknown[0])}; expected one of its "
                    f"keypoints, {quoted(list(joints))}"
                )
        category[key] = [[number[a], number[b]] for a, b in pairs]
    document = {"images": [], "annotations": [], "categories": [category]}
    return coco.parse(document, Path(name), keypoints=True, areas=False).skeleton


def size_of(path: Path) -> Size:
    """Return the size of an image as it is shown, EXIF rotation applied.

    Raises:
        ImageError: If it is missing or broken.
    """
    return Size(*read_image(path).shape[:2])


def check_declared_size(labels: Path, image: str, size: Size, declared: Size | None) -> None:
    """Check the size of an image against the one that a label file states, if it states one.

    Raises:
        ValueError: If it is another one: the labels are of other pixels.
    """
    if declared is None or declared == size:
        return
    raise ValueError(
        f"{labels}: {quoted(image)} is declared {declared.width} wide and {declared.height} high; "
        f"the image is {size.width} wide and {size.height} high; expected the same (resized after "
        "labeling, or labeled before its EXIF rotation was applied?)"
    )


Progress = Callable[[int, int], None]
"""Called with (images done, all images)."""


def no_progress(done: int, total: int) -> None:
    """Ignore the progress."""
