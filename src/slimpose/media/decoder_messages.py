"""The lines that image decoders print to standard error, caught and assigned to their images.

libjpeg and libpng print their findings without the name of a file, and OpenCV hands out no other
sign of them: a JPEG with damaged data is returned with its rest in gray. While an image is decoded
standard error is a file in memory; lines of others in it are passed on afterwards.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_DECODER_LINE = re.compile(
    rb"(libpng |Corrupt JPEG|Premature end of JPEG|Invalid (SOS|JPEG|component)|Unsupported (JPEG|"
    rb"marker)|Inconsistent progression|Application transferred|Warning: unknown JFIF|Unknown Adobe"
    rb"|Bogus |Obtained XMS|Quantization table|TIFF|\[ ?(WARN|ERROR|INFO|DEBUG):).*"
)


class _Stderr:
    """Descriptor 2, redirected while at least one image is being decoded."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.decoding = 0
        self.started = 0
        self.is_exclusive = False
        self._file = self._saved = -1

    def enter(self) -> int:
        """Redirect it, if it is not; return the length of what was caught so far."""
        if self.decoding == 0 and hasattr(os, "memfd_create"):  # Linux
            with contextlib.suppress(OSError):  # without standard error there is nothing to catch
                self._saved = os.dup(2)
                self._file = self._file if self._file >= 0 else os.memfd_create("slimpose")
                os.dup2(self._file, 2)
        self.decoding += 1
        self.started += 1
        return self._length()

    def leave(self, start: int) -> bytes:
        """Return what was caught since ``start``; restore it after the last image."""
        length = self._length()
        text = os.pread(self._file, length - start, start) if length > start else b""
        self.decoding -= 1
        if self.decoding == 0 and self._saved >= 0:
            self.restore()
            if length:
                caught = os.pread(self._file, length, 0)
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
                lines = caught.splitlines(keepends=True)
                others = b"".join(line for line in lines if not _DECODER_LINE.match(line))
                with contextlib.suppress(OSError):
                    os.write(self._saved, others)
            os.close(self._saved)
            self._saved = -1
        return text

    def restore(self) -> None:
        """Send standard error where it went before."""
        if self._saved >= 0:
            os.dup2(self._saved, 2)

    def _length(self) -> int:
        return os.fstat(self._file).st_size if self._saved >= 0 else 0


_stderr = _Stderr()


def _forget_parent() -> None:
    """In a forked process: do not share the file in memory with the parent."""
    global _stderr
    _stderr.restore()
    _stderr = _Stderr()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def with_messages(decode: Callable[[], _T]) -> tuple[_T, str]:
    """Decode an image; return it and what its decoder printed meanwhile, in one line.

    Images may be decoded in several threads at once. If something was printed during more than one,
    each is decoded again alone, so that the text belongs to it.
    """
    result, text, is_alone = _decode(decode, exclusive=False)
    if text and not is_alone:
        result, text, _ = _decode(decode, exclusive=True)
    lines = [
        match[0].decode(errors="replace")
        for match in _DECODER_LINE.finditer(text)
        if not match[0].startswith(b"[")  # OpenCV's own log names places in its sources
    ]
    return result, "; ".join(dict.fromkeys(line.strip() for line in lines))


def _decode(decode: Callable[[], _T], *, exclusive: bool) -> tuple[_T, bytes, bool]:
    stderr = _stderr
    with stderr.condition:
        stderr.condition.wait_for(
            lambda: not stderr.is_exclusive and not (exclusive and stderr.decoding)
        )
        stderr.is_exclusive = exclusive
        is_first = stderr.decoding == 0
        start = stderr.enter()
        number = stderr.started
    text = b""
    try:
        result = decode()
    finally:
        with stderr.condition:
            is_alone = is_first and stderr.started == number
            text = stderr.leave(start)
            stderr.is_exclusive = False if exclusive else stderr.is_exclusive
            stderr.condition.notify_all()
    return result, text, is_alone
