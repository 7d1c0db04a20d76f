"""Why a file that should be a video gives no picture, as far as its first bytes tell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

_SOUND = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"#!AMR")
_MOST_BYTES = 1 << 20


def is_text(head: bytes) -> bool:
    """FFmpeg would show a text file as the film of a terminal, and a playlist as the files that it names."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return (
            error.start > len(head) - 4 and b"\0" not in head
        )  # a character cut in two at the end
    return b"\0" not in head


def explain_unreadable(path: Path) -> str:
    """Return what is known of a file of which no picture could be read; empty if that is nothing."""
    with path.open("rb") as file:
        head = file.read(_MOST_BYTES)
        if head[4:8] == b"ftyp":
            return _of_tracks(_mp4_index(file), video=b"hdlr.{8}vide", sound=b"hdlr.{8}soun")
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # Matroska: codecs are named V_... and A_...
        return _of_tracks(head, video=rb"\x86[\x80-\xff]V_", sound=rb"\x86[\x80-\xff]A_")
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _of_tracks(head, video=b"strh.{4}vids", sound=b"strh.{4}auds")
    is_sound = head.startswith(_SOUND) or (head.startswith(b"RIFF") and head[8:12] == b"WAVE")
    is_sound = is_sound or (head.startswith(b"OggS") and b"theora" not in head[:4096])
    return "there is sound but no video track in it" if is_sound else ""


def _mp4_index(file: BinaryIO) -> bytes:
    """The moov box; empty if there is none, as in a recording that was cut off."""
    place = 0
    while True:
        file.seek(place)
        header = file.read(16)
        if len(header) < 8:
            return b""
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if name == b"moov":
            file.seek(place)
            return file.read(min(length, 16 * _MOST_BYTES))
        if length < 8:
            return b""
        place += length


def _of_tracks(index: bytes, *, video: bytes, sound: bytes) -> str:
    if not index:
        return ""
    if re.search(video, index, re.DOTALL):
        return "its video track holds no picture that can be read (a recording that stopped before its first one?)"
    if re.search(sound, index, re.DOTALL):
        return "there is sound but no video track in it"
    return "there is no video track in it (a recording that stopped before its first picture?)"
