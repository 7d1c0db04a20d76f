"""Person boxes supplied by the user: a COCO annotation file, or a list of COCO results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from slimpose.arrays import Boxes, PersonScores
from slimpose.formats import coco
from slimpose.formats.files import read_json
from slimpose.formats.results import PERSON_CATEGORY, image_number

_Rows = list[list[float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxFile:
    """Boxes by file and frame; whether they lie within an image is checked when it is read.

    Attributes:
        path: The file they came from.
        by_name: File name, then frame, to rows of x1, y1, x2, y2, score.
        by_image_id: The same for records that have only a COCO image id (000000000139.jpg is image
            139).
    """

    path: Path
    by_name: Mapping[str, Mapping[int, _Rows]]
    by_image_id: Mapping[int, Mapping[int, _Rows]]
    _names_by_last_part: dict[str, list[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.by_name:
            self._names_by_last_part.setdefault(PurePosixPath(name).name, []).append(name)

    def lookup(
        self, file: Path, frame: int, *, image_id: int | None = None
    ) -> tuple[Boxes, PersonScores]:
        """Return the boxes (n, 4) and scores (n,) of one frame of a file; n is 0 without an entry.

        Of several entries with the same file name, the one that shares the most folders with
        ``file`` is used. Without ``image_id`` it is read from the file's name, if that is a number.

        Raises:
            ValueError: If several entries match equally well.
        """
        if names := self._names(file):
            if len(names) > 1:
                raise ValueError(
                    f"{self.path} has boxes for {' and '.join(names[:3])}; "
                    f"cannot decide which of them is {file}"
                )
            frames = self.by_name[names[0]]
        else:
            number = image_number(file) if image_id is None else image_id
            frames = {} if number is None else self.by_image_id.get(number, {})
        table = np.array(frames.get(frame, []), np.float32).reshape(-1, 5)
        return table[:, :4], table[:, 4]

    def files_without_boxes(self, files: Sequence[Path]) -> int:
        """Return how many of the files (at least one) have no entry.

        Raises:
            ValueError: If no file has an entry.
        """
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

    def _names(self, file: Path) -> list[str]:
        """The names in the box file that match a file best."""
        parts = file.absolute().parts
        shared = {
            name: _shared_suffix_length(PurePosixPath(name).parts, parts)
            for name in self._names_by_last_part.get(file.name, [])
        }
        longest = max(shared.values(), default=0)
        return [name for name, count in shared.items() if count == longest > 0]


def read(path: Path) -> BoxFile:
    """Read boxes from a COCO annotation file or a list of results (``slimpose predict --json``).

    A record of a list has ``bbox`` (x, y, width, height) and ``file_name`` or ``image_id``; it may
    have ``score`` (default 1), ``frame`` (default 0) and ``category_id`` (records of other
    categories than 1, person, are skipped).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or an entry is invalid.
    """
    document = read_json(path, kind="box file")
    if isinstance(document, dict):
        return _from_annotations(coco.parse(document, path, keypoints=False))
    if isinstance(document, list):
        return _from_records(path, document)
    raise ValueError(
        f"{path} is a JSON {type(document).__name__}; "
        "expected a COCO annotation file or a list of results"
    )


def _from_annotations(annotations: coco.CocoFile) -> BoxFile:
    by_name: dict[str, dict[int, _Rows]] = {}
    for image_id, people in annotations.people_by_image().items():
        rows = [[*map(float, person.box_image), 1.0] for person in people if not person.is_crowd]
        by_name[annotations.images[image_id].file_name] = {0: rows}
    return BoxFile(path=annotations.path, by_name=by_name, by_image_id={})


def _from_records(path: Path, records: list[Any]) -> BoxFile:
    by_name: dict[str, dict[int, _Rows]] = {}
    by_image_id: dict[int, dict[int, _Rows]] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(
                f"{path}: record {number} is a {type(record).__name__}; "
                "expected an object with bbox, and file_name or image_id"
            )
        try:
            if record.get("category_id", PERSON_CATEGORY) != PERSON_CATEGORY:
                continue
            row, frame = _row(record), int(record.get("frame", 0))
            if "file_name" in record:
                name = str(record["file_name"]).replace("\\", "/")
                by_name.setdefault(name, {}).setdefault(frame, []).append(row)
            else:
                image_id = int(record["image_id"])
                by_image_id.setdefault(image_id, {}).setdefault(frame, []).append(row)
        except KeyError as error:
            raise ValueError(
                f"{path}: record {number} lacks {error}; expected bbox, and file_name or image_id"
            ) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: record {number}: {error}") from error
    return BoxFile(path=path, by_name=by_name, by_image_id=by_image_id)


def _row(record: Mapping[str, Any]) -> list[float]:
    """A record's box as x1, y1, x2, y2, score."""
    bbox = record["bbox"]
    is_four = isinstance(bbox, list) and len(bbox) == 4
    if not is_four or not all(isinstance(value, int | float) for value in bbox):
        raise ValueError(f"bbox is {bbox}; expected 4 numbers x, y, width, height")
    x, y, width, height = map(float, bbox)
    if not np.isfinite([x, y, x + width, y + height]).all():
        raise ValueError(f"bbox is {bbox}; expected finite numbers")
    score = float(record.get("score", 1.0))
    if not 0 <= score <= 1:
        raise ValueError(f"score is {score:g}; expected a number 0..1")
    return [x, y, x + width, y + height, score]


def _shared_suffix_length(one: Sequence[str], other: Sequence[str]) -> int:
    """How many path parts two paths share, counted from the end."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
