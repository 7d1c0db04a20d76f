"""What a program for rtmlib says about its model files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from slimpose.media.addresses import is_url, redacted
from slimpose.runtime.foreign.graph import Recognized, remember
from slimpose.runtime.foreign.settings import ModelSettings, read_settings
from slimpose.runtime.onnx_file import file_metadata, open_onnx_file

InputSize = tuple[int, int]
"""Width and height of a model's input, in this order; None for the file's own."""
_DEFAULT_SIZE = (640, 640)
"""rtmlib's for models of whole images."""


def check_file(path: str) -> str:
    """Return the path of a file, unless it has to be downloaded or unpacked first.

    Raises:
        ValueError: If it has.
    """
    if is_url(str(path)):
        raise ValueError(
            f"{redacted(str(path))}: slimpose downloads no models; expected the path of an ONNX "
            "file (download it first, and unpack it if it is a .zip)"
        )
    if str(path).lower().endswith(".zip"):
        raise ValueError(f"{path} is an archive; expected the ONNX file in it (end2end.onnx?)")
    return path


def say_kind(path: str | None, kinds: Sequence[str], size: InputSize | None) -> None:
    """Remember which of the kinds a file is, and its input size, if it does not say itself."""
    if path is None or Path(check_file(path)).suffix.lower() != ".onnx":
        return
    file = Path(path)
    session = open_onnx_file(file, optimize=False)
    if "slimpose" in file_metadata(session) or read_settings(file).kind is not None:
        return
    with suppress(ValueError):
        if Recognized(file, session).kind in kinds:
            return
    width, height = size or _DEFAULT_SIZE
    for kind in kinds:
        for free_size in (None, f"{height}x{width}"):
            with suppress(ValueError):
                remember(file, ModelSettings(kind=kind, size=free_size))
                return
