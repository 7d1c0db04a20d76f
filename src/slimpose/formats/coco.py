"""COCO annotation files of people, read and validated."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32

from slimpose import fields
from slimpose.arrays import Size
from slimpose.fields import Fields, json_kind
from slimpose.formats.coco_category import people_category, read_categories
from slimpose.formats.coco_checks import check_areas, check_boxes, check_mask_sizes, check_unique
from slimpose.formats.files import read_json
from slimpose.formats.skeleton_file import skeleton_of_category
from slimpose.messages import quoted
from slimpose.skeleton import COCO17, Skeleton

_MAX_PX = 1e9
_OTHER_PLACE = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoImage:
    """One entry of ``images``; ``file_name`` is relative to the image folder, with slashes."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoPerson:
    """One entry of ``annotations`` of the person category.

    Attributes:
        id: The annotation's id.
        image_id: The image's id.
        box_image: x1, y1, x2, y2 in image pixels.
        keypoints: (joints, 3): x, y in image pixels and v (0 absent, 1 hidden, 2 visible); None in
            a box-only file.
        joint_weights: (joints,) 0..1, how reliable each label is; 1 if the file has no weights.
        teacher_keypoints: (joints, 3): x, y and score of another model's prediction (pseudo
            labels); None if the file has none.
        teacher_agreement: Share of the labeled joints that the teacher predicts correctly; nan if
            the file does not have it.
        area: In square image pixels; the box's, if the file has none.
        is_crowd: Whether the box marks a crowd.
        source: Name of the data set that the entry came from, "" if the file does not have it.
    """

    id: int
    image_id: int
    box_image: Float32[np.ndarray, "4"]
    keypoints: Float32[np.ndarray, "joints 3"] | None
    joint_weights: Float32[np.ndarray, " joints"] | None
    teacher_keypoints: Float32[np.ndarray, "joints 3"] | None
    teacher_agreement: float
    area: float
    is_crowd: bool
    source: str

    @property
    def has_box(self) -> bool:
        """Whether the box has an area."""
        x1, y1, x2, y2 = self.box_image.tolist()
        return x2 > x1 and y2 > y1

    @property
    def is_labeled(self) -> bool:
        """Whether at least one keypoint is labeled."""
        return self.keypoints is not None and bool((self.keypoints[:, 2] > 0).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoFile:
    """A validated annotation file; ``people_without_area`` have the areas of their boxes."""

    path: Path
    images: dict[int, CocoImage]
    people: tuple[CocoPerson, ...]
    skeleton: Skeleton
    category_id: int
    people_without_area: int = 0

    def check_images(self, folder: Path, image_ids: Iterable[int] | None = None) -> None:
        """Check that the images of the file, or those with the given ids, exist in the folder.

        Raises:
            NotADirectoryError: If there is no such folder.
            ValueError: If an image is missing; the message names the first.
        """
        if not folder.is_dir():
            raise NotADirectoryError(f"no image folder {folder}")
        for image_id in self.images if image_ids is None else image_ids:
            image = self.images[image_id]
            try:
                exists = (folder / image.file_name).is_file()
            except OSError:  # a name that is too long
                exists = False
            if not exists:
                raise ValueError(
                    f"{self.path} names {image.file_name}, which is not in {folder} "
                    "(another folder?)"
                )

    def check_size(self, image_id: int, size: Size) -> None:
        """Check that an image, as it was read, has the size that the file declares.

        Raises:
            ValueError: If it has another one: its annotations are of other pixels.
        """
        image = self.images[image_id]
        if size == (image.height, image.width):
            return
        cause = (
            "labeled before its EXIF rotation was applied? label it as it is shown, or remove the "
            "EXIF rotation"
            if size == (image.width, image.height)
            else "resized after labeling? scale the annotations, or use the original images"
        )
        raise ValueError(
            f"{self.path}: image {image.id}, {image.file_name}, is declared {image.width} wide and "
            f"{image.height} high; the file is {size.width} wide and {size.height} high; expected "
            f"the same ({cause})"
        )

    def people_by_image(self) -> dict[int, list[CocoPerson]]:
        """Return the people of every image, including images without people."""
        grouped: dict[int, list[CocoPerson]] = {image_id: [] for image_id in self.images}
        for person in self.people:
            grouped[person.image_id].append(person)
        return grouped


def read(path: Path, *, keypoints: bool, areas: bool = True) -> CocoFile:
    """Read a COCO annotation file of people, each with keypoints or (otherwise) at least a box.

    ``areas`` of people are needed to measure AP, not to train. A DataWarning is issued for what is
    unusual: areas that are missing, boxes that are empty.

    Raises:
        ValueError: If the file or an entry is not valid COCO; the message names file and entry.
        FileNotFoundError: If there is no such file.
    """
    document = read_json(path, kind="annotation file")
    return parse(document, path, keypoints=keypoints, areas=areas)


def parse(document: Any, path: Path, *, keypoints: bool, areas: bool = True) -> CocoFile:
    """Validate a JSON document that was read from ``path``; see ``read``."""
    is_object = isinstance(document, dict)
    if not is_object or not {"images", "annotations", "categories"} <= document.keys():
        got = quoted(sorted(document)) if is_object else json_kind(document)
        raise ValueError(
            f"{path} is not a COCO annotation file: expected images, annotations, categories; "
            f"got {got} (is it a results file?)"
        )
    return _parse(Fields(document, str(path)), path, keypoints=keypoints, areas=areas)


def parse_images(document: Any, path: Path) -> CocoFile:
    """Validate a COCO image list without annotations, such as image_info_test-dev2017.json.

    The result has no people.

    Raises:
        ValueError: If it is not a valid image list.
    """
    if not isinstance(document, dict) or not {"images", "categories"} <= document.keys():
        raise ValueError(f"{path} is not a COCO image list: expected images and categories")
    return _parse(Fields({**document, "annotations": []}, str(path)), path, keypoints=False)


def _parse(document: Fields, path: Path, *, keypoints: bool, areas: bool = True) -> CocoFile:
    images = _read_images(document)
    annotations = [
        _annotation(value, index, path) for index, value in enumerate(document.items("annotations"))
    ]
    category_ids = [entry.integer("category_id") for entry in annotations]
    categories = read_categories(document.items("categories"), Counter(category_ids), str(path))
    category = people_category(categories, str(path), keypoints=keypoints)
    skeleton = _skeleton(category.entry.values, str(path)) if keypoints else COCO17
    of_people = [
        entry
        for entry, number in zip(annotations, category_ids, strict=True)
        if number == category.id
    ]
    people = tuple(
        _person(entry, skeleton.joints if keypoints else (), areas=areas) for entry in of_people
    )
    check_unique(path, "annotation", [person.id for person in people])
    for person in people:
        if person.image_id not in images:
            raise ValueError(
                f"{path}: annotation {person.id} names image {person.image_id}, "
                f"which is not in images; expected one of its {len(images)} ids"
            )
    check_mask_sizes(of_people, images)
    check_boxes(path, people, images)
    with_boxes_area = [
        person
        for person, entry in zip(people, of_people, strict=True)
        if not entry.values.get("area")
    ]
    if areas:
        check_areas(path, people, with_boxes_area)
    return CocoFile(
        path=path,
        images=images,
        people=people,
        skeleton=skeleton,
        category_id=category.id,
        people_without_area=len(with_boxes_area),
    )


def _annotation(value: object, index: int, path: Path) -> Fields:
    entry = fields.table(value, f"{path}: annotations[{index}]")
    return Fields(entry.values, f"{path}: annotation {entry.integer('id')}")


def _skeleton(category: Mapping[str, Any], where: str = "") -> Skeleton:
    place = f"category {quoted(category.get('name'))}"
    return skeleton_of_category(Fields(category, f"{where}: {place}" if where else place))


def _read_images(document: Fields) -> dict[int, CocoImage]:
    images: list[CocoImage] = []
    for index, value in enumerate(document.items("images")):
        entry = fields.table(value, document.what(f"images[{index}]"))
        number = entry.integer("id")
        images.append(_image(Fields(entry.values, document.what(f"image {number}")), number))
    path = Path(document.where)
    check_unique(path, "image", [image.id for image in images])
    by_name: dict[str, int] = {}
    for image in images:
        if (other := by_name.setdefault(image.file_name, image.id)) != image.id:
            raise ValueError(
                f"{path}: images {other} and {image.id} have one file_name, "
                f"{quoted(image.file_name)}; expected one entry per image (two files joined?)"
            )
    return {image.id: image for image in images}


def _image(entry: Fields, number: int) -> CocoImage:
    given = entry.text("file_name")
    name = given.replace("\\", "/")
    if _OTHER_PLACE.match(name) or ".." in PurePosixPath(name).parts or "\0" in name:
        raise ValueError(
            f"{entry.where}: file_name {quoted(given)} leaves the image folder; "
            "expected a path inside it"
        )
    return CocoImage(
        id=number,
        file_name=str(PurePosixPath(name)),
        height=entry.integer("height", low=1),
        width=entry.integer("width", low=1),
    )


def _person(entry: Fields, joints: tuple[str, ...], *, areas: bool) -> CocoPerson:
    xywh = entry.numbers("bbox", count=4, expected="x, y, width, height")
    x, y, width, height = xywh.tolist()
    if max(abs(x), abs(y), abs(width), abs(height)) > _MAX_PX:
        raise fields.fail(entry.what("bbox"), entry.values["bbox"], "pixels of an image")
    area = entry.number("area", low=0.0) if areas and entry.has("area") else 0.0
    return CocoPerson(
        id=entry.integer("id"),
        image_id=entry.integer("image_id"),
        box_image=np.array([x, y, x + width, y + height], np.float32),
        keypoints=_keypoints(entry, joints) if joints else None,
        joint_weights=_weights(entry, joints) if joints else None,
        teacher_keypoints=(
            _triples(entry, "teacher_keypoints", joints, "x, y, score")
            if joints and entry.has("teacher_keypoints")
            else None
        ),
        teacher_agreement=_agreement(entry) if joints else math.nan,
        area=area or max(width, 0.0) * max(height, 0.0),
        is_crowd=entry.flag("iscrowd") if entry.has("iscrowd") else False,
        source=entry.text("source") if entry.values.get("source") else "",
    )


def _agreement(entry: Fields) -> float:
    """The teacher's agreement; nan, as Python writes it, is an unknown one."""
    value = entry.values.get("teacher_agreement")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    return entry.number("teacher_agreement")


def _keypoints(entry: Fields, joints: tuple[str, ...]) -> Float32[np.ndarray, "joints 3"]:
    """A person's keypoints; absent ones, which some tools mark with -1, have v 0."""
    keypoints = _triples(entry, "keypoints", joints, "x, y, v")
    keypoints[keypoints[:, 2] == -1, 2] = 0
    visibility = keypoints[:, 2]
    right = (visibility == 0) | (visibility == 1) | (visibility == 2)
    if not right.all():
        joint = int(right.argmin())
        raise ValueError(
            f"{entry.where}: v of keypoint {quoted(joints[joint])} is {keypoints[joint, 2]:g}; "
            "expected 0 (absent), 1 (hidden) or 2 (visible)"
        )
    return keypoints


def _weights(entry: Fields, joints: tuple[str, ...]) -> Float32[np.ndarray, " joints"]:
    if not entry.has("weights"):
        return np.ones(len(joints), np.float32)
    expected = f"0..1, one for each of {len(joints)} keypoints"
    weights = entry.numbers("weights", count=len(joints), expected=expected)
    if not ((weights >= 0) & (weights <= 1)).all():
        raise fields.fail(entry.what("weights"), entry.values["weights"], f"numbers {expected}")
    return weights


def _triples(
    entry: Fields, field: str, joints: tuple[str, ...], parts: str
) -> Float32[np.ndarray, "joints 3"]:
    expected = f"{parts} of each of {len(joints)} keypoints"
    return entry.numbers(field, count=3 * len(joints), expected=expected).reshape(-1, 3)
