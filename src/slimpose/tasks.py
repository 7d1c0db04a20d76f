"""The tasks of a model."""

from __future__ import annotations

from typing import Literal, cast, get_args

from slimpose.messages import quoted

Task = Literal["pose", "detect", "bottom-up", "one-stage"]
"""Poses of cropped people; boxes of people; heatmaps and part affinity fields of an image; or its
people and their poses at once."""
TASKS: tuple[Task, ...] = get_args(Task)


def parse_task(text: str) -> Task:
    """Return the task of this name.

    >>> parse_task("detect")
    'detect'

    Raises:
        ValueError: If there is no such task.
    """
    if text not in TASKS:
        raise ValueError(f"task is {quoted(text)}; expected {' or '.join(TASKS)}")
    return cast("Task", text)
