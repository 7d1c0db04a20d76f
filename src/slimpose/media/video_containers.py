"""What the bytes of a video file say about it: whether it is one, and what is wrong with it."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

NO_VIDEO_TRACK = "there is sound but no video track in it"

_MAX_HEADER_BYTES = 1 << 20
_MAX_INDEX_BYTES = 1 << 26
_VIDEO_START = re.compile(
    rb"....(ftyp(?!hei|hev|mif|msf|avi|M4A|M4B)|moov|mdat|wide|free|skip)"
    rb"|\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|OggS|\.RMF|DKIF|YUV4MPEG2 |nut/multimedia"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\xb7\xd8\x00\x20"  # ASF, WTV
    rb"|\0\0\x01[\xb0\xb3\xba]|\0?\0\0\x01[\x67\x27\x40\x42]"  # MPEG; H.264 and H.265
    rb"|\x06\x0e\x2b\x34\x02\x05\x01|\x1f\x07\0"  # MXF, DV
    rb"|(\x47.{187}){3}|(.{4}\x47.{187}){3}",  # transport streams, also of Blu-ray
    re.DOTALL,
)
_SOUND_START = re.compile(
    rb"ID3|fLaC|\xff[\xe2-\xe7\xf1-\xfd]|#!AMR|RIFF....WAVE|RF64|FORM....AIF|MAC |wvpk|MPCK|MP\+"
    rb"|TTA1|DSD |caff|\x0b\x77|\x7f\xfe\x80\x01|\.snd|MThd",
    re.DOTALL,
)
_MP4_STARTS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_STARTS_OF_ONE = tuple(
    re.compile(start, re.DOTALL)
    for start in (
        rb"FLV\x01[\x01\x05]\0\0\0\x09\0{4}",
        rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c",  # Windows Media
        rb"DKIF\0\0\x20\0",
        rb"\.RMF\0\0\0[\x12\x10]",
        rb"nut/multimedia container\0",
        rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        rb"RIFF.{4}WEBPVP8",
    )
)
"""Files of which decoders ignore what follows the first; of other kinds they read on."""
_MATROSKA_CLUSTER = b"\x1f\x43\xb6\x75"
_ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
_ASF_SOUND = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")


def is_video_start(head: bytes) -> bool:
    """Return whether a file that begins like this is a video or a container of one."""
    return _VIDEO_START.match(head) is not None


def is_text(head: bytes) -> bool:
    """Whether a file's first bytes are text: FFmpeg renders text as video, and opens playlists."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # a character may be cut off at the end
        return error.start > len(head) - 4 and b"\0" not in head
    return b"\0" not in head


def track_problem(path: Path) -> str:
    """Return what is wrong with the tracks of a file by its header; empty if nothing or unknown.

    FFmpeg returns the cover image of a song as a video of one frame.
    """
    head, index, video, sound = _header(path)
    if video:
        return _missing_track(index, video=video, sound=sound)
    is_sound = _SOUND_START.match(head) is not None
    is_sound |= head.startswith(b"OggS") and not re.search(b"theora|BBCD|\x01video", head[:65536])
    return NO_VIDEO_TRACK if is_sound else ""


def empty_track_problem(path: Path) -> str:
    """Return why a file without a track problem holds no frame, by its header; empty if unknown."""
    with path.open("rb") as file:
        head = file.read(16)
        has_index = bool(_mp4_index(file)) if head[4:8] == b"ftyp" else True
    known = head[4:8] == b"ftyp" or head.startswith((b"\x1a\x45\xdf\xa3", b"RIFF"))
    if not known or not has_index:
        return ""
    return (
        "its video track holds no readable frame (a recording that stopped before its first one?)"
    )


