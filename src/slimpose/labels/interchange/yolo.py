"""YOLO-pose data sets of Ultralytics: a YAML file, and a text file of normalized labels per image.

A line is ``class x y width height`` (the box's center and size) and ``x y v`` per keypoint, all
relative to the image's size. Images are in ``images/``, labels at the same places in ``labels/``.

Source:
    docs.ultralytics.com, "Pose Estimation Datasets Overview": kpt_shape, flip_idx, kpt_names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from slimpose import fields
from slimpose.arrays import Size
from slimpose.fields import Fields
from slimpose.formats.coco import CocoFile, CocoPerson
from slimpose.formats.files import parse_file, replace_when_done, write_text
from slimpose.labels.interchange.label_data import (
    Builder,
    LabelData,
    Progress,
    no_progress,
    own_skeleton,
    read_yaml,
    size_of,
)
from slimpose.media.images import is_image_file
from slimpose.messages import quoted
from slimpose.skeleton import Skeleton

SPLITS = ("train", "val", "test")
_MOST = 2.0
"""Boxes may reach over the image, but larger numbers are pixels."""


def read(
    path: Path,
    *,
    split: str | None = None,
    category: str | None = None,
    on_progress: Progress = no_progress,
) -> LabelData:
    """Read one split of a data set (``train`` by default), or all of an only one.

    Of several classes only ``category``'s instances are read.

    Raises:
        ValueError: If the YAML file or a label file is invalid; the message names file and line.
        FileNotFoundError: If a file or folder is missing.
    """
    document = read_yaml(path, "YOLO data set")
    entry = fields.table(document, str(path), "the fields of a YOLO data set: train, kpt_shape")
    joints, dims = _shape(entry)
    classes, chosen_class = _classes(entry, category)
    skeleton = _skeleton(entry, joints, classes, chosen_class)
    root = path.parent / str(entry.values.get("path") or "")
    if not root.is_dir():
        root = path.parent  # a path of the machine that wrote it
    chosen = split or next((name for name in SPLITS if entry.has(name)), "train")
    files = _image_files(entry, root, chosen)
    images = list(dict.fromkeys(Path(os.path.normpath(file.absolute())) for file in files))
    root = Path(os.path.normpath(root.absolute()))
    if not all(file.is_relative_to(root) for file in images):
        root = Path(os.path.commonpath([file.parent for file in images]))
    builder = Builder(path=path, skeleton=skeleton)
    unlabeled = 0
    for done, file in enumerate(images, start=1):
        size = size_of(file)
        image_id = builder.add_image(file.relative_to(root).as_posix(), size)
        labels = _label_file(file)
        unlabeled += not labels.is_file()
        for number, keypoints, box in _instances(labels, joints, dims, size, classes):
            if number == chosen_class:
                builder.add_instance(image_id, keypoints, box)
        on_progress(done, len(images))
    file, notes = builder.build()
    if unlabeled:
        notes.append(f"{unlabeled} of {len(images)} images have no label file: no instances")
    return LabelData(file=file, image_folder=root, notes=tuple(notes))


def write(
    data: LabelData, folder: Path, *, split: str = "train", on_progress: Progress = no_progress
) -> list[str]:
    """Write a data set with copies of the images into a folder; return notes on what is lost.

    Splits that the folder's YAML file already names are kept, so ``train`` and ``val`` are written
    one after the other.
    """
    skeleton = data.file.skeleton
    people = data.file.people_by_image()
    written: dict[Path, str] = {}
    for done, (image_id, image) in enumerate(data.file.images.items(), start=1):
        name = PurePosixPath(image.file_name)
        if name.parts[:1] == ("images",):
            name = PurePosixPath(*name.parts[1:])
        if name.parts[:1] == (split,):
            name = PurePosixPath(*name.parts[1:])
        target = folder / "images" / split / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = data.image_folder / image.file_name
        if source.resolve() != target.resolve():
            with replace_when_done(target) as partial:
                shutil.copyfile(source, partial)
        lines = [
            _line(person.box_image, person.keypoints, Size(image.height, image.width))
            for person in people[image_id]
            if person.keypoints is not None and not person.is_crowd
        ]
        labels = (folder / "labels" / split / name).with_suffix(".txt")
        if (other := written.setdefault(labels, image.file_name)) != image.file_name:
            raise ValueError(
                f"{other} and {image.file_name} have one label file in YOLO's data sets, "
                f"{labels.name}; expected names that differ in more than their suffixes"
            )
        labels.parent.mkdir(parents=True, exist_ok=True)
        write_text(labels, "".join(lines))
        on_progress(done, len(people))
    _write_yaml(folder / "data.yaml", skeleton, split)
    notes = ["areas, limbs and sigmas are not in YOLO's files"]
    if outside := sum(_outside(person, data.file) for person in data.file.people):
        notes.append(f"{outside} keypoints outside their images are moved to the border")
    if reaching := sum(_reaches_out(person, data.file) for person in data.file.people):
        notes.append(f"{reaching} boxes that reach over their images end at the border")
    return notes


def _outside(person: CocoPerson, file: CocoFile) -> int:
    """How many labeled keypoints lie outside the image, which YOLO rejects."""
    if person.keypoints is None:
        return 0
    image = file.images[person.image_id]
    points = person.keypoints[person.keypoints[:, 2] > 0, :2]
    return int(((points < 0) | (points > (image.width, image.height))).any(axis=1).sum())


def _reaches_out(person: CocoPerson, file: CocoFile) -> bool:
    image = file.images[person.image_id]
    low, high = person.box_image.reshape(2, 2)
    # Files are rounded to 1/1000 pixel.
    return bool((low < -0.01).any() or (high > np.array([image.width, image.height]) + 0.01).any())


def _write_yaml(path: Path, skeleton: Skeleton, split: str) -> None:
    import yaml

    document: dict[str, Any] = {}
    if path.is_file():
        document = dict(fields.table(read_yaml(path, "YOLO data set") or {}, str(path)).values)
        shape = document.get("kpt_shape")
        if shape != [len(skeleton.joints), 3]:
            raise ValueError(
                f"{path} describes keypoints of shape {quoted(shape)}; expected "
                f"{[len(skeleton.joints), 3]}, as those to add (another folder?)"
            )
    document[split] = f"images/{split}"
    # Ultralytics needs both.
    document.setdefault("train", document[split])
    document.setdefault("val", document[split])
    name = "person" if skeleton.name == "coco17" else skeleton.name
    document |= {
        "path": ".",
        "names": {0: name},
        "kpt_shape": [len(skeleton.joints), 3],
        "flip_idx": skeleton.flip_indices.tolist(),
        "kpt_names": {0: list(skeleton.joints)},
    }
    write_text(path, yaml.safe_dump(document, sort_keys=False))


def _shape(entry: Fields) -> tuple[int, int]:
    """The number of keypoints and of their values: x, y, and v if there are three."""
    shape = entry.items("kpt_shape", "[keypoints, 2 or 3]")
    if len(shape) != 2:
        raise fields.fail(entry.what("kpt_shape"), shape, "[keypoints, 2 or 3]")
    joints = fields.integer(shape[0], entry.what("kpt_shape"), low=1, high=10_000)
    return joints, fields.integer(shape[1], entry.what("kpt_shape"), low=2, high=3)


def _classes(entry: Fields, category: str | None) -> tuple[dict[int, str], int]:
    """The names of the classes by number, and the number of the one that is read."""
    names = entry.values.get("names") or ["object"]
    if not isinstance(names, list | dict):
        raise fields.fail(entry.what("names"), names, "the classes' names")
    items = names.items() if isinstance(names, dict) else enumerate(names)
    classes = {fields.integer(key, entry.what("names"), low=0): str(name) for key, name in items}
    matching = [key for key, name in classes.items() if category in (None, name)]
    if len(matching) != 1:
        wanted = "" if category is None else f"no class {quoted(category)}; "
        raise ValueError(
            f"{entry.where}: {wanted}names has {len(classes)} classes, "
            f"{quoted(list(classes.values()))}; expected one, chosen by slimpose convert "
            "--category NAME: each kind of instance needs a model of its own"
        )
    return classes, matching[0]


def _skeleton(entry: Fields, joints: int, classes: dict[int, str], number: int) -> Skeleton:
    given = entry.values.get("kpt_names")
    if isinstance(given, dict):
        given = given.get(number, next(iter(given.values())) if len(given) == 1 else None)
    if given is None:
        given = [f"point{number}" for number in range(joints)]
    if not isinstance(given, list) or len(given) != joints:
        raise fields.fail(entry.what("kpt_names"), given, f"{joints} names")
    keypoints = [fields.text(str(name), entry.what("kpt_names")) for name in given]
    pairs = None
    if entry.has("flip_idx"):
        flip = [
            fields.integer(value, entry.what("flip_idx"), low=0, high=joints - 1)
            for value in entry.items("flip_idx")
        ]
        if len(flip) != joints or any(flip[flip[joint]] != joint for joint in range(joints)):
            raise fields.fail(
                entry.what("flip_idx"), flip, f"{joints} numbers, each pair naming each other"
            )
        pairs = [(keypoints[a], keypoints[b]) for a, b in enumerate(flip) if a < b]
    return own_skeleton(classes[number], keypoints, flip_pairs=pairs)


def _image_files(entry: Fields, root: Path, split: str) -> list[Path]:
    """The images of a split: folders or lists of files, relative to the data set's folder."""
    value = entry.get(split)
    places = value if isinstance(value, list) else [value]
    files: list[Path] = []
    for place in places:
        path = root / fields.text(place, entry.what(split))
        if not path.exists():  # Roboflow writes ../train/images for a file next to train/
            path = root / str(place).removeprefix("../")
        if path.is_dir():
            files += sorted(one for one in path.rglob("*") if one.is_file() and is_image_file(one))
        elif path.is_file() and path.suffix == ".txt":
            lines = parse_file(path, str.splitlines, language="text", kind="list of images")
            files += [_listed_image(line.strip(), path, root) for line in lines if line.strip()]
        else:
            raise FileNotFoundError(
                f"{entry.what(split)} is {quoted(place)}, which is not in {root}; expected a "
                "folder of images or a list of them"
            )
    if not files:
        raise ValueError(f"{entry.what(split)} has no images; expected some in {quoted(places)}")
    return files


