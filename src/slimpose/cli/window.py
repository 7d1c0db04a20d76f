"""The window of ``--show``: Tk's, which Python brings, as OpenCV's headless build has none."""

from __future__ import annotations

from typing import Any

import cv2

from slimpose.arrays import Image

_SHARE_OF_SCREEN = 0.9


class Window:
    """A window that shows one image at a time; q, Esc or its closing end it.

    Attributes:
        is_open: Whether it was not closed.

    Raises:
        RuntimeError: If there is no display, or Python has no Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise RuntimeError(
                f"--show needs Python's tkinter, which cannot be imported ({error}); "
                "on Debian and Ubuntu: apt install python3-tk"
            ) from error
        self._tk = tkinter
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise RuntimeError(
                f"--show needs a display, and there is none ({error}); without it the drawings go "
                "to the folder of --out"
            ) from error
        self.is_open, self._has_key = True, False
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        self._root.bind("<Key>", self._on_key)

    def show(self, image: Image) -> None:
        """Show an image, RGB, scaled to the screen if it is larger."""
        if not self.is_open:
            return
        height, width = image.shape[:2]
        screen = self._root.winfo_screenwidth() / width, self._root.winfo_screenheight() / height
        scale = _SHARE_OF_SCREEN * min(screen)
        if scale < 1:
            size = max(1, round(scale * width)), max(1, round(scale * height))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        header = b"P6 %d %d 255\n" % (image.shape[1], image.shape[0])
        self._image = self._tk.PhotoImage(data=header + image.tobytes())  # Tk keeps no reference
        self._label.configure(image=self._image)
        self._root.update()

    def wait_for_key(self) -> None:
        """Wait until a key is pressed or the window is closed."""
        self._has_key = False
        while self.is_open and not self._has_key:
            self._root.update()
            self._root.after(20)

    def close(self) -> None:
        """Close the window."""
        if self.is_open:
            self.is_open = False
            self._root.destroy()

    def _on_key(self, event: Any) -> None:
        self._has_key = True
        if event.keysym in ("q", "Q", "Escape"):
            self.close()
