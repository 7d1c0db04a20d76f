"""Label Studio's own JSON export: keypoints in percent of the image, in rectangles.

Its COCO export puts all keypoints of an image into one instance, in whole pixels; this one has the
rectangle that each keypoint belongs to.

Source:
    labelstud.io/guide/export, "JSON"; labelstud.io/tags/keypointlabels.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np

from slimpose.arrays import Size
from slimpose.fields import Fields, table
from slimpose.formats.files import read_json
from slimpose.labels.interchange.label_data import (
    Builder,
    LabelData,
    Progress,
    no_progress,
    own_skeleton,
    size_of,
)
from slimpose.messages import quoted

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the names of uploaded files."""


@dataclass(slots=True)
class _Region:
    """Keypoints (x, y in percent) of one instance; box x, y, width, height in percent, or None."""

    where: str
    label: str = ""
    box: tuple[float, float, float, float] | None = None
    points: dict[str, tuple[float, float]] = field(default_factory=dict)


def is_export(path: Path) -> bool:
    """Return whether a JSON file holds a list, as Label Studio's exports do."""
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def read(
    path: Path,
    *,
    images: Path | None = None,
    category: str | None = None,
    on_progress: Progress = no_progress,
) -> LabelData:
    """Read an export; of several labels of rectangles only ``category``'s instances are read.

    Raises:
        ValueError: If it is not such an export, or a keypoint's instance is not known.
        FileNotFoundError: If an image is missing.
    """
    document = read_json(path, kind="annotation file")
    values = document if isinstance(document, list) else []
    if not values or not all(isinstance(one, dict) and "data" in one for one in values):
        raise ValueError(
            f"{path} is not an export of Label Studio; expected a list of tasks with data and "
            "annotations (its format JSON, not JSON-MIN; is it a COCO results file?)"
        )
    tasks = [Fields(one, f"{path}: task {one.get('id')}") for one in values]
    annotated = [(task, *_annotation(task)) for task in tasks]
    regions = [_regions(results) for _, results, _ in annotated]
    labels = sorted({one.label for of_task in regions for one in of_task if one.points})
    if (len(labels) > 1 and category is None) or category not in (None, *labels):
        raise ValueError(
            f"{path} has keypoints in rectangles labeled {quoted(labels)}; expected one, chosen by "
            "slimpose convert --category NAME: each kind of instance needs a model of its own"
        )
    kept = [[one for one in these if category in (None, one.label)] for these in regions]
    joints = sorted({name for of_task in kept for one in of_task for name in one.points})
    if not joints:
        raise ValueError(f"{path} has no keypoints; expected results of the type keypointlabels")
    name = category or next(iter(labels), "") or "object"
    builder = Builder(path=path, skeleton=own_skeleton(name, joints))
    folder = images or path.parent
    for done, ((task, results, _), these) in enumerate(zip(annotated, kept, strict=True), start=1):
        image = _image(task, folder)
        size = _size(results) or size_of(image)
        image_id = builder.add_image(image.relative_to(folder).as_posix(), size)
        for region in these:
            _add(builder, image_id, region, joints, size)
        on_progress(done, len(tasks))
    file, notes = builder.build()
    notes.append(f"Label Studio's files have no order of keypoints; theirs is {quoted(joints)}")
    if several := sum(count > 1 for _, _, count in annotated):
        notes.append(f"{several} tasks have several annotations; the newest is read")
    return LabelData(file=file, image_folder=folder, notes=tuple(notes))


def _annotation(task: Fields) -> tuple[list[Fields], int]:
    """The results of the newest annotation that was not canceled, and how many there are."""
    found = [
        table(one, task.what(f"annotations[{index}]"))
        for index, one in enumerate(task.items("annotations") if task.has("annotations") else [])
    ]
    found = [one for one in found if not one.values.get("was_cancelled")]
    if not found:
        return [], 0
    newest = max(
        found, key=lambda one: str(one.values.get("updated_at") or one.values.get("created_at"))
    )
    return [
        table(one, newest.what(f"result[{index}]"))
        for index, one in enumerate(newest.items("result"))
    ], len(found)