def _listed_image(line: str, file: Path, root: Path) -> Path:
    """An image of a list of images: relative to the data set, or, with ./, to the list."""
    places = (file.parent, root) if line.startswith("./") else (root, file.parent)
    return next((one / line for one in places if (one / line).is_file()), places[0] / line)


def _label_file(image: Path) -> Path:
    """The label file of an image: the last folder ``images`` of its path is ``labels``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _instances(
    path: Path, joints: int, dims: int, size: Size, classes: Collection[int]
) -> list[tuple[float, np.ndarray, Sequence[float]]]:
    """The class, keypoints and box (x, y, width, height) of each line."""
    if not path.is_file():
        return []
    found: list[tuple[float, np.ndarray, Sequence[float]]] = []
    scale = np.array([size.width, size.height])
    lines = parse_file(path, str.splitlines, language="text", kind="YOLO's labels")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        count = 5 + joints * dims
        try:
            values = np.array(line.split(), np.float64)
        except ValueError:
            values = np.zeros(0)
        is_whole = len(values) == count and np.isfinite(values).all()
        if not is_whole or np.abs(values[1:5]).max() > _MOST:
            raise ValueError(
                f"{path}: line {number} is {quoted(line)}; expected {count} numbers: class, x, "
                f"y, width, height, normalized 0..1, and {dims} for each of {joints} keypoints"
            )
        if values[0] not in classes:
            raise ValueError(
                f"{path}: line {number} has class {values[0]:g}; expected one of the data set's "
                f"YAML file: {', '.join(map(str, classes))}"
            )
        points = values[5:].reshape(joints, dims)
        keypoints = np.full((joints, 3), 2.0)
        keypoints[:, :2] = points[:, :2] * scale
        # Without v, absent keypoints are at 0, 0, or are negative.
        known = (points != 0).any(axis=1) & (points >= 0).all(axis=1)
        keypoints[:, 2] = points[:, 2] if dims == 3 else 2.0 * known
        keypoints[keypoints[:, 2] <= 0] = 0
        if not np.isin(keypoints[:, 2], (0, 1, 2)).all():
            raise ValueError(
                f"{path}: line {number} has the visibility "
                f"{keypoints[~np.isin(keypoints[:, 2], (0, 1, 2)), 2][0]:g}; expected 0 (absent), "
                "1 (hidden) or 2 (visible) (predictions with scores? they are no labels)"
            )
        center, extent = values[1:3] * scale, values[3:5] * scale
        found.append((values[0], keypoints, [*(center - extent / 2), *extent]))
    return found


def _line(box_image: np.ndarray, keypoints: np.ndarray, size: Size) -> str:
    scale = np.array([size.width, size.height], np.float64)
    low, high = np.clip(box_image.reshape(2, 2) / scale, 0, 1)
    values = [*(low + high) / 2, *(high - low)]
    for x, y, v in keypoints:
        values += [*(np.clip(np.array([x, y]) / scale, 0, 1) if v > 0 else (0, 0)), int(v)]
    # 8 decimals: a hundred-thousandth of a pixel.
    return "0 " + " ".join(f"{value:.8g}" for value in values) + "\n"
