"""COCO annotation files of people, read and validated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32

from slimpose.formats.files import read_json
from slimpose.skeleton import COCO17, Skeleton


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoImage:
    """One entry of ``images``; ``file_name`` is relative to the image folder."""

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
        area: In square image pixels.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoFile:
    """A validated annotation file."""

    path: Path
    images: dict[int, CocoImage]
    people: tuple[CocoPerson, ...]
    skeleton: Skeleton
    category_id: int

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
            if not (folder / image.file_name).is_file():
                raise ValueError(
                    f"{self.path} names {image.file_name}, which is not in {folder} "
                    "(another folder?)"
                )

    def people_by_image(self) -> dict[int, list[CocoPerson]]:
        """Return the people of every image, including images without people."""
        grouped: dict[int, list[CocoPerson]] = {image_id: [] for image_id in self.images}
        for person in self.people:
            grouped[person.image_id].append(person)
        return grouped


def read(path: Path, *, keypoints: bool) -> CocoFile:
    """Read a COCO annotation file of people, each with keypoints or (otherwise) at least a box.

    Raises:
        ValueError: If the file or an entry is not valid COCO; the message names file and entry.
        FileNotFoundError: If there is no such file.
    """
    return parse(read_json(path, kind="annotation file"), path, keypoints=keypoints)


def parse(document: Any, path: Path, *, keypoints: bool) -> CocoFile:
    """Validate a JSON document that was read from ``path``; see ``read``."""
    is_object = isinstance(document, dict)
    if not is_object or not {"images", "annotations", "categories"} <= document.keys():
        got = sorted(document)[:8] if is_object else f"a JSON {type(document).__name__}"
        raise ValueError(
            f"{path} is not a COCO annotation file: expected images, annotations, categories; "
            f"got {got} (is it a results file?)"
        )
    kind = "keypoints file" if keypoints else "instances file"
    return _parse(document, path, keypoints=keypoints, kind=kind)


def parse_images(document: Any, path: Path) -> CocoFile:
    """Validate a COCO image list without annotations, such as image_info_test-dev2017.json.

    The result has no people.

    Raises:
        ValueError: If it is not a valid image list.
    """
    if not isinstance(document, dict) or not {"images", "categories"} <= document.keys():
        raise ValueError(f"{path} is not a COCO image list: expected images and categories")
    return _parse({**document, "annotations": []}, path, keypoints=False, kind="image list")


def _parse(document: dict[str, Any], path: Path, *, keypoints: bool, kind: str) -> CocoFile:
    try:
        category = _person_category(document["categories"])
        category_id = int(category["id"])
        skeleton = _skeleton(category) if keypoints else COCO17
        images = {int(entry["id"]): _image(entry) for entry in document["images"]}
        with np.errstate(over="ignore"):  # too large for float32: infinite, and rejected as such
            people = tuple(
                _person(entry, len(skeleton.joints) if keypoints else 0)
                for entry in document["annotations"]
                if entry["category_id"] == category["id"]
            )
    except KeyError as error:
        raise ValueError(
            f"{path}: an entry lacks the field {error}; is it a COCO {kind}?"
        ) from error
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from error
    _check_unique(path, "image", [int(entry["id"]) for entry in document["images"]])
    _check_unique(path, "annotation", [person.id for person in people])
    for person in people:
        if person.image_id not in images:
            raise ValueError(
                f"{path}: annotation {person.id} names image {person.image_id}, "
                "which is not in images"
            )
    return CocoFile(
        path=path, images=images, people=people, skeleton=skeleton, category_id=category_id
    )


def _check_unique(path: Path, kind: str, ids: list[int]) -> None:
    known: set[int] = set()
    for number in ids:
        if number in known:
            raise ValueError(
                f"{path}: {kind} id {number} is duplicated; expected unique ids (two files joined?)"
            )
        known.add(number)


def _person_category(categories: list[dict[str, Any]]) -> dict[str, Any]:
    people = [category for category in categories if category["name"] == "person"]
    if not people and len(categories) == 1:
        people = categories
    if not people:
        names = [category["name"] for category in categories]
        raise ValueError(f"no category is named 'person'; got {names[:10]}")
    return people[0]


def _skeleton(category: dict[str, Any]) -> Skeleton:
    joints = tuple(category["keypoints"])
    if joints == COCO17.joints:
        return COCO17
    where = f"category {category['name']!r}"
    if not joints:
        raise ValueError(f"{where} has no keypoints; expected the joints' names")
    pairs = category.get("skeleton", ())
    for pair in pairs:
        if len(pair) != 2 or not all(
            isinstance(end, int) and 1 <= end <= len(joints) for end in pair
        ):
            raise ValueError(
                f"{where}: skeleton has the limb {pair}; expected two numbers 1..{len(joints)}"
            )
    limbs = tuple((joints[a - 1], joints[b - 1]) for a, b in pairs)
    return Skeleton(
        name=str(category["name"]),
        joints=joints,
        limbs=limbs,
        sigmas=tuple(category.get("sigmas", [1 / len(joints)] * len(joints))),
        upper_body=(),
    )


def _image(entry: dict[str, Any]) -> CocoImage:
    name = str(entry["file_name"])
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or not name.strip():
        raise ValueError(
            f"image {entry['id']}: file_name {name!r} leaves the image folder; "
            "expected a path inside it"
        )
    return CocoImage(
        id=int(entry["id"]), file_name=name, height=int(entry["height"]), width=int(entry["width"])
    )


def _person(entry: dict[str, Any], joints: int) -> CocoPerson:
    where = f"annotation {entry['id']}"
    box = np.array(entry["bbox"], np.float32)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(
            f"{where}: bbox is {entry['bbox']}; expected 4 numbers x, y, width, height"
        )
    box[2:] += box[:2]
    keypoints = _triples(entry, "keypoints", joints, where) if joints else None
    teacher = (
        _triples(entry, "teacher_keypoints", joints, where)
        if joints and "teacher_keypoints" in entry
        else None
    )
    weights = None
    if joints:
        weights = np.array(entry.get("weights", [1.0] * joints), np.float32)
        if weights.shape != (joints,) or not ((weights >= 0) & (weights <= 1)).all():
            raise ValueError(
                f"{where}: weights are {entry['weights']}; expected {joints} numbers 0..1"
            )
    return CocoPerson(
        id=int(entry["id"]),
        image_id=int(entry["image_id"]),
        box_image=box,
        keypoints=keypoints,
        joint_weights=weights,
        teacher_keypoints=teacher,
        teacher_agreement=float(entry.get("teacher_agreement", np.nan)),
        area=float(entry.get("area", (box[2:] - box[:2]).prod())),
        is_crowd=bool(entry.get("iscrowd", 0)),
        source=str(entry.get("source", "")),
    )


def _triples(
    entry: dict[str, Any], field: str, joints: int, where: str
) -> Float32[np.ndarray, "joints 3"]:
    values = np.array(entry[field], np.float32)
    if values.shape != (3 * joints,) or not np.isfinite(values).all():
        raise ValueError(
            f"{where}: {field} has shape {values.shape}; expected {joints} times x, y, v"
        )
    return values.reshape(joints, 3)