def _regions(results: list[Fields]) -> list[_Region]:
    """The instances of an image: keypoints by their parents, relations, or enclosing rectangles."""
    regions: dict[str, _Region] = {}
    related: defaultdict[str, set[str]] = defaultdict(set)
    for entry in results:
        kind = entry.values.get("type")
        if kind == "rectanglelabels":
            regions[entry.text("id")] = _rectangle(entry)
        elif kind == "relation":
            ends = entry.text("from_id"), entry.text("to_id")
            related[ends[0]].add(ends[1])
            related[ends[1]].add(ends[0])
    points = [one for one in results if one.values.get("type") == "keypointlabels"]
    without = _Region(where=points[0].where if points else "")
    for entry in points:
        if entry.values.get("image_rotation"):
            raise ValueError(
                f"{entry.where}: the image was rotated by {entry.values['image_rotation']} degrees "
                "while it was labeled; expected 0 (rotate the image file and label it again)"
            )
        value = table(entry.get("value"), entry.what("value"))
        (label, *more) = value.texts("keypointlabels") or ("",)
        if more or not label:
            raise ValueError(f"{entry.where} has {1 + len(more)} labels; expected one")
        x, y = value.number("x"), value.number("y")
        owners = [regions[one] for one in _parents(entry, related) if one in regions]
        owners = owners or [one for one in regions.values() if _encloses(one, x, y)]
        if len(owners) > 1:
            raise ValueError(
                f"{entry.where}: keypoint {quoted(label)} lies in {len(owners)} rectangles; "
                "expected one, or the right one as its parent (drag the keypoint onto it in the "
                "list of regions)"
            )
        owner = owners[0] if owners else without
        if label in owner.points:
            raise ValueError(
                f"{entry.where}: an instance has the keypoint {quoted(label)} twice; expected "
                "a rectangle around each instance, as the parent of its keypoints"
            )
        owner.points[label] = (x, y)
    return [*regions.values(), *([without] if without.points else [])]


def _rectangle(entry: Fields) -> _Region:
    value = table(entry.get("value"), entry.what("value"))
    x, y, width, height = (value.number(name) for name in ("x", "y", "width", "height"))
    labels = value.texts("rectanglelabels")
    box = None if value.values.get("rotation") else (x, y, width, height)
    return _Region(where=entry.where, label=labels[0] if labels else "", box=box)


def _parents(entry: Fields, related: dict[str, set[str]]) -> Iterator[str]:
    """The ids of regions that a keypoint was attached to."""
    for name in ("parentID", "parent_id"):
        if isinstance(parent := entry.values.get(name), str):
            yield parent
            return
    yield from related.get(str(entry.values.get("id")), ())


def _encloses(region: _Region, x: float, y: float) -> bool:
    if region.box is None:
        return False
    left, top, width, height = region.box
    return left <= x <= left + width and top <= y <= top + height


def _add(builder: Builder, image_id: int, region: _Region, joints: list[str], size: Size) -> None:
    scale = np.array([size.width, size.height]) / 100
    keypoints = np.zeros((len(joints), 3))
    for label, point in region.points.items():
        keypoints[joints.index(label)] = [*(np.array(point) * scale), 2]
    box = region.box
    xywh = None if box is None else [*(np.array(box[:2]) * scale), *(np.array(box[2:]) * scale)]
    builder.add_instance(image_id, keypoints, xywh)


def _size(results: list[Fields]) -> Size | None:
    """The image's size as Label Studio saw it; None if nothing is labeled."""
    sizes = Counter(
        (one.integer("original_height", low=1), one.integer("original_width", low=1))
        for one in results
        if one.has("original_width")
    )
    return Size(*sizes.most_common(1)[0][0]) if sizes else None


def _image(task: Fields, folder: Path) -> Path:
    """The image of a task: in the folder, at as much of its address's path as there is."""
    data = table(task.get("data"), task.what("data"))
    address = next((one for one in data.values.values() if isinstance(one, str) and one), "")
    if isinstance(data.values.get("image"), str):
        address = data.text("image")
    path = unquote(address.rpartition("?d=")[2] if "?d=" in address else address.partition("?")[0])
    parts = [one for one in PurePosixPath(path.replace("\\", "/")).parts if one not in ("/", "..")]
    for near in (folder, folder / "images"):
        for start in range(len(parts)):
            name = PurePosixPath(*parts[start:])
            for candidate in (name, name.with_name(_UPLOADED.sub("", name.name) or name.name)):
                if (near / candidate).is_file():
                    return near / candidate
    raise FileNotFoundError(
        f"{task.where} names {quoted(address)}, which is not in {folder} nor its folder images; "
        "expected --images FOLDER"
    )
