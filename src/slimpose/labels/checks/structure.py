"""Every structural fault of a COCO file, where reading it reports only the first."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slimpose.fields import Fields, id_key
from slimpose.formats import coco
from slimpose.formats.coco import CocoFile, CocoImage
from slimpose.formats.coco_category import people_category, read_categories
from slimpose.formats.coco_checks import area_fits
from slimpose.labels.checks.findings import Finding
from slimpose.messages import quoted


def check_structure(document: Any, path: Path) -> tuple[CocoFile | None, list[Finding]]:
    """Return what can be used of a document, and all its faults.

    The file has every entry that is valid by itself; None if the document as a whole is not one.
    """
    try:
        category, images, annotations = _parts(document, path)
    except ValueError as error:
        return None, [Finding(kind="structure", text=_short(error, path))]
    findings: list[Finding] = []
    good_images = _check_images(images, category, path, findings)
    good: list[dict[str, Any]] = []
    doubled = {number for number, n in Counter(map(_id, annotations)).items() if n > 1} - {None}
    for entry in annotations:
        before = len(findings)
        if _id(entry) in doubled:
            findings.append(_of(entry, f"annotation id {entry.get('id')} is duplicated"))
        image = good_images.get(id_key(entry.get("image_id")))
        if image is None:
            findings.append(
                _of(entry, f"image {quoted(entry.get('image_id'))} is not in images, or is invalid")
            )
        else:
            findings += _annotation_faults(entry, image, category, path)
        if len(findings) == before:
            good.append(entry)
    usable = {"images": list(good_images.values()), "annotations": good, "categories": [category]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = coco.parse(usable, path, keypoints=True, areas=False)
        except ValueError as error:
            return None, [*findings, Finding(kind="structure", text=_short(error, path))]
    if not any(person.is_labeled for person in file.people):
        text = "no instance has a labeled keypoint; expected some (is this the right file?)"
        findings.append(Finding(kind="structure", text=text))
    if names := file.skeleton.mirror.unpaired:
        text = (
            f"{', '.join(map(quoted, names[:5]))}: a side and no partner; training with mirrored "
            "images stops: name the pairs in the category's field flip_pairs ([] for none)"
        )
        findings.append(Finding(kind="structure", text=text))
    for entry in good:
        image = file.images[int(id_key(entry["image_id"]))]
        findings += _doubts(entry, image, len(file.skeleton.joints))
    return file, findings


def _parts(document: Any, path: Path) -> tuple[dict[str, Any], list[Any], list[dict[str, Any]]]:
    """The people's category, all images, and the annotations of that category."""
    if not isinstance(document, dict):
        coco.parse(document, path, keypoints=True)  # raises
    if not {"images", "annotations", "categories"} <= document.keys():
        coco.parse(document, path, keypoints=True)
    fields = Fields(document, str(path))
    annotations = [one for one in fields.items("annotations") if isinstance(one, dict)]
    listed = fields.items("categories")
    known = {id_key(one.get("id")) for one in listed if isinstance(one, dict)}
    used = Counter(id_key(one.get("category_id")) for one in annotations)
    numbers = {key: _number(key) for key in used.keys() & known}
    counts = Counter({number: used[key] for key, number in numbers.items() if number is not None})
    category = people_category(
        read_categories(listed, counts, str(path)), str(path), keypoints=True
    )
    of_people = [
        one
        for one in annotations
        if id_key(one.get("category_id")) in (str(category.id), "None")
        or id_key(one.get("category_id")) not in known
    ]
    return dict(category.entry.values), fields.items("images"), of_people


def _check_images(
    images: list[Any], category: dict[str, Any], path: Path, findings: list[Finding]
) -> dict[str, dict[str, Any]]:
    """The valid images by id; faults of the others are added to the findings."""
    ids = Counter(id_key(one.get("id")) for one in images if isinstance(one, dict))
    names = Counter(one.get("file_name") for one in images if _has_name(one))
    good: dict[str, dict[str, Any]] = {}
    for entry in images:
        number = _id(entry)
        try:
            coco.parse_images({"images": [entry], "categories": [category]}, path)
        except ValueError as error:
            findings.append(Finding(kind="structure", text=_short(error, path), image_id=number))
            continue
        if ids[id_key(entry["id"])] > 1:
            text = f"image id {entry['id']} is duplicated"
            findings.append(Finding(kind="structure", text=text, image_id=number))
        elif names[entry["file_name"]] > 1:
            text = f"file_name {quoted(entry['file_name'])} is that of several images"
            findings.append(Finding(kind="structure", text=text, image_id=number))
        good.setdefault(id_key(entry["id"]), entry)
    unique = {entry["file_name"]: key for key, entry in reversed(good.items())}
    return {key: good[key] for key in good if unique[good[key]["file_name"]] == key}


def _has_name(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("file_name"), str)


def _annotation_faults(
    entry: dict[str, Any], image: dict[str, Any], category: dict[str, Any], path: Path
) -> Iterator[Finding]:
    """The faults of one entry, read alone."""
    document = {"images": [image], "annotations": [entry], "categories": [category]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            coco.parse(document, path, keypoints=True, areas=False)
        except ValueError as error:
            yield _of(entry, _short(error, path))


def _doubts(entry: dict[str, Any], image: CocoImage, joints: int) -> Iterator[Finding]:
    """What can be read and is not right: counts, areas, joints outside the image."""
    keypoints = entry["keypoints"]
    visibility = keypoints[2::3]
    labeled = [n for n in range(joints) if visibility[n] > 0]
    given = entry.get("num_keypoints")
    if given is not None and id_key(given) != str(len(labeled)):
        yield _of(entry, f"num_keypoints is {given}; {len(labeled)} keypoints are labeled")
    _, _, width, height = map(float, entry["bbox"])
    area = entry.get("area")
    known = 0.0 if isinstance(area, bool) or not isinstance(area, int | float) else float(area)
    if labeled and known > 0 and not area_fits(known, width, height):
        yield _of(
            entry, f"area {known:g} does not fit the bbox, {width:g} wide and {height:g} high"
        )
    outside = tuple(
        n
        for n in labeled
        if not -1 <= keypoints[3 * n] <= image.width + 1
        or not -1 <= keypoints[3 * n + 1] <= image.height + 1
    )
    if outside:
        yield _of(entry, f"{len(outside)} labeled keypoints are outside the image", outside)
    at_origin = tuple(n for n in labeled if keypoints[3 * n] == keypoints[3 * n + 1] == 0)
    if at_origin:
        yield _of(entry, f"{len(at_origin)} keypoints at 0, 0 are marked as labeled", at_origin)


def _of(entry: dict[str, Any], text: str, joints: tuple[int, ...] = ()) -> Finding:
    return Finding(
        kind="structure",
        text=text,
        image_id=_number(entry.get("image_id")),
        annotation_id=_id(entry),
        joints=joints,
    )


def _id(entry: Any) -> int | None:
    return _number(entry.get("id")) if isinstance(entry, dict) else None


def _number(value: object) -> int | None:
    try:
        return int(value) if isinstance(value, int | str) else None
    except ValueError:
        return None


def _short(error: ValueError, path: Path) -> str:
    """A message without the file's name, which the page has in its title."""
    return str(error).removeprefix(f"{path}: ")
