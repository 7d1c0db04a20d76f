from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from image_files import encoded, noise
from slimpose.media.decoder_messages import with_messages
from slimpose.media.images import ImageError, decode_image

Capture = pytest.CaptureFixture[str]
GOOD = encoded(".jpg", cv2.GaussianBlur(noise(200, 300), (9, 9), 3))


DAMAGED = GOOD[: len(GOOD) // 2] + GOOD[len(GOOD) // 2 + 500 :]
PADDED = GOOD[:-2] + bytes(5) + GOOD[-2:]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux only")
class TestLines:
    def test_damaged_jpeg_is_rejected_with_its_decoders_reason(self, capfd: Capture) -> None:
        with pytest.raises(ImageError, match=r"^street\.jpg: the image is damaged: premature end"):
            decode_image(DAMAGED, name="street.jpg")
        assert capfd.readouterr().err == ""

    def test_harmless_remarks_are_dropped(self, capfd: Capture) -> None:
        assert decode_image(PADDED, name="x").shape == (200, 300, 3)
        assert capfd.readouterr().err == ""

    def test_damaged_png_is_rejected_in_one_line(self, capfd: Capture) -> None:
        png = encoded(".png", noise())
        half = len(png) // 2
        png = png[:half] + bytes(9) + png[half + 9 :]
        with pytest.raises(ImageError, match=r"^a\.png: not an image OpenCV can decode \("):
            decode_image(png, name="a.png")
        assert capfd.readouterr().err == ""

    def test_lines_of_others_are_passed_on(self, capfd: Capture) -> None:
        def decode() -> int:
            os.write(2, b"Corrupt JPEG data: 1 extraneous bytes\nfrom another thread\n")
            return 7

        assert with_messages(decode) == (7, "Corrupt JPEG data: 1 extraneous bytes")
        print("after", file=sys.stderr)
        assert capfd.readouterr().err == "from another thread\nafter\n"

    def test_log_lines_of_opencv_are_dropped(self, capfd: Capture) -> None:
        def decode() -> None:
            os.write(2, b"[ERROR:0@1.5] global loadsave.cpp:1390 imdecode_ can't read data\n")

        assert with_messages(decode) == (None, "")
        assert capfd.readouterr().err == ""

    def test_error_of_the_decoder_restores_standard_error(self, capfd: Capture) -> None:
        with pytest.raises(ZeroDivisionError):
            with_messages(lambda: 1 // 0)
        os.write(2, b"visible\n")
        assert capfd.readouterr().err == "visible\n"

    def test_forked_process_has_its_own_standard_error(self, capfd: Capture) -> None:
        def decode() -> int:
            child = os.fork()
            if child == 0:
                os.write(2, b"from the child\n")
                os._exit(0)
            return os.waitpid(child, 0)[1]

        assert with_messages(decode) == (0, "")
        assert capfd.readouterr().err == "from the child\n"


def test_damage_is_found_in_several_threads() -> None:
    files = [(GOOD, True), (DAMAGED, False), (PADDED, True)] * 30

    def is_good(file: tuple[bytes, bool]) -> bool:
        try:
            decode_image(file[0], name="x")
        except ImageError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(is_good, files))
    assert results == [expected for _, expected in files]


def test_without_standard_error_images_are_decoded() -> None:
    saved = os.dup(2)
    os.close(2)
    try:
        image = decode_image(GOOD, name="x")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert image.dtype == np.uint8
