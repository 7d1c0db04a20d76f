"""Person boxes supplied by the user: a COCO annotation file, or a list of COCO results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from slimpose import fields
from slimpose.arrays import Boxes, PersonScores, Size
from slimpose.fields import Fields, json_kind
from slimpose.formats import coco
from slimpose.formats.coco_checks import MAX_MISPLACED_SHARE, PLAUSIBLE_BOX, is_plausible_box
from slimpose.formats.files import read_json
from slimpose.formats.results import PERSON_CATEGORY, image_number

_Rows = list[list[float]]
_MAX_PX = 1e9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxFile:
    """Boxes by file and frame; whether they lie within an image is checked when it is read.

    Attributes:
        path: The file they came from.
        sizes: The declared sizes of images by file name, where the file has them.
        by_name: File name, then frame, to rows of x1, y1, x2, y2, score.
        by_image_id: The same for records that have only a COCO image id (000000000139.jpg is image
            139).
    """

    path: Path
    by_name: Mapping[str, Mapping[int, _Rows]]
    by_image_id: Mapping[int, Mapping[int, _Rows]]
    sizes: Mapping[str, Size] = field(default_factory=dict)
    _names_by_last_part: dict[str, list[str]] = field(init=False, default_factory=dict)
    _owners: dict[str, Path] = field(init=False, default_factory=dict)
    _returned: Counter[bool] = field(init=False, default_factory=Counter)
    """How many boxes were returned, by whether they fit their images."""

    def __post_init__(self) -> None:
        for name in self.by_name:
            self._names_by_last_part.setdefault(PurePosixPath(name).name, []).append(name)

    def lookup(
        self, file: Path, frame: int, size: Size, *, image_id: int | None = None
    ) -> tuple[Boxes, PersonScores]:
        """Return the boxes (n, 4) and scores (n,) of one frame of a file; n is 0 without an entry.

        ``size`` is the frame's. Of several entries with the same file name, the one that shares the
        most folders with ``file`` is used. Without ``image_id`` it is read from the file's name, if
        that is a number.

        Raises:
            ValueError: If several entries match equally well, or the frame has another size than
                the file declares.
        """
        if names := self._names(file):
            if len(names) > 1:
                raise ValueError(
                    f"{self.path} has boxes for {' and '.join(names[:3])}; "
                    f"cannot decide which of them is {file}"
                )
            frames = self.by_name[names[0]]
            self._check_size(names[0], size)
        else:
            number = image_number(file) if image_id is None else image_id
            frames = {} if number is None else self.by_image_id.get(number, {})
        table = np.array(frames.get(frame, []), np.float32).reshape(-1, 5)
        self._returned.update(is_plausible_box(box, size) for box in table[:, :4])
        return table[:, :4], table[:, 4]

    def doubt(self) -> str:
        """Return why the boxes that were returned so far cannot be right; empty if they can."""
        count, wrong = self._returned.total(), self._returned[False]
        if wrong <= MAX_MISPLACED_SHARE * count:
            return ""
        return f"{self.path}: {wrong} of {count} boxes do not fit; expected {PLAUSIBLE_BOX}"

    def files_without_boxes(self, files: Sequence[Path]) -> int:
        """Return how many of the files (at least one) have no entry.

        Raises:
            ValueError: If no file has an entry, or several files have one and the same.
        """
        self.assign(files)
        count = sum(
            not self._names(file) and image_number(file) not in self.by_image_id for file in files
        )
        if count == len(files):
            entries = [*self.by_name, *(f"image {number}" for number in self.by_image_id)]
            available = (
                f"; it has boxes for {', '.join(entries[:3])}{', ...' * (len(entries) > 3)}"
                if entries
                else ": it has no boxes"
            )
            inputs = files[0].name if count == 1 else f"any of the {count} inputs"
            raise ValueError(f"{self.path} does not mention {inputs}{available}")
        return count

    def _check_size(self, name: str, size: Size) -> None:
        declared = self.sizes.get(name, size)
        if declared != size:
            raise ValueError(
                f"{self.path} declares {name} to be {declared.width} wide and {declared.height} "
                f"high; the image is {size.width} wide and {size.height} high; expected the same "
                "(resized after labeling, or labeled before its EXIF rotation was applied?)"
            )

    def assign(self, files: Sequence[Path], *, by_number: bool = True) -> None:
        """Give each entry to the one of all files that shares the most folders with it.

        ``by_number`` also compares image ids with the numbers in the files' names.

        Raises:
            ValueError: If several files match an entry equally well.
        """
        candidates: dict[str | int, list[tuple[int, Path]]] = {}
        for file in files:
            names, count = self._best_names(file)
            number = image_number(file) if by_number else None
            for name in names:
                candidates.setdefault(name, []).append((count, file))
            if number is not None and not names and number in self.by_image_id:
                candidates.setdefault(number, []).append((0, file))
        for entry, matching in candidates.items():
            longest = max(count for count, _ in matching)
            best = [file for count, file in matching if count == longest]
            if len(best) > 1:
                shown = entry if isinstance(entry, str) else f"image_id {entry}"
                raise ValueError(
                    f"{self.path} has boxes for {shown}, which may be {best[0]} or {best[1]}; "
                    "expected a file_name with folders that distinguish them, or one of them only"
                )
            if isinstance(entry, str):
                self._owners[entry] = best[0]

    def _names(self, file: Path) -> list[str]:
        """The names in the box file that match a file best, without those of other files."""
        names, _ = self._best_names(file)
        return [name for name in names if self._owners.get(name, file) == file]

    def _best_names(self, file: Path) -> tuple[list[str], int]:
        """The names in the box file that match a file best, and how many parts they share."""
        parts = file.absolute().parts
        shared = {
            name: _shared_suffix_length(PurePosixPath(name).parts, parts)
            for name in self._names_by_last_part.get(file.name, [])
        }
        longest = max(shared.values(), default=0)
        return [name for name, count in shared.items() if count == longest > 0], longest


def read(path: Path, *, category_id: int = PERSON_CATEGORY) -> BoxFile:
    """Read boxes from a COCO annotation file or a list of results (``slimpose predict --json``).

    A record of a list has ``bbox`` (x, y, width, height) and ``file_name`` or ``image_id``; it may
    have ``score`` (default 1), ``frame`` (default 0) and ``category_id``: of several categories
    only ``category_id``'s are taken, or those of 1, COCO's people; if there is one category, all.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or an entry is invalid.
    """
    document = read_json(path, kind="box file")
    if isinstance(document, dict):
        return _from_annotations(coco.parse(document, path, keypoints=False, areas=False))
    if isinstance(document, list):
        return _from_records(path, document, category_id)
    raise ValueError(
        f"{path} is {json_kind(document)}; expected a COCO annotation file or a list of results"
    )


def _from_annotations(annotations: coco.CocoFile) -> BoxFile:
    by_name: dict[str, dict[int, _Rows]] = {}
    for image_id, people in annotations.people_by_image().items():
        rows = [[*map(float, person.box_image), 1.0] for person in people if not person.is_crowd]
        by_name[annotations.images[image_id].file_name] = {0: rows}
    return BoxFile(
        path=annotations.path,
        by_name=by_name,
        by_image_id={},
        sizes={
            image.file_name: Size(image.height, image.width)
            for image in annotations.images.values()
        },
    )


def _from_records(path: Path, values: list[Any], category_id: int) -> BoxFile:
    by_name: dict[str, dict[int, _Rows]] = {}
    by_image_id: dict[int, dict[int, _Rows]] = {}
    expected = "an object with bbox, and file_name or image_id"
    records = [
        fields.table(value, f"{path}: record {number}", expected)
        for number, value in enumerate(values)
    ]
    categories = [
        record.integer("category_id") if record.has("category_id") else None for record in records
    ]
    wanted = _category(path, {one for one in categories if one is not None}, category_id)
    for record, category in zip(records, categories, strict=True):
        if category not in (wanted, None):
            continue
        row = _row(record)
        frame = record.integer("frame", low=0) if record.has("frame") else 0
        if record.has("file_name"):
            name = record.text("file_name").replace("\\", "/")
            by_name.setdefault(name, {}).setdefault(frame, []).append(row)
        else:
            image_id = record.integer("image_id")
            by_image_id.setdefault(image_id, {}).setdefault(frame, []).append(row)
    return BoxFile(path=path, by_name=by_name, by_image_id=by_image_id)


def _category(path: Path, found: set[int], category_id: int) -> int | None:
    """The category whose records are taken: the given one, COCO's people, or the only one."""
    for wanted in (category_id, PERSON_CATEGORY):
        if wanted in found:
            return wanted
    if len(found) > 1:
        raise ValueError(
            f"{path}: the records have category_id {', '.join(map(str, sorted(found)[:5]))}; "
            f"expected {category_id}, one category only, or no category_id"
        )
    return next(iter(found), None)


def _row(record: Fields) -> list[float]:
    """A record's box as x1, y1, x2, y2, score."""
    record.numbers("bbox", count=4, expected="x, y, width, height")
    x, y, width, height = map(float, record.values["bbox"])
    if max(abs(x), abs(y), width, height) > _MAX_PX:
        raise fields.fail(record.what("bbox"), record.values["bbox"], "pixels of an image")
    score = record.number("score", low=0, high=1) if record.has("score") else 1.0
    return [x, y, x + width, y + height, score]


def _shared_suffix_length(one: Sequence[str], other: Sequence[str]) -> int:
    """How many path parts two paths share, counted from the end."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
