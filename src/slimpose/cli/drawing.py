"""Drawn outputs: the image of a result, and the folder of ``predict``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from slimpose.arrays import Image, Size
from slimpose.cli.counted import counted
from slimpose.cli.options import DrawingOptions, first_given
from slimpose.cli.output_paths import file_identities, unused_path
from slimpose.draw import Trails, draw_poses
from slimpose.hide import Hider
from slimpose.media.frame import Media, SoundSource
from slimpose.media.image_writer import write_image
from slimpose.media.video_writer import VideoWriter, has_h264
from slimpose.poses import NOT_TRACKED
from slimpose.runtime.frame_result import FrameResult
from slimpose.runtime.installation import install_extra

_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".jp2"})

WriteDrawn = Callable[[Image, float], None]
"""Writes a drawn image, given with its time in seconds."""


class DrawingFolder:
    """A folder for drawn images and videos, named like their inputs.

    In a folder of the inputs they are named NAME.pose.SUFFIX. Where a file of the name exists, a
    number is added.

    Args:
        folder: The folder.
        inputs: All inputs; they are never replaced.
        overwrite: Whether files that exist are replaced.
        subfolders: Of inputs whose drawings are in folders of the folder.
    """

    def __init__(
        self,
        folder: Path,
        inputs: Collection[Path],
        *,
        overwrite: bool = False,
        subfolders: Mapping[Path, Path] | None = None,
        with_sound: bool = True,
    ) -> None:
        self.folder = folder
        self._overwrite, self._subfolders = overwrite, subfolders or {}
        self._inputs = file_identities(inputs)
        self._kept = 0
        self._with_sound = with_sound
        self._has_videos = False
        parents = {parent for file in inputs for parent in (file.parent, file.resolve().parent)}
        self._holds_inputs = bool(file_identities(parents) & file_identities([folder]))
        self._used: set[str] = set()

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
                    sound=(
                        SoundSource(media.path, media.start_s + timestamp_s)
                        if self._with_sound
                        else None
                    ),
                )
                self._has_videos = True
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
        folder = self.folder / self._subfolders.get(media.path, "")
        folder.mkdir(parents=True, exist_ok=True)
        kept: list[Path] = []

        def is_replaceable(path: Path) -> bool:
            if path.is_dir():
                raise RuntimeError(f"cannot write {path}: it is a folder")
            if self._overwrite and not file_identities([path]) & self._inputs:
                return True
            kept.append(path)
            return False

        path = unused_path(
            folder, media.path.stem + mark, suffix, used=self._used, replaceable=is_replaceable
        )
        self._kept += bool(kept)
        return path

    def notes(self) -> list[str]:
        """Return lines about the codec of videos, if players lack it, and files that were kept."""
        notes = codec_notes() if self._has_videos else []
        if not self._kept:
            return notes
        return [
            *notes,
            f"NOTE: {counted(self._kept, 'drawing')} got a number added to the name, as a file of "
            f"that name exists in {self.folder} (--overwrite replaces such files)",
        ]


class PoseDrawing:
    """Draws results, and counts the people without a keypoint that scores enough.

    Args:
        options: How they are drawn.
        is_used: Whether anything will be drawn.
        keypoint_thresholds: Those of cameras that have one of their own, by the camera's number.

    Attributes:
        hider: Hides the people in the images before they are drawn on; None if none are hidden.

    Raises:
        ValueError: If an option is given where nothing is drawn.
    """

    def __init__(
        self,
        options: DrawingOptions,
        *,
        is_used: bool,
        keypoint_thresholds: Mapping[int, float] | None = None,
    ) -> None:
        if not (is_used or options.show) and options != DrawingOptions():
            raise ValueError(
                f"{first_given(options)} is about drawings; expected an output for them"
            )
        self._options = options
        self.hider = None if options.hide is None else Hider(options.hide)
        self._thresholds = keypoint_thresholds or {}
        self._trails: dict[tuple[int, str], Trails] = {}
        self._people = self._empty = self._tracked = 0
        self._best_score = 0.0

    def draw(self, result: FrameResult) -> Image:
        """Return the image with the poses on it, with boxes and ids where people are tracked."""
        poses, options = result.poses, self._options
        threshold = self._thresholds.get(result.camera, options.keypoint_threshold)
        best = poses.scores.max(axis=1, initial=0.0)
        self._people += len(poses)
        self._empty += int((best < threshold).sum())
        self._best_score = max(self._best_score, float(best.max(initial=0.0)))
        is_tracked = bool((poses.ids != NOT_TRACKED).any())
        self._tracked += is_tracked
        labels = options.draw_labels
        return draw_poses(
            self._background(result),
            poses,
            keypoint_threshold=threshold,
            line_width_px=options.line_width,
            boxes=is_tracked if options.draw_boxes is None else options.draw_boxes,
            ids=is_tracked if labels is None else labels,
            person_scores=bool(labels),
        )

    def _background(self, result: FrameResult) -> Image:
        """What the poses are drawn on: the image or black, with the trails."""
        image, options = result.image, self._options
        canvas = np.zeros_like(image) if options.black_background else image
        if options.trails is None:
            return canvas
        canvas = canvas.copy()
        trails = self._trails.setdefault((result.camera, result.stem), Trails(options.trails))
        trails.add(result.poses, result.timestamp_s)
        trails.draw(canvas, options.line_width or max(2.0, min(image.shape[:2]) / 240))
        return canvas

    def notes(self) -> list[str]:
        """Return lines about what was not drawn (most people's keypoints, trails) or hidden."""
        notes: list[str] = []
        if 2 * self._empty > self._people:
            notes.append(
                f"NOTE: {self._empty} of {self._people} people are drawn without a keypoint: "
                f"theirs score under {self._options.keypoint_threshold:g} (the best of all has "
                f"{self._best_score:.2f}; a model with little training?); a lower "
                "--keypoint-threshold draws them"
            )
        if self._options.trails is not None and not self._tracked:
            notes.append("NOTE: --trails drew nothing: no people were tracked")
        if self.hider is not None and self.hider.frames:
            notes.append(self.hider.summary())
        return notes


def codec_notes() -> list[str]:
    """Return a line for those who write videos without the extra ``video``."""
    if has_h264():
        return []
    return [
        "NOTE: the videos are MPEG-4 Part 2, which browsers do not play, without sound; "
        f"H.264 with sound: {install_extra('video')}"
    ]
