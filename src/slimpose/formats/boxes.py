"""Boxes of people that a user brings along: a COCO annotation file, or a list of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """Boxes by file and frame; whether they fit a picture is known only when there is the picture.

    Attributes:
        path: The file they came from.
        by_name: File name, then frame, to rows of x1, y1, x2, y2, score.
        by_image_id: The same for records with a COCO image id alone (000000000139.jpg is image
            139).
    """

    path: Path
    by_name: Mapping[str, Mapping[int, _Rows]]
    by_image_id: Mapping[int, Mapping[int, _Rows]]
    _names_by_last_part: dict[str, list[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.by_name:
            self._names_by_last_part.setdefault(PurePosixPath(name).name, []).append(name)

    def of(
        self, file: Path, frame: int, *, image_id: int | None = None
    ) -> tuple[Boxes, PersonScores]:
        """Return the boxes (n, 4) of a file's frame and their scores (n,); n is 0 for what is not mentioned.

        Of several names with the same last part, the one that shares the most folders with ``file``
        is meant. Without ``image_id`` a file's name says it, if that is a number.

        Raises:
            ValueError: If that does not tell which one.
        """
        if names := self._names(file):
            if len(names) > 1:
                raise ValueError(
                    f"{self.path} has boxes for {' and '.join(names[:3])}; cannot tell which of them it is"
                )
            frames = self.by_name[names[0]]
        else:
            number = image_number(file) if image_id is None else image_id
            frames = {} if number is None else self.by_image_id.get(number, {})
        table = np.array(frames.get(frame, []), np.float32).reshape(-1, 5)
        return table[:, :4], table[:, 4]

    def files_without_boxes(self, files: Sequence[Path]) -> int:
        """Return how many of the files, one or more, have no entry.

        Raises:
            ValueError: If none has one.
        """
        count = sum(
            not self._names(file) and image_number(file) not in self.by_image_id for file in files
        )
        if count == len(files):
            held = [*self.by_name, *(f"image {number}" for number in self.by_image_id)]
            has = (
                f"; it has boxes for {', '.join(held[:3])}{', ...' * (len(held) > 3)}"
                if held
                else ": it has no boxes"
            )
            inputs = files[0].name if count == 1 else f"any of the {count} inputs"
            raise ValueError(f"{self.path} does not mention {inputs}{has}")
        return count

    def _names(self, file: Path) -> list[str]:
        """The names that may mean a file."""
        parts = file.absolute().parts
        shared = {
            name: _shared_tail(PurePosixPath(name).parts, parts)
            for name in self._names_by_last_part.get(file.name, [])
        }
        most = max(shared.values(), default=0)
        return [name for name, count in shared.items() if count == most > 0]


def read(path: Path) -> BoxFile:
    """Read boxes from a COCO annotation file, or a list of results as ``slimpose predict --json`` writes it.

    A record of a list has ``bbox`` (x, y, width, height) and ``file_name`` or ``image_id``; it may
    have ``score`` (else 1), ``frame`` (else 0) and ``category_id`` (what is not of 1, person, is
    left out).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or an entry is broken.
    """
    document = read_json(path, kind="box file")
    if isinstance(document, dict):
        return _of_annotations(coco.parse(document, path, keypoints=False))
    if isinstance(document, list):
        return _of_records(path, document)
    raise ValueError(
        f"{path} is a JSON {type(document).__name__}; expected a COCO annotation file or a list of results"
    )


def _of_annotations(annotations: coco.CocoFile) -> BoxFile:
    by_name: dict[str, dict[int, _Rows]] = {}
    for image_id, people in annotations.people_by_image().items():
        rows = [[*map(float, person.box_image), 1.0] for person in people if not person.is_crowd]
        by_name[annotations.images[image_id].file_name] = {0: rows}
    return BoxFile(path=annotations.path, by_name=by_name, by_image_id={})


def _of_records(path: Path, records: list[Any]) -> BoxFile:
    by_name: dict[str, dict[int, _Rows]] = {}
    by_image_id: dict[int, dict[int, _Rows]] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            kind = type(record).__name__
            raise ValueError(
                f"{path}: record {number} is a {kind}; expected an object with bbox, and file_name or image_id"
            )
        try:
            if record.get("category_id", PERSON_CATEGORY) != PERSON_CATEGORY:
                continue
            row, frame = _row(record), int(record.get("frame", 0))
            if "file_name" in record:
                name = str(record["file_name"]).replace("\\", "/")
                by_name.setdefault(name, {}).setdefault(frame, []).append(row)
            else:
                by_image_id.setdefault(int(record["image_id"]), {}).setdefault(frame, []).append(
                    row
                )
        except KeyError as error:
            raise ValueError(
                f"{path}: record {number} lacks {error}; expected bbox, and file_name or image_id"
            ) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: record {number}: {error}") from error
    return BoxFile(path=path, by_name=by_name, by_image_id=by_image_id)


def _row(record: Mapping[str, Any]) -> list[float]:
    """One record as x1, y1, x2, y2, score."""
    bbox = record["bbox"]
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(isinstance(value, int | float) for value in bbox)
    ):
        raise ValueError(f"bbox is {bbox}; expected 4 numbers x, y, width, height")
    x, y, width, height = map(float, bbox)
    if not np.isfinite([x, y, x + width, y + height]).all():
        raise ValueError(f"bbox is {bbox}; expected finite numbers")
    score = float(record.get("score", 1.0))
    if not 0 <= score <= 1:
        raise ValueError(f"score is {score:g}; expected a number 0..1")
    return [x, y, x + width, y + height, score]


def _shared_tail(one: Sequence[str], other: Sequence[str]) -> int:
    """How many path parts agree, from the last one on."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
