"""Every form in which a Python program has an image gives the same pixels."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from slimpose.media.image_inputs import load_image
from slimpose.media.images import ImageError

PIL_MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F")
PIL_MODES += ("LA", "PA", "RGBX", "RGBa", "La", "I;16", "I;16B")

UNCHECKED: Any = getattr(load_image, "__wrapped__", load_image)
"""Without beartype, which would reject the arguments first."""


@pytest.fixture
def image() -> np.ndarray:
    """Smooth, so that JPEG keeps it; red at the top, blue at the left."""
    y, x = np.mgrid[:40, :60]
    return np.stack([250 - 4 * y, 100 + 0 * x, 250 - 3 * x], axis=2).astype(np.uint8)


@contextmanager
def served(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server on this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def test_all_forms_of_an_image_are_read_alike(tmp_path: Path, image: np.ndarray) -> None:
    data = png(image)
    path = tmp_path / "image.png"
    path.write_bytes(data)
    with served({"/a%20b.png?size=2": (200, data)}) as host:
        forms = {
            "array": image,
            "path": path,
            "text": str(path),
            "bytes": data,
            "bytearray": bytearray(data),
            "PIL": PIL.Image.fromarray(image),
            "PIL from a file": PIL.Image.open(path),
            "PIL from memory": PIL.Image.open(io.BytesIO(data)),
            "URL": f"{host}/a%20b.png?size=2",
            "URL with a space": f"{host}/a b.png?size=2",
        }
        for name, form in forms.items():
            loaded = load_image(form)
            np.testing.assert_array_equal(loaded, image, err_msg=name)
            assert loaded.flags.c_contiguous, name


def test_color_is_that_of_arrays_only(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png(image))
    np.testing.assert_array_equal(load_image(image[:, :, ::-1], color="bgr"), image)
    np.testing.assert_array_equal(load_image(path, color="bgr"), image)
    with pytest.raises(ValueError, match=r"color is 'gray'; expected 'rgb', or 'bgr'"):
        UNCHECKED(image, color="gray")


@pytest.mark.parametrize("mode", PIL_MODES)
def test_pil_image_of_any_mode(mode: str, image: np.ndarray) -> None:
    """A gray image is representable in all of them; 16 bits in a range of their own."""
    gray = np.where(image[:, :, 2] > 128, 255, 0).astype(np.uint8)
    expected = np.repeat(gray[:, :, None], 3, axis=2)
    base = PIL.Image.fromarray(gray)
    if mode.startswith("I;16"):
        order = ">u2" if mode.endswith("B") else "<u2"
        sixteen = (gray.astype(np.uint16) * 257).astype(order)
        converted = PIL.Image.frombytes(mode, base.size, sixteen.tobytes())
    elif mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(base.convert("RGB"), *profiles, outputMode="LAB")
    else:
        through = {"PA": "P", "La": "LA", "RGBa": "RGBA"}.get(mode)
        converted = (base.convert(through) if through else base).convert(mode)
    assert converted is not None
    assert converted.mode == mode
    np.testing.assert_allclose(load_image(converted).astype(int), expected, atol=2)


def test_pil_image_is_turned_upright_as_its_file_is(tmp_path: Path, image: np.ndarray) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = tmp_path / "turned.png"
    PIL.Image.fromarray(image).save(path, exif=exif)
    turned = load_image(PIL.Image.open(path))
    assert turned.shape == (60, 40, 3)
    np.testing.assert_array_equal(turned, load_image(path))


def test_broken_pil_images_are_rejected_in_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    path = tmp_path / "cut.jpg"
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"PIL image .*cut.jpg: cannot be converted to RGB: .*"):
        load_image(PIL.Image.open(path))
    with pytest.raises(ImageError, match=r"float32 pixels are -1\.\.0"):
        load_image(PIL.Image.fromarray(np.array([[-1, 0]], np.float32)))
    with pytest.raises(ImageError, match="at most 256 million"):
        load_image(PIL.Image.new("1", (20_000, 20_000)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, r"the image is None \(NoneType\); expected an array, a path or URL, bytes"),
        (3, r"the image is 3 \(int\)"),
        (io.BytesIO(b"x"), r"a _io.BytesIO \(an open file\? pass .read\(\)\)"),
        (iter([]), r"several images\? pass a list of them"),
        (b"", r"image in memory \(0 bytes\): the file is empty"),
        (b"GIF of no kind", r"image in memory \(14 bytes\): not an image OpenCV can decode"),
        ("", "a folder, not an image"),
        ("missing.png", "missing.png: no such file"),
        ("ftp://host/a.png", "cannot fetch ftp://; expected http://, https:// or a path"),
        ("file:///etc/passwd", "cannot fetch file://"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"a batch\? list\(images\) is a list of images"),
    ],
)
def test_what_is_not_an_image_is_rejected(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(source)


def test_urls_that_fail_are_named_without_their_passwords(image: np.ndarray) -> None:
    data = png(image)
    answers = {"/cut.png": (200, data[:-8]), "/page": (200, b"<html>"), "/secret": (403, b"")}
    answers = {f"{path}?token=abc": answer for path, answer in answers.items()}
    with served(answers) as host:
        for path, message in (
            ("/none.png", "nothing is at this path (HTTP 404)"),
            ("/secret", "access is not allowed (HTTP 403)"),
            ("/cut.png", "truncated"),
            ("/page", "not an image OpenCV can decode"),
        ):
            with pytest.raises(ImageError) as caught:
                load_image(f"{host.replace('://', '://user:pass@')}{path}?token=abc")
            text = str(caught.value)
            if path == "/none.png":
                assert message in text
            assert "pass" not in text.replace("passed", "")
            assert "abc" not in text
            assert "***@127.0.0.1" in text
    with pytest.raises(ImageError, match=r"127.0.0.1:1/a.png: the host cannot be reached"):
        load_image("http://127.0.0.1:1/a.png")
    with pytest.raises(
        ImageError, match=r"http:///a\.png: the host cannot be reached: no host given"
    ):
        load_image("http:///a.png")


def test_pil_is_not_imported_unless_the_program_has() -> None:
    program = (
        "import sys, numpy as np; from slimpose.media.image_inputs import load_image\n"
        "load_image(np.zeros((8, 8, 3), np.uint8))\n"
        "names = ('PIL', 'pandas', 'supervision', 'IPython')\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
