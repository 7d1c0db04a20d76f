"""What kind of model a file is, and of which skeleton."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from slimpose.messages import printable, quoted
from slimpose.runtime.foreign import trial
from slimpose.runtime.foreign.kinds import KINDS
from slimpose.runtime.foreign.settings import ModelSettings
from slimpose.runtime.foreign.signature import Signature, settings_name
from slimpose.runtime.foreign.skeletons import skeleton_named, skeleton_of
from slimpose.skeleton import Skeleton

_log = logging.getLogger(__name__)
_FINDINGS: dict[trial.Found, str] = {
    "elsewhere": "are not where the person of a sample photo is",
    "no person": "do not include the person of a sample photo",
}


def kind_of(signature: Signature, named: str | None) -> tuple[str, int]:
    """Return the name of the kind that fits a file, and its number of joints."""
    path, settings = signature.path, settings_name(signature.path)
    if named is not None:
        if named not in KINDS:
            raise ValueError(
                f"{path}: no model kind is named {quoted(named)}, as --model-kind or {settings} "
                f"says; expected {', '.join(KINDS)}"
            )
        joints = KINDS[named].match(signature)
        if joints is None:
            raise ValueError(
                f"{path} {signature}; expected the outputs of {named}, as --model-kind or "
                f"{settings} says: {KINDS[named].outputs}"
            )
        return named, joints
    found = {
        name: joints
        for name, kind in KINDS.items()
        if (joints := kind.guess(signature)) is not None
    }
    if not found:
        raise ValueError(
            f"{path} is not a slimpose model, and {signature}: the outputs of no model kind known "
            f"here (docs/models.md lists them); if it is one of {', '.join(KINDS)}, say "
            "--model-kind KIND (or export it with its decoding left as its authors do)"
        )
    if len(found) > 1:
        choices = "; ".join(f"{name} for {KINDS[name].about}" for name in found)
        is_detector = all(KINDS[name].task == "detect" for name in found)
        option = f"--model-kind{' (of the --detector: --detector-kind)' if is_detector else ''}"
        raise ValueError(
            f"{path} could be of {len(found)} kinds; expected {option}, or kind = "
            f'"{next(iter(found))}" in {settings} next to it: {choices}'
        )
    return next(iter(found.items()))


def skeleton_for(signature: Signature, joints: int, settings: ModelSettings) -> Skeleton:
    """Return the skeleton of a file of this number of joints."""
    if settings.skeleton is not None:
        try:
            skeleton = skeleton_named(settings.skeleton)
        except (ValueError, FileNotFoundError) as error:
            said = f"as --skeleton or {settings_name(signature.path)} says"
            raise ValueError(f"{signature.path}: {error} ({said})") from error
        if len(skeleton.joints) != joints:
            raise ValueError(
                f"{signature.path} gives {joints} joints; skeleton {settings.skeleton} has "
                f"{len(skeleton.joints)}: expected the skeleton it was trained with (--skeleton)"
            )
        return skeleton
    skeleton = skeleton_of(joints)
    if skeleton is None:
        raise ValueError(
            f"{signature.path} gives {joints} joints, and no skeleton known here has as many; "
            f"expected --skeleton FILE.json with their names (or is it of another kind than "
            "it looks?)"
        )
    return skeleton


def check_one_class(signature: Signature) -> None:
    """Raise ValueError if a detector has several classes, and none is a person's."""
    names = signature.export.classes
    if len(names) > 1:
        raise ValueError(
            f"{signature.path} detects {quoted(', '.join(names[:5]))}"
            f"{', ...' if len(names) > 5 else ''}, of which none is a person; expected a detector "
            "with a class person, or with one class"
        )


def report_trial(path: Path, kind: str, found: trial.Found) -> None:
    """Log a warning if a trial on a sample photo does not confirm a file's kind.

    Raises:
        ValueError: If it shows that the file is of another kind.
    """
    if found == "invalid scores":
        raise ValueError(
            f"{path} looks like {kind}, but the scores that it then gives of a sample photo are "
            f"not 0..1; expected --model-kind KIND (of a --detector: --detector-kind), or a file "
            "of one of the kinds in docs/models.md"
        )
    if found in _FINDINGS:
        is_pose = KINDS[kind].task == "pose"
        _log.warning(
            "%s is taken for %s by the shapes of its outputs, but its %s %s; expected another "
            "kind, mean, std or bgr%s (in %s, or by options; kind = %s there confirms it)",
            printable(str(path)),
            kind,
            "points" if is_pose else "boxes",
            _FINDINGS[found],
            ', or coordinates = "normalized" or "pixels"' if KINDS[kind].in_pixels else "",
            printable(settings_name(path)),
            json.dumps(kind),
        )
