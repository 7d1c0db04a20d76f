"""The films that ``live`` draws: one a camera, and all side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slimpose.arrays import Image, Size
from slimpose.draw import Tile, draw_poses, mosaic
from slimpose.media.live_capture import clock_s
from slimpose.media.stream import StreamStatus
from slimpose.media.video_writer import VideoWriter
from slimpose.runtime.multi_camera import Seen

TILE = Size(360, 640)
_MOSAIC_FPS = 25.0
_CAMERA_FPS = 25.0


def camera_video_path(folder: Path, camera: int) -> Path:
    """Return the file of a camera's film."""
    return folder / f"camera-{camera}.mp4"


class VideoOutputs:
    """Any of them at once; with neither a folder nor a mosaic's file, nothing.

    Args:
        folder: For a film of each camera.
        mosaic_file: For all cameras side by side.
        names: The cameras' names.
        is_clocked: Whether the mosaic's time is the clock's; else that of the films that are
            watched.
        ids: Whether people have numbers to draw.
    """

    def __init__(
        self,
        folder: Path | None,
        mosaic_file: Path | None,
        *,
        names: Sequence[str],
        is_clocked: bool,
        ids: bool,
    ) -> None:
        self._folder, self._mosaic_file, self._names = folder, mosaic_file, names
        self._is_clocked, self._ids = is_clocked, ids
        self._cameras: dict[int, VideoWriter] = {}
        self._mosaic: VideoWriter | None = None
        self._mosaic_s = float("-inf")
        self._newest: list[Image | None] = [None for _ in names]

    @property
    def places(self) -> list[str]:
        """Where they go, for the summary."""
        folders = [str(self._folder)] if self._cameras else []
        return [*folders, *([str(self._mosaic_file)] if self._mosaic is not None else [])]

    def write(self, batch: Sequence[Seen], statuses: Sequence[StreamStatus]) -> None:
        """Draw what was seen and write it.

        Raises:
            RuntimeError: If it cannot be written.
        """
        if self._folder is None and self._mosaic_file is None:
            return
        for seen in batch:
            drawn = draw_poses(seen.image, seen.poses, boxes=self._ids, ids=self._ids)
            self._newest[seen.camera] = drawn
            if self._folder is not None:
                self._of_camera(seen, statuses[seen.camera].fps).write(drawn, seen.timestamp_s)
        if self._mosaic_file is not None:
            self._write_mosaic(batch, statuses)

    def _of_camera(self, seen: Seen, fps: float) -> VideoWriter:
        assert self._folder is not None
        if seen.camera not in self._cameras:
            target = camera_video_path(self._folder, seen.camera)
            self._cameras[seen.camera] = VideoWriter(
                target, Size(*seen.image.shape[:2]), fps=fps or _CAMERA_FPS
            )
        return self._cameras[seen.camera]

    def _write_mosaic(self, batch: Sequence[Seen], statuses: Sequence[StreamStatus]) -> None:
        assert self._mosaic_file is not None
        film_s = max((seen.timestamp_s for seen in batch), default=self._mosaic_s)
        now_s = clock_s() if self._is_clocked else film_s
        # Half a picture early, so that none is left out where the source is as fast as the mosaic.
        if now_s - self._mosaic_s < 0.5 / _MOSAIC_FPS:
            return
        tiles = [
            Tile(image=image, name=f"{number} {name}", problem=_trouble(status))
            for number, (image, name, status) in enumerate(
                zip(self._newest, self._names, statuses, strict=True)
            )
        ]
        whole = mosaic(tiles, TILE)
        if self._mosaic is None:
            self._mosaic = VideoWriter(self._mosaic_file, Size(*whole.shape[:2]), fps=_MOSAIC_FPS)
        self._mosaic.write(whole, now_s)
        self._mosaic_s = now_s

    def finish(self) -> None:
        """Give the films their names."""
        for film in self._all():
            film.finish()

    def close(self) -> None:
        """Leave those that are not finished under their partial names."""
        for film in self._all():
            film.close()

    def _all(self) -> list[VideoWriter]:
        return [*self._cameras.values(), *([self._mosaic] if self._mosaic is not None else [])]


def _trouble(status: StreamStatus) -> str:
    if status.state == "live":
        return status.problem
    return f"{status.state}{f': {status.problem}' if status.problem else ''}"
