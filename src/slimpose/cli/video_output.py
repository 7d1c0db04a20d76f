"""Drawn videos of ``live``: one per camera, and a mosaic of all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slimpose.arrays import Image, Size
from slimpose.cli.drawing import PoseDrawing, codec_notes
from slimpose.cli.output_paths import unused_path
from slimpose.cli.window import Window
from slimpose.draw import Tile, mosaic
from slimpose.hide import Hider
from slimpose.media.stream import StreamStatus
from slimpose.media.stream_reader import clock_s
from slimpose.media.video_reader import DEFAULT_FPS
from slimpose.media.video_writer import VideoWriter
from slimpose.runtime.frame_result import FrameResult

TILE = Size(360, 640)
_MOSAIC_FPS = 25.0


class VideoOutputs:
    """The drawn videos of a run: per camera, a mosaic, both or none.

    Args:
        folder: For a video of each camera.
        mosaic_file: For all cameras side by side.
        names: The cameras' names.
        stems: The starts of the names of the cameras' files; where one exists, a number is added.
        overwrite: Whether files that exist are replaced instead; inputs are checked before.
        use_clock: Whether the mosaic runs by the clock instead of the times of the video files.
        drawing: Draws the frames.
        window: Shows the frames: those of one camera, or the mosaic of several.
    """

    def __init__(
        self,
        folder: Path | None,
        mosaic_file: Path | None,
        *,
        names: Sequence[str],
        stems: Sequence[str],
        overwrite: bool,
        use_clock: bool,
        drawing: PoseDrawing,
        window: Window | None = None,
    ) -> None:
        self._window = window
        self._folder, self._mosaic_file, self._names = folder, mosaic_file, names
        self._stems, self._overwrite = stems, overwrite
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
        videos = [str(video.path) for _, video in sorted(self._cameras.items())]
        return [*videos, *([str(self._mosaic_file)] if self._mosaic is not None else [])]

    def write(self, batch: Sequence[FrameResult], statuses: Sequence[StreamStatus]) -> None:
        """Draw the poses of a batch and write the frames.

        Raises:
            RuntimeError: If they cannot be written.
        """
        if self._folder is None and self._mosaic_file is None and self._window is None:
            return
        for result in batch:
            drawn = self._drawing.draw(result)
            self._newest[result.camera] = drawn
            if self._folder is not None:
                if result.camera not in self._cameras:
                    status = statuses[result.camera]
                    path = unused_path(
                        self._folder,
                        self._stems[result.camera],
                        ".mp4",
                        used=set(),
                        replaceable=lambda _: self._overwrite,
                    )
                    self._cameras[result.camera] = VideoWriter(
                        path,
                        Size(*drawn.shape[:2]),
                        fps=status.fps or DEFAULT_FPS,
                        pixel_aspect=status.pixel_aspect,
                    )
                self._cameras[result.camera].write(drawn, result.timestamp_s)
        is_mosaic_shown = self._window is not None and len(self._names) > 1
        if self._mosaic_file is not None or is_mosaic_shown:
            self._make_mosaic(batch, statuses)
        if self._window is not None and not is_mosaic_shown and self._newest[0] is not None:
            self._window.show(self._newest[0])

    @property
    def is_window_closed(self) -> bool:
        """Whether the user closed the window."""
        return self._window is not None and not self._window.is_open

    def _make_mosaic(self, batch: Sequence[FrameResult], statuses: Sequence[StreamStatus]) -> None:
        """Draw the mosaic when it is time to; write it and show it."""
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
        self._mosaic_s = now_s
        if self._window is not None and len(self._names) > 1:
            self._window.show(image)
        if self._mosaic_file is None:
            return
        if self._mosaic is None:
            size = Size(*image.shape[:2])
            self._mosaic = VideoWriter(self._mosaic_file, size, fps=_MOSAIC_FPS)
        self._mosaic.write(image, now_s)

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
