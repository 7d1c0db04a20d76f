"""Options under other names: those of before 2026-11-29, which still work, and other tools'."""

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


_OF_OTHER_TOOLS: Mapping[str, str] = {
    **dict.fromkeys(("--source", "--input", "--inputs", "--video-input"), "SOURCE, without a name"),
    **dict.fromkeys(("--output", "--output-root", "--out-dir", "--save-dir", "--project"), "--out"),
    **dict.fromkeys(("--weights", "--pose", "--pose-model", "--pose2d"), "--model"),
    **dict.fromkeys(("--det", "--det-model"), "--detector"),
    **dict.fromkeys(
        ("--conf-thres", "--conf-thr", "--confidence", "--score-thr", "--bbox-thr"), "--conf"
    ),
    **dict.fromkeys(
        ("--kpt-thr", "--kpt-threshold", "--keypoint-likelihood-threshold"), "--keypoint-threshold"
    ),
    **dict.fromkeys(("--max-det", "--nb-persons-to-detect", "--num-people"), "--max-people"),
    **dict.fromkeys(("--vid-stride", "--stride", "--frame-stride"), "--every"),
    **dict.fromkeys(("--det-frequency", "--det-freq"), "--detect-every"),
    **dict.fromkeys(("--time-range", "--start", "--ss"), "--from and --to"),
    **dict.fromkeys(("--line-thickness", "--thickness", "--radius"), "--line-width"),
    **dict.fromkeys(("--draw-bbox", "--show-boxes"), "--draw-boxes"),
    **dict.fromkeys(("--show-labels", "--show-conf", "--show-ids"), "--draw-labels"),
    **dict.fromkeys(("--view-img", "--show-realtime-results"), "--show"),
    **dict.fromkeys(("--save-json", "--save-predictions", "--pred-out-dir"), "--json"),
    **dict.fromkeys(("--save-txt",), "--csv, --json or --jsonl"),
    **dict.fromkeys(("--exist-ok", "--force", "--yes"), "--overwrite"),
    **dict.fromkeys(("--device",), "--backend, cuda for example"),
    **dict.fromkeys(("--half",), "--precision fp16"),
}
"""Of Ultralytics, mmpose, rtmlib, Sports2D and others: what does the same in predict and live."""


def name_here(command: str, option: str) -> str:
    """Return what an option of another tool is called in a command here; empty if nothing is."""
    option = option.partition("=")[0].replace("_", "-").lower()
    return _OF_OTHER_TOOLS.get(option, "") if command in ("predict", "live") else ""


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