def may_be_cut_off(path: Path) -> bool:
    """Return whether fewer frames than counted mean that the file's end is missing.

    Matroska, transport streams and DV state no number of frames: it follows from their duration,
    which may be that of longer sound.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if re.match(rb"\x1f\x07\0|\0\0\x01\xba|(\x47.{187}){3}|(.{4}\x47.{187}){3}", head, re.DOTALL):
        return False
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return True
    length, position = _ebml_size(head, 4)
    position += length
    if head[position : position + 4] != b"\x18\x53\x80\x67":  # the segment, which holds the rest
        return True
    length, position = _ebml_size(head, position + 4)
    return position + length > path.stat().st_size


def _ebml_size(data: bytes, position: int) -> tuple[int, int]:
    """The length of an element of Matroska, and where its body starts."""
    first = data[position] if position < len(data) else 0x80
    count = 9 - first.bit_length()
    value = int.from_bytes(data[position : position + count], "big") & ((1 << 7 * count) - 1)
    return value, position + count


def shown_share(path: Path) -> float:
    """Return the share of an MP4's video track that its edit list shows; 1 if unknown.

    Players and FFmpeg skip the rest of a video that was trimmed without encoding it again.
    """
    with path.open("rb") as file:
        index = _mp4_index(file) if file.read(8)[4:] in (b"ftyp", b"moov") else b""
    movie = _mp4_durations(index, b"mvhd")
    tracks = index.split(b"trak")[1:]
    track = next((it for it in tracks if re.search(b"hdlr.{8}vide", it, re.DOTALL)), b"")
    media = _mp4_durations(track, b"mdhd")
    found = re.search(rb"tkhd(?:\0.{19}(.{4})|\x01.{27}(.{8}))", track, re.DOTALL)
    if movie is None or media is None or found is None or b"elst" not in track:
        return 1.0
    shown_s = int.from_bytes(found[1] or found[2], "big") / movie[0]
    return min(1.0, shown_s * media[0] / media[1]) if shown_s and media[1] else 1.0


def _mp4_durations(boxes: bytes, name: bytes) -> tuple[int, int] | None:
    """The units per second and the duration in them of a header of an MP4; None if missing."""
    found = re.search(name + rb"(?:\0.{11}(.{4})(.{4})|\x01.{19}(.{4})(.{8}))", boxes, re.DOTALL)
    if found is None:
        return None
    scale_hz, duration = (int.from_bytes(it, "big") for it in found.groups() if it is not None)
    return (scale_hz, duration) if scale_hz else None


def video_track_count(path: Path) -> int:
    """Return how many video tracks a file has by its header; 1 if unknown.

    Dashboard cameras write front and rear into one file, of which FFmpeg decodes one.
    """
    _, index, video, _ = _header(path)
    return max(1, len(re.findall(video, index, re.DOTALL)) if video else 1)


def _header(path: Path) -> tuple[bytes, bytes, bytes, bytes]:
    """The first bytes, the list of tracks, and the patterns of a video and a sound track in it.

    The patterns are empty for formats without such a list.
    """
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
        if head[4:8] in (b"ftyp", b"moov"):
            return head, _mp4_index(file), b"hdlr.{8}vide", b"hdlr.{8}soun"
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # Matroska: codecs are named V_... and A_...
        tracks = head.partition(_MATROSKA_CLUSTER)[0]
        return head, tracks, rb"\x86[\x80-\xff]V_", rb"\x86[\x80-\xff]A_"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        tracks = head.partition(b"movi")[0]  # the frames follow, and perhaps another file
        return head, tracks, b"strh.{4}vids", b"strh.{4}auds"
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return head, head, re.escape(_ASF_VIDEO), re.escape(_ASF_SOUND)
    return head, b"", b"", b""


def has_second_video(path: Path) -> bool:
    """Return whether another file of the same kind follows the first one, which is ignored."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[4:8] in _MP4_STARTS:
            return sum(name == b"moov" for name, _, _ in _mp4_boxes(file)) > 1
        start = next((one for one in _STARTS_OF_ONE if one.match(head)), None)
        if start is None:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return start.search(data, len(head)) is not None


def _mp4_index(file: BinaryIO) -> bytes:
    """The moov box; empty if there is none, as in a recording that was cut off."""
    for name, position, length in _mp4_boxes(file):
        if name == b"moov":
            file.seek(position)
            return file.read(length) if length <= _MAX_INDEX_BYTES else b""
    return b""


def _mp4_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position and length of each box of an MP4."""
    position, end = 0, file.seek(0, os.SEEK_END)
    while position < end:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        yield name, position, length
        if length < 8:
            return
        position += length


def _missing_track(index: bytes, *, video: bytes, sound: bytes) -> str:
    """What is missing in a container's index; empty without an index."""
    if not index or re.search(video, index, re.DOTALL):
        return ""
    if re.search(sound, index, re.DOTALL):
        return NO_VIDEO_TRACK
    return "there is no video track in it (a recording that stopped before its first frame?)"
