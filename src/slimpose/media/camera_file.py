"""``cameras.toml``: the cameras of a run by name, with what differs for each from the options.

    [cameras.door]
    address = "rtsp://${DOOR_USER}:${DOOR_PASSWORD}@10.0.0.5/stream1"
    conf = 0.4
    max_people = 5

    [cameras.yard]
    address = 0

``${NAME}`` in an address is the environment variable of this name, so that no password is in the
file. A user or password in such a variable is written as it is, without %40 for @ and the like.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slimpose import fields
from slimpose.areas import Area, read_areas
from slimpose.fields import Fields
from slimpose.formats.files import read_toml
from slimpose.media.addresses import Address, SourceError, is_url, parse_value
from slimpose.messages import quoted

_NAME = re.compile(r"\w[\w .-]{0,62}\w|\w")
"""Names are parts of file names and topics."""
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """A camera of the file; None is what the command's option says.

    Attributes:
        address: Its address; the name is that in the file.
        conf: Minimum score 0..1 of a person box.
        keypoint_threshold: Minimum score 0..1 of the keypoints that are drawn.
        max_people: At most this many people per frame, the largest.
        every: Process every N-th frame only.
        areas: Its zones and lines, for events.
        postures: Whether there are events of postures.
    """

    address: Address
    conf: float | None = None
    keypoint_threshold: float | None = None
    max_people: int | None = None
    every: int | None = None
    areas: tuple[Area, ...] = ()
    postures: bool = False


def read_cameras(path: Path) -> list[CameraSettings]:
    """Read a file of cameras, in the order of the file.

    Paths of video files in it are relative to its folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not TOML, or a camera has an unknown setting or an invalid value; what
            environment variables hold is not shown.
    """
    document = read_toml(path, kind="camera file")
    _check_names(document, str(path), ["cameras", "mqtt", "webhooks"])
    cameras = fields.table(document.get("cameras"), f"{path}: cameras", "tables [cameras.NAME]")
    if not cameras.values:
        raise ValueError(f"{path} has no camera; expected tables [cameras.NAME]")
    names: dict[str, str] = {}
    for name in cameras.values:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{path}: a camera is named {quoted(name)}; expected at most 64 letters, digits, "
                "spaces and .-_ between them"
            )
        if (other := names.setdefault(name.lower(), name)) != name:
            raise ValueError(
                f"{path}: cameras {quoted(other)} and {quoted(name)}; expected names that differ "
                "by more than case (they are names of files)"
            )
    return [
        _read_camera(name, fields.table(table, f"{path}: camera {name}"), path.parent)
        for name, table in cameras.values.items()
    ]


def _read_camera(name: str, table: Fields, folder: Path) -> CameraSettings:
    known = [field.name for field in dataclasses.fields(CameraSettings) if field.name != "areas"]
    known += ["zones", "lines"]
    _check_names(table.values, table.where, known)
    return CameraSettings(
        address=_read_address(name, table, folder),
        conf=table.number("conf", low=0, high=1) if table.has("conf") else None,
        keypoint_threshold=(
            table.number("keypoint_threshold", low=0, high=1)
            if table.has("keypoint_threshold")
            else None
        ),
        max_people=table.integer("max_people", low=1) if table.has("max_people") else None,
        every=table.integer("every", low=1) if table.has("every") else None,
        areas=read_areas(table),
        postures=table.flag("postures") if table.has("postures") else False,
    )


def _read_address(name: str, table: Fields, folder: Path) -> Address:
    value, place = table.get("address"), table.what("address")
    text = with_variables(str(value) if type(value) is int else fields.text(value, place), place)
    if not is_url(text) and (folder / text).exists():
        text = str(folder / text)
    return dataclasses.replace(parse_value(text, place), name=name, stem=name)


def with_variables(text: str, place: str) -> str:
    """Return a text with each ``${NAME}`` replaced by the environment variable of this name.

    Raises:
        SourceError: If there is no such variable; the message begins with the place.
    """

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], "").strip()
        if not found:
            raise SourceError(
                f"{place}: there is no environment variable {quoted(match[1])}, or it is empty"
            )
        # In a login it is written as an address needs it; a whole address is one already.
        is_in_login = is_url(text) and "@" in text[match.end() :]
        return quote(found, safe="") if is_in_login else found

    if "${" in _VARIABLE.sub("", text):
        raise SourceError(f"{place} has a ${{ without a name and }}; expected ${{NAME}}")
    return _VARIABLE.sub(variable, text).strip()


def _check_names(values: Mapping[str, Any], where: str, known: list[str]) -> None:
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"{where} has the unknown setting {quoted(unknown[0])}; expected {', '.join(known)}"
        )
