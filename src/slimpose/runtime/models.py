"""The models that ship with the package."""

from __future__ import annotations

import warnings
from pathlib import Path

from slimpose.formats.files import check_utf8
from slimpose.messages import DataWarning, quoted
from slimpose.skeleton import Skeleton
from slimpose.skeleton_parts import is_person

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_POSE = "hr"
DEFAULT_DETECTOR = "detector"


def shipped() -> dict[str, Path]:
    """Return the files of the shipped models by name."""
    return {file.stem: file for file in sorted(WEIGHTS.glob("*.onnx"), key=lambda file: file.stem)}


def check_detector_of(skeleton: Skeleton, detector: str | Path) -> None:
    """Issue a DataWarning if a shipped detector is to find other objects than people."""
    if str(detector) in shipped() and not is_person(skeleton):
        warnings.warn(
            f"the shipped detector finds people only, and the keypoints of "
            f"{quoted(skeleton.name)} are not a person's; expected boxes (--boxes), or an own "
            "detector (--detector; slimpose train own-detector makes it from the same labels)",
            DataWarning,
            stacklevel=3,
        )


def shipped_weights() -> dict[str, Path]:
    """Return the weights to start training from by name: of the shipped models, and in a checkout.

    In an installed package they are next to the models, in a checkout in ``models/NAME``.
    """
    installed = {file.stem: file for file in WEIGHTS.glob("*.safetensors")}
    checkout = WEIGHTS.parents[2] / "models"
    return installed | {
        file.parent.name: file for file in sorted(checkout.glob("*/weights.safetensors"))
    }


def resolve(name_or_path: str | Path) -> Path:
    """Return the file of a shipped model, or a path as it is.

    >>> resolve("mnv2").name
    'mnv2.onnx'

    Raises:
        ValueError: If it is neither a shipped name nor a path.
        FileNotFoundError: If there is no such file.
    """
    known = shipped()
    if isinstance(name_or_path, str) and name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        check_utf8(path)
        return path
    names = (
        f"one of {', '.join(known)}"
        if known
        else "a name (but this package was built without weights)"
    )
    if isinstance(name_or_path, str) and not path.suffix and len(path.parts) == 1:
        raise ValueError(f"no model is named {name_or_path!r}; expected {names}, or a model file")
    raise FileNotFoundError(f"no model file {path}; expected {names}, or a file of slimpose export")
