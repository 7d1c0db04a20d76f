"""Drawn outputs: the image of a result, and the folder of ``predict``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2

from slimpose.arrays import Image, Size
from slimpose.cli.output_paths import file_identities
from slimpose.draw import DRAWN_JOINT_SCORE, draw_poses
from slimpose.formats.files import fitting_name, write_bytes
from slimpose.media.addresses import plain_reason
from slimpose.media.frame import Media
from slimpose.media.video_writer import VideoWriter
from slimpose.poses import NOT_TRACKED
from slimpose.runtime.frame_result import FrameResult

JPEG_QUALITY = 92
_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".jp2"})

WriteDrawn = Callable[[Image, float], None]
"""Writes a drawn image, given with its time in seconds."""


class DrawingFolder:
    """A folder for drawn images and videos, named like their inputs; earlier drawings are replaced.

    In a folder of the inputs they are named NAME.pose.SUFFIX. There, and where a number is added
    because two inputs have one name, no file is replaced: it may be an image of the user's.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self.folder = folder
        parents = {parent for file in inputs for parent in (file.parent, file.resolve().parent)}
        self._holds_inputs = bool(file_identities(parents) & file_identities([folder]))
        self._used_names: set[str] = set()

    @contextmanager
    def writer(self, media: Media) -> Iterator[WriteDrawn]:
        """Provide the function that writes the drawn frames of one input.

        A video gets its final name at the end. An error removes it; an interruption leaves it under
        its partial name, as a kill would.

        Raises:
            RuntimeError: If it cannot be written.
        """
        if not media.is_video:
            pages = count(1)
            has_pages = media.frame_count != 1
            yield lambda image, _: write_image(
                self._unused_path(media, page=next(pages) if has_pages else None), image
            )
            return
        path = self._unused_path(media)
        video: VideoWriter | None = None

        def write(image: Image, timestamp_s: float) -> None:
            nonlocal video
            if video is None:
                video = VideoWriter(
                    path,
                    Size(*image.shape[:2]),
                    fps=media.fps,
                    pixel_aspect=media.pixel_aspect,
                    sound_of=media if self._with_sound else None,
                )
                self.has_videos = True
            video.write(image, timestamp_s)

        try:
            yield write
            if video is not None:
                video.finish()
        except Exception:
            if video is not None:
                video.discard()
            raise
        finally:
            if video is not None:
                video.close()

    def _unused_path(self, media: Media, *, page: int | None = None) -> Path:
        suffix = ".jpg" if media.path.suffix.lower() in _LOSSY_SUFFIXES else ".png"
        suffix = ".mp4" if media.is_video else suffix
        mark = ".pose" if self._holds_inputs else ""
        mark += f".page-{page}" if page is not None else ""
        for number in count(1):
            ending = f"{mark}{f'-{number}' if number > 1 else ''}{suffix}"
            path = self.folder / fitting_name(media.path.stem, ending)
            must_keep = (number > 1 or self._holds_inputs) and os.path.lexists(path)
            if path.name.lower() not in self._used_names and not must_keep:
                self._used_names.add(path.name.lower())
                if path.is_dir():
                    raise RuntimeError(f"cannot write {path}: it is a folder")
                return path
        raise AssertionError("count ended")


class PoseDrawing:
    """Draws results, and counts the people without a keypoint that scores enough.

    Args:
        joint_threshold: Keypoints that score less are not drawn.
        is_used: Whether anything will be drawn.

    Raises:
        ValueError: If the threshold is out of range, or given where nothing is drawn.
    """

    def __init__(self, joint_threshold: float, *, is_used: bool) -> None:
        if not is_used and joint_threshold != DRAWN_JOINT_SCORE:
            raise ValueError("--joint-threshold is about drawings; expected an output for them")
        if not 0 <= joint_threshold <= 1:
            raise ValueError(f"--joint-threshold is {joint_threshold:g}; expected a number 0..1")
        self._joint_threshold = joint_threshold
        self._people = self._empty = 0
        self._best_score = 0.0

    def draw(self, result: FrameResult) -> Image:
        """Return the image with the poses on it, with boxes and ids where people are tracked."""
        poses = result.poses
        best = poses.scores.max(axis=1, initial=0.0)
        self._people += len(poses)
        self._empty += int((best < self._joint_threshold).sum())
        self._best_score = max(self._best_score, float(best.max(initial=0.0)))
        is_tracked = bool((poses.ids != NOT_TRACKED).any())
        return draw_poses(
            result.image,
            poses,
            joint_threshold=self._joint_threshold,
            boxes=is_tracked,
            ids=is_tracked,
        )

    def notes(self) -> list[str]:
        """Return a line about empty drawings, if most people have no keypoint to draw."""
        if 2 * self._empty <= self._people:
            return []
        return [
            f"NOTE: {self._empty} of {self._people} people are drawn without a keypoint: theirs "
            f"score under {self._joint_threshold:g} (the best of all has {self._best_score:.2f}; a "
            "model with little training?); a lower --joint-threshold draws them"
        ]


def write_image(path: Path, image: Image) -> None:
    """Write an image file completely or not at all.

    Raises:
        RuntimeError: If it cannot be written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    try:
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not encoded:
            raise RuntimeError(f"cannot write {path}: OpenCV did not encode it")
        write_bytes(path, data.tobytes())
    except ValueError as error:  # it names the path
        raise RuntimeError(str(error)) from error
    except (OSError, cv2.error) as error:
        raise RuntimeError(f"cannot write {path}: {plain_reason(error)}") from error
