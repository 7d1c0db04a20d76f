"""Opening image files as ``Media``: single images, pages, animations and raw Motion JPEG."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np

from slimpose.arrays import Image, Size
from slimpose.interpreter_end import each_finished_at_exit
from slimpose.media.avif import avif_orientation
from slimpose.media.decoder_messages import with_messages
from slimpose.media.frame import ALL_FRAMES, Frame, FrameRange, Media
from slimpose.media.image_formats import (
    Buffer,
    ImageStructure,
    read_structure,
    split_images,
)
from slimpose.media.images import (
    ImageError,
    check_pixels,
    decode_single,
    to_8_bit,
    to_rgb,
    turned,
)
from slimpose.media.video_reader import (
    DEFAULT_FPS,
    DamagedFrameError,
    check_second_video,
    open_video,
)

_MAX_READ_BYTES = 64_000_000
"""A larger file is mapped into memory: raw Motion JPEG may be larger than the memory."""
_CHUNK_PIXELS = 64_000_000
"""Pixels of an animation that are decoded at once: each chunk starts again at the first image."""
_DEFAULT_DURATION_MS = 100.0
"""Of an image of an animation that states none, as in browsers."""

_Item = tuple[Callable[[], Image], float]
"""A function that decodes an image, and the time of the image in seconds."""


def open_image(path: Path, frames: FrameRange = ALL_FRAMES) -> Media:
    """Open a file that is an image by its first bytes or its suffix.

    The pages of a TIFF or of an MPO (JPEGs) are images, each on its own. Animated WebP and
    AVIF and raw Motion JPEG are videos, as are animated GIF and PNG, which FFmpeg reads, but for
    GIFs without delays: of those it drops all images but the first. ``frames`` are read of them.

    Raises:
        ImageError: If none of its images can be decoded.
        SourceError: If it is an animation that FFmpeg cannot read.
    """
    data = _contents(path)
    structure = read_structure(data)
    is_readable = structure.format != "gif" or hasattr(cv2, "imreadanimation")
    is_animation = structure.kind == "animation" and structure.has_delays
    if structure.format in ("gif", "png") and (is_animation or not is_readable):
        return open_video(
            path, data[:4096], reason="no image of the animation can be decoded", frames=frames
        )
    if structure.kind == "animation":
        return _open_animation(path, data[:], structure, frames)
    if structure.kind != "single" and structure.format != "tiff":
        items = (
            (partial(_decode_part, part, name=str(path)), index / DEFAULT_FPS)
            for index, part in enumerate(split_images(data, structure.format))
        )
    else:
        whole = data[:]
        items = (
            (partial(decode_single, whole, structure, name=str(path), page=page), 0.0)
            for page in range(max(1, len(structure.pages)))
        )
    number = 0 if structure.format != "tiff" else len(structure.pages)
    return _media(path, items, frame_count=number, kind=structure.kind, selected=frames)


def _contents(path: Path) -> Buffer:
    try:
        if path.stat().st_size <= _MAX_READ_BYTES:
            return path.read_bytes()
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read: {reason}") from error


def _decode_part(data: bytes, *, name: str) -> Image:
    return decode_single(data, read_structure(data), name=name)


def _media(
    path: Path,
    items: Iterator[_Item],
    *,
    frame_count: int,
    kind: str,
    selected: FrameRange,
    fps: float = DEFAULT_FPS,
) -> Media:
    is_video = kind in ("animation", "motion jpeg")
    selected = selected if is_video else ALL_FRAMES
    frames = _decode_all(path, items, is_video=is_video, selected=selected)
    first = next(frames)
    return Media(
        path=path,
        is_video=is_video,
        frame_count=1 if kind == "single" else selected.count(frame_count, fps),
        fps=fps / selected.every,
        frames=each_finished_at_exit(chain([first], frames)),
    )


def _decode_all(
    path: Path, items: Iterator[_Item], *, is_video: bool, selected: FrameRange
) -> Iterator[Frame]:
    """Yield the images that can be decoded, then raise an error if there were others."""
    failures: list[tuple[int, ImageError]] = []
    index, good, time_s, word = -1, 0, 0.0, "frame" if is_video else "page"
    for index, (decode, time_s) in enumerate(items):
        if time_s >= selected.end_s:
            break
        if not selected.has(index=index, timestamp_s=time_s):
            continue
        try:
            image = decode()
        except ImageError as error:
            failures.append((index, error))
            continue
        good += 1
        yield Frame(image=image, timestamp_s=time_s if is_video else 0.0, index=index)
    if failures and not good:
        raise failures[0][1]
    if failures:
        number, error = failures[0]
        reason = str(error).removeprefix(f"{path}: ")
        raise DamagedFrameError(
            f"{path}: {len(failures)} of {index + 1} {word}s could not be decoded "
            f"(the first is {word} {number}: {reason}); the rest is kept"
        )
    selected.check_any(good, path, time_s)
    if is_video and time_s < selected.end_s:
        check_second_video(path, index + 1)


def _open_animation(
    path: Path, data: bytes, structure: ImageStructure, selected: FrameRange
) -> Media:
    """Open an animated WebP or AVIF; one with a single image is an image."""
    if not hasattr(cv2, "imdecodeanimation"):
        raise ImageError(
            f"{path}: an animation, of which OpenCV {cv2.__version__} cannot read all images "
            "(pip install --upgrade opencv-python-headless)"
        )
    orientation = avif_orientation(data) if structure.format == "avif" else None
    (first, duration_ms), *others = _animation_part(path, data, 0, 2)
    # A GIF's image without a delay, usually the first one, lasts a second in OpenCV.
    duration_ms = duration_ms if structure.has_delays else _DEFAULT_DURATION_MS
    if not others:
        items = iter([(lambda: first if orientation is None else turned(first, *orientation), 0.0)])
        return _media(path, items, frame_count=1, kind="single", selected=selected)
    check_pixels(Size(*first.shape[:2]), str(path))
    at_once = max(2, _CHUNK_PIXELS // (first.shape[0] * first.shape[1]))

    def all_items() -> Iterator[_Item]:
        time_ms = 0.0
        for start in count(0, at_once):
            part = _animation_part(path, data, start, at_once)
            for number, (image, length_ms) in enumerate(part, start=start):
                upright = image if orientation is None else turned(image, *orientation)
                yield partial(np.ascontiguousarray, upright), time_ms / 1e3
                time_ms += length_ms if number else duration_ms
            if len(part) < at_once:
                return

    fps = 1e3 / duration_ms
    return _media(
        path,
        all_items(),
        frame_count=structure.count,
        kind="animation",
        fps=fps,
        selected=selected,
    )


def _animation_part(path: Path, data: bytes, start: int, length: int) -> list[tuple[Image, float]]:
    """Decode images of an animation, each with its duration in milliseconds; none after its end."""
    buffer = np.frombuffer(data, np.uint8)
    try:
        (is_read, animation), _ = with_messages(
            lambda: cv2.imdecodeanimation(buffer, start=start, count=length)
        )
    except cv2.error as error:
        raise ImageError(f"{path}: not an image OpenCV can decode: {error.err or error}") from error
    if not is_read and start == 0:
        raise ImageError(
            f"{path}: no image of the animation can be decoded (damaged or truncated?)"
        )
    if not is_read:
        return []
    return [
        (to_rgb(to_8_bit(pixels, name=str(path))), float(duration) or _DEFAULT_DURATION_MS)
        for pixels, duration in zip(animation.frames, animation.durations, strict=False)
    ]
