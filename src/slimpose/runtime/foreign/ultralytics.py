"""What files that Ultralytics exported say about themselves in their metadata."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimpose.arrays import Size
from slimpose.messages import quoted
from slimpose.runtime.foreign.facts import ANY_CLASS

_TASKS = ("detect", "pose", "segment", "obb", "classify")
_PEOPLE = ("person", "people", "pedestrian", "human")
_MAX_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The metadata of a file; as it is by default of one that Ultralytics did not write.

    Attributes:
        task: Such as "detect" or "pose"; "" if the file does not say.
        joints: Number of keypoints; None if the file does not say.
        values: Numbers per keypoint: x and y, and a score if there are three.
        classes: The classes' names; empty if the file does not say.
        size: The input size that it was exported for; None if the file does not say.
    """

    task: str = ""
    joints: int | None = None
    values: int = 3
    classes: tuple[str, ...] = ()
    size: Size | None = None

    @property
    def person(self) -> int | None:
        """The number of the class of people; ``ANY_CLASS`` if none has such a name."""
        if not self.classes:
            return None
        names = [name.strip().lower() for name in self.classes]
        found = [number for number, name in enumerate(names) if name in _PEOPLE]
        return found[0] if found else ANY_CLASS


def read_export(metadata: Mapping[str, str]) -> Export:
    """Return what a file's metadata say.

    Raises:
        ValueError: If they say that Ultralytics wrote the file, but not what it writes.
    """
    task = metadata.get("task", "")
    if task not in _TASKS:
        return Export()
    keypoints = _literal(metadata, "kpt_shape") if task == "pose" else None
    if keypoints is not None and not (
        _are_numbers(keypoints, count=2) and keypoints[0] > 0 and keypoints[1] in (2, 3)
    ):
        raise _invalid(metadata, "kpt_shape", "[keypoints, 2 or 3]")
    size = _literal(metadata, "imgsz")
    if size is not None and not _are_numbers(size, count=2):
        raise _invalid(metadata, "imgsz", "[height, width]")
    names = _literal(metadata, "names")
    if names is not None and not (isinstance(names, dict) and list(names) == [*range(len(names))]):
        raise _invalid(metadata, "names", "the names of the classes by number, from 0")
    return Export(
        task=task,
        joints=keypoints and keypoints[0],
        values=keypoints[1] if keypoints else 3,
        classes=tuple(map(str, names.values())) if names else (),
        size=size and Size(*size),
    )


def _literal(metadata: Mapping[str, str], key: str) -> Any:
    """Return a value that is written as Python writes it; None if there is none."""
    if key not in metadata:
        return None
    try:
        return ast.literal_eval(metadata[key][:_MAX_CHARACTERS])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return metadata[key]


def _are_numbers(value: Any, *, count: int) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) == count
    return is_list and all(type(number) is int for number in value)


def _invalid(metadata: Mapping[str, str], key: str, expected: str) -> ValueError:
    return ValueError(
        f"metadata {key} is {quoted(metadata[key])}; expected {expected}, as Ultralytics writes it"
    )
