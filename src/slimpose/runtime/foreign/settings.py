"""What the user says about a model file that it does not say itself, kept in FILE.toml."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from slimpose import fields
from slimpose.arrays import Size
from slimpose.formats.files import read_toml, write_text
from slimpose.geometry import CanvasFit, CellAlignment
from slimpose.messages import quoted
from slimpose.runtime.cache import cache_folder

_Value = TypeVar("_Value")
Coordinates = Literal["pixels", "normalized"]
_CHOICES = {
    "alignment": get_args(CellAlignment),
    "fit": get_args(CanvasFit),
    "coordinates": get_args(Coordinates),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Settings of a model file; None leaves what its kind says.

    Attributes:
        kind: One of ``kinds.KINDS``.
        mean: Subtracted from the pixels 0..255, in RGB order.
        std: Divides them after that, in RGB order.
        bgr: Whether the network takes BGR instead of RGB.
        skeleton: Name of one of ``skeletons.SKELETONS``, or a JSON or TOML file; in FILE.toml
            relative to its folder.
        alignment: Where heatmap cells lie in the crop.
        fit: How an image fills the input of a detector or a one-stage model.
        coordinates: Whether boxes and points are in pixels of the input or normalized to 0..1.
        size: Input size of a file of free height and width.
        score_threshold: Minimum score of a box.
        nms_iou_threshold: Of two boxes that overlap more, the better one is kept.

    Raises:
        ValueError: If a value is not possible.
    """

    kind: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool | None = None
    skeleton: str | None = None
    alignment: CellAlignment | None = None
    fit: CanvasFit | None = None
    coordinates: Coordinates | None = None
    size: str | None = None
    score_threshold: float | None = None
    nms_iou_threshold: float | None = None

    def __post_init__(self) -> None:
        for name, low in (("mean", -1e4), ("std", 1e-6)):
            values = getattr(self, name)
            if values is not None:
                fields.numbers(list(values), name, count=3, expected="R, G, B")
                for value in values:
                    fields.number(value, name, low=low, high=1e4)
        for name in ("score_threshold", "nms_iou_threshold"):
            if getattr(self, name) is not None:
                fields.number(getattr(self, name), name, low=0, high=1)
        if self.size is not None:
            Size.parse(self.size)

    def value(self, name: str, default: _Value) -> _Value:
        """Return a setting, or the default if it is None."""
        own = getattr(self, name)
        return default if own is None else own

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


def read_settings(path: Path) -> ModelSettings:
    """Return the settings of a model file: those of FILE.toml; none by default.

    Raises:
        ValueError: If the settings are invalid; the message names their file.
    """
    for file in _files(path):
        if file.is_file():
            return _parse(read_toml(file, kind="model's settings"), file)
    return ModelSettings()


def _parse(document: dict[str, Any], file: Path) -> ModelSettings:
    entry = fields.table(document, str(file))
    known = {field.name for field in dataclasses.fields(ModelSettings)}
    if unknown := sorted(set(document) - known):
        raise ValueError(
            f"{file} has {quoted(unknown[0])}; expected some of {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = {}
    for name in document:
        if name in ("mean", "std"):
            numbers = entry.numbers(name, count=3, expected="R, G, B")
            values[name] = tuple(map(float, numbers))
        elif name == "bgr":
            values[name] = entry.flag(name)
        elif name.endswith("_threshold"):
            values[name] = fields.number(entry.get(name), entry.what(name), low=0, high=1)
        else:
            values[name] = entry.text(name)
            choices = _CHOICES.get(name)
            if choices and values[name] not in choices:
                raise fields.fail(entry.what(name), values[name], f"one of {', '.join(choices)}")
    if is_skeleton_file(values.get("skeleton")):
        values["skeleton"] = str(file.parent / values["skeleton"])
    try:
        return ModelSettings(**values)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def is_skeleton_file(skeleton: str | None) -> bool:
    """Return whether a skeleton is said by a file, not by its name."""
    return skeleton is not None and skeleton.endswith((".json", ".toml"))


def merged_settings(path: Path, settings: ModelSettings) -> ModelSettings:
    """Return the settings that a model file has already, replaced by those that are given."""
    return ModelSettings(**{**read_settings(path).given, **settings.given})


def write_settings(path: Path, settings: ModelSettings) -> Path:
    """Write settings to FILE.toml next to a model file; return that file.

    Where that folder cannot be written to, they go into the cache folder.
    """
    neighbor, cached = _files(path)
    file = neighbor if os.access(path.parent, os.W_OK) else cached
    if is_skeleton_file(settings.skeleton):  # found from any folder, and if both files are moved
        skeleton = Path(settings.skeleton or "").resolve()
        is_inside = skeleton.is_relative_to(file.parent.resolve())
        skeleton = skeleton.relative_to(file.parent.resolve()) if is_inside else skeleton
        settings = dataclasses.replace(settings, skeleton=str(skeleton))
    lines = [f"# How slimpose runs {path.name}: said on the command line."]
    lines += [f"{name} = {_toml(value)}" for name, value in settings.given.items()]
    write_text(file, "\n".join(lines) + "\n")
    return file


def _files(path: Path) -> tuple[Path, Path]:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return path.with_suffix(".toml"), cache_folder() / "settings" / f"{digest}.toml"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
