"""The progress of ``predict`` on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from slimpose.media.frame import Media
from slimpose.messages import printable


class ProgressBar(Progress):
    """Progress in frames; an image is one frame."""

    def __init__(self, console: Console, *, inputs: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._frames = inputs
        self._task = self.add_task("", total=inputs)

    def start_input(self, media: Media) -> None:
        """Show the name of the next input and add its frames, as far as their number is known."""
        self._frames += max(0, media.frame_count - 1)
        self.update(self._task, description=printable(media.path.name), total=self._frames)

    def advance_frame(self) -> None:
        """Count one frame as done."""
        self.advance(self._task)
