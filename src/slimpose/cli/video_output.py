"""Drawn videos of ``live``: one per camera, and a mosaic of all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slimpose.arrays import Image, Size
from slimpose.cli.drawing import PoseDrawing, codec_notes
from slimpose.draw import Tile, mosaic
from slimpose.hide import Hider
from slimpose.media.stream import StreamStatus
from slimpose.media.stream_reader import clock_s
from slimpose.media.video_reader import DEFAULT_FPS
from slimpose.media.video_writer import VideoWriter
from slimpose.runtime.frame_result import FrameResult

TILE = Size(360, 640)
_MOSAIC_FPS = 25.0


def camera_video_path(folder: Path, camera: int) -> Path:
    """Return the path of a camera's video."""
    return folder / f"camera-{camera}.mp4"


class VideoOutputs:
    """The drawn videos of a run: per camera, a mosaic, both or none.

    Args:
        folder: For a video of each camera.
        mosaic_file: For all cameras side by side.
        names: The cameras' names.
        use_clock: Whether the mosaic runs by the clock instead of the times of the video files.
        drawing: Draws the frames.
    """

    def __init__(
        self,
        folder: Path | None,
        mosaic_file: Path | None,
        *,
        names: Sequence[str],
        use_clock: bool,
        drawing: PoseDrawing,
    ) -> None:
        self._folder, self._mosaic_file, self._names = folder, mosaic_file, names
        self._use_clock, self._drawing = use_clock, drawing
        self._cameras: dict[int, VideoWriter] = {}
        self._mosaic: VideoWriter | None = None
        self._mosaic_s = float("-inf")
        self._newest: list[Image | None] = [None for _ in names]

    @property
    def hider(self) -> Hider | None:
        """What hides the people before frames are drawn; None if they are shown."""
        return self._drawing.hider

    @property
    def paths(self) -> list[str]:
        """Where the videos are written, for the summary."""
        folders = [str(self._folder)] if self._cameras else []
        return [*folders, *([str(self._mosaic_file)] if self._mosaic is not None else [])]

    def write(self, batch: Sequence[FrameResult], statuses: Sequence[StreamStatus]) -> None:
        """Draw the poses of a batch and write the frames.

        Raises:
            RuntimeError: If they cannot be written.
        """
        if self._folder is None and self._mosaic_file is None:
            return
        for result in batch:
            drawn = self._drawing.draw(result)
            self._newest[result.camera] = drawn
            if self._folder is not None:
                if result.camera not in self._cameras:
                    status = statuses[result.camera]
                    self._cameras[result.camera] = VideoWriter(
                        camera_video_path(self._folder, result.camera),
                        Size(*drawn.shape[:2]),
                        fps=status.fps or DEFAULT_FPS,
                        pixel_aspect=status.pixel_aspect,
                    )
                self._cameras[result.camera].write(drawn, result.timestamp_s)
        if self._mosaic_file is not None:
            self._write_mosaic(self._mosaic_file, batch, statuses)

    def _write_mosaic(
        self, path: Path, batch: Sequence[FrameResult], statuses: Sequence[StreamStatus]
    ) -> None:
        if not (batch or self._use_clock):
            return
        now_s = clock_s() if self._use_clock else max(result.timestamp_s for result in batch)
        # Half a frame early, so that none is left out where the source is as fast as the mosaic.
        if now_s - self._mosaic_s < 0.5 / _MOSAIC_FPS:
            return
        tiles = [
            Tile(
                image=image,
                name=f"{number} {name}",
                problem=status.problem if status.state == "live" else status.text,
                pixel_aspect=status.pixel_aspect,
            )
            for number, (image, name, status) in enumerate(
                zip(self._newest, self._names, statuses, strict=True)
            )
        ]
        image = mosaic(tiles, TILE)
        if self._mosaic is None:
            self._mosaic = VideoWriter(path, Size(*image.shape[:2]), fps=_MOSAIC_FPS)
        self._mosaic.write(image, now_s)
        self._mosaic_s = now_s

    def notes(self) -> list[str]:
        """Return a line about the videos' codec, if players lack it."""
        return codec_notes() if self.paths else []

    def finish(self) -> None:
        """Rename the videos to their final names."""
        for video in self._all():
            video.finish()

    def close(self) -> None:
        """Close unfinished videos and keep them under their partial names."""
        for video in self._all():
            video.close()

    def _all(self) -> list[VideoWriter]:
        return [*self._cameras.values(), *([self._mosaic] if self._mosaic is not None else [])]
