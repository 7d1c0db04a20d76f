"""Options under the names of before 2026-11-29, which still work, with a note."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

_OF_PREDICT = {"--score-threshold": "--conf", "--joint-threshold": "--keypoint-threshold"}
_RENAMED: Mapping[str, Mapping[str, str]] = {
    "predict": _OF_PREDICT,
    "live": _OF_PREDICT,
    "evaluate": {"--analyse": "--analyze"},
    "train": {
        "--alpha": "--distillation-weight",
        "--taught-once": "--cached-teacher",
        "--labelled-only": "--labeled-only",
        "--unlabelled": "--unlabeled",
    },
    "import-weights": {"--colours": "--color-order"},
    "doctor": {"--again": "--refresh"},
}


def with_new_names(command: str, arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments with renamed options replaced; say so on standard error."""
    renamed = _RENAMED.get(command, {})
    result: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in renamed:
            print(f"slimpose: {option} is now {renamed[option]}", file=sys.stderr)
            argument = f"{renamed[option]}{equals}{value}"
        result.append(argument)
    return result
