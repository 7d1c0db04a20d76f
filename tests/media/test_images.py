from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from image_files import encoded, noise
from slimpose.media.images import ImageError, check_image, decode_image, read_image, to_8_bit
from slimpose.media.sources import open_media

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def exif_rotated(jpeg: bytes) -> bytes:
    """Return the JPEG with an EXIF entry: rotate by 90 degrees clockwise (orientation 6)."""
    tiff = (
        b"MM\x00*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    )
    payload = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def test_image_is_read_as_rgb() -> None:
    blue = np.zeros((4, 5, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV's order is BGR
    assert tuple(decode_image(encoded(".png", blue), name="blue")[0, 0]) == (0, 0, 255)


@pytest.mark.parametrize(
    "image",
    [
        np.full((6, 7), 200, np.uint8),
        np.full((6, 7), 200 * 257, np.uint16),
        np.full((6, 7, 3), 200 * 257, np.uint16),
        np.full((6, 7, 4), 200, np.uint8),
    ],
    ids=["gray", "16-bit gray", "16-bit color", "transparent"],
)
def test_gray_16_bit_and_transparent_images_become_rgb_uint8(image: np.ndarray) -> None:
    decoded = decode_image(encoded(".png", image), name="image")
    assert decoded.dtype == np.uint8
    assert decoded.shape == (6, 7, 3)
    assert (decoded == 200).all()


RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)


def pnm(magic: str, max_value: int) -> bytes:
    pixels = np.rint(RAMP * max_value).astype(">u2" if max_value > 255 else np.uint8)
    pixels = np.repeat(pixels[..., None], 3 if magic == "P6" else 1, axis=2)
    return f"{magic}\n# a camera\n64 48\n{max_value}\n".encode() + pixels.tobytes()


def deep(suffix: str, max_value: float, kind: type) -> bytes:
    pixels = RAMP * max_value
    return encoded(suffix, (np.rint(pixels) if max_value > 1 else pixels).astype(kind))


@pytest.mark.parametrize(
    "data",
    [
        *(deep(".png", 2**bits - 1, np.uint16) for bits in (8, 10, 12, 14, 16)),
        *(deep(".tiff", 2**bits - 1, np.uint16) for bits in (10, 12, 14, 16)),
        deep(".tiff", 4095, np.int16),
        deep(".jp2", 4095, np.uint16),
        deep(".pfm", 1.0, np.float32),
        deep(".pfm", 255, np.float32),
        *(pnm(magic, top) for magic in ("P5", "P6") for top in (100, 255, 1023, 4095, 65535)),
    ],
)
def test_all_depths_become_8_bits_by_their_range(data: bytes) -> None:
    image = decode_image(data, name="x")
    assert image.shape == (48, 64, 3)
    for channel in range(3):
        np.testing.assert_allclose(image[..., channel], 255 * RAMP, atol=3)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", [".pgm", ".png", ".tiff"])
def test_fewer_bits_in_files_that_state_16(bits: int, suffix: str) -> None:
    data = deep(suffix, 2**bits - 1, np.uint16)
    image = decode_image(data, name="x")
    np.testing.assert_allclose(image[..., 0], 255 * RAMP, atol=1)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_8_bit_values_in_the_upper_bits_of_fewer_than_16(bits: int, suffix: str) -> None:
    image = noise()[:, :, 0]
    data = encoded(suffix, image.astype(np.uint16) << (bits - 8))
    difference = decode_image(data, name="x")[:, :, 0].astype(int) - image
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("shift", [2, 4, 6])
def test_values_in_the_upper_bits_of_16_have_their_range(shift: int) -> None:
    values = np.arange(0, 1 << (16 - shift), 7).astype(np.uint16)
    data = encoded(".png", (values << shift)[None])
    decoded = decode_image(data, name="x")[0, :, 0]
    np.testing.assert_allclose(decoded, values / ((1 << (16 - shift)) - 1) * 255, atol=1)


def test_signed_8_bit_values_are_kept() -> None:
    values = np.arange(128, dtype=np.int8)
    np.testing.assert_array_equal(to_8_bit(values, name="x"), values)


@pytest.mark.parametrize("scale", [257, 256, 64])
def test_dark_image_of_16_bits_stays_dark(scale: int) -> None:
    """Its values fill the upper bits, so it was not written by a camera of 12 bits."""
    dark = (np.arange(48 * 64).reshape(48, 64) % 15 * (256 // min(scale, 256))).astype(np.uint16)
    data = encoded(".png", dark * np.uint16(scale))
    np.testing.assert_allclose(
        decode_image(data, name="x")[..., 0], dark * float(scale) / 257, atol=1
    )


def test_pixels_that_are_no_brightness_are_rejected() -> None:
    data = encoded(".tiff", (RAMP * 500 - 100).astype(np.int16))
    with pytest.raises(ImageError, match=r"x: its int16 pixels are -100\.\.400; expected positive"):
        decode_image(data, name="x")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_upright(orientation: int) -> None:
    """Pillow writes the properties irot and imir for an EXIF orientation."""
    if not cv2.haveImageWriter("a.avif"):
        pytest.skip("this OpenCV has no AVIF")
    corner = np.zeros((40, 60, 3), np.uint8)
    corner[:12, :24] = (255, 0, 0)
    exif = PIL.Image.Exif()
    exif[274] = orientation
    data = io.BytesIO()
    try:
        PIL.Image.fromarray(corner).save(data, "AVIF", exif=exif, quality=95)
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no AVIF")
    flipped = {1: 0, 2: 1, 3: 0, 4: 1, 5: 1, 6: 0, 7: 1, 8: 0}[orientation]
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    expected = np.rot90(corner[:, ::-1] if flipped else corner, turns)
    image = decode_image(data.getvalue(), name="x")
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 8


def test_image_of_one_pixel_is_decoded() -> None:
    image = decode_image(encoded(".png", np.zeros((1, 1, 3), np.uint8)), name="dot")
    assert image.shape == (1, 1, 3)


def test_exif_rotation_is_applied() -> None:
    image = decode_image(exif_rotated(encoded(".jpg", noise(40, 60))), name="photo")
    assert image.shape == (60, 40, 3)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_jpeg_is_rejected(progressive: int, share: float) -> None:
    data = encoded(".jpg", noise(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert decode_image(data, name="whole").shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"half\.jpg: the image is truncated"):
        decode_image(data[: int(share * len(data))], name="half.jpg")


def test_end_of_a_thumbnail_is_not_the_end_of_the_jpeg() -> None:
    data, thumbnail = encoded(".jpg", noise()), encoded(".jpg", noise(8, 8))
    payload = b"Exif\x00\x00" + thumbnail
    with_thumbnail = (
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    )
    assert decode_image(with_thumbnail, name="whole").shape == (40, 60, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode_image(with_thumbnail[:-200], name="half")


@pytest.mark.parametrize("trailer", [b"\x00" * 50, b"junk" * 9, encoded(".jpg", noise(8, 8))])
def test_data_after_the_end_of_a_jpeg_are_ignored(trailer: bytes) -> None:
    assert decode_image(encoded(".jpg", noise()) + trailer, name="padded").shape == (40, 60, 3)


@pytest.mark.parametrize("photo", sorted(PHOTOS.glob("*.jpg")), ids=lambda path: path.stem)
def test_complete_photos_are_not_reported_as_truncated(photo: Path) -> None:
    assert max(read_image(photo).shape) == 640


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff"])
def test_other_truncated_images_are_rejected(suffix: str) -> None:
    data = encoded(suffix, noise())
    with pytest.raises(
        ImageError, match=r"half: (the image is truncated|not an image OpenCV can decode)"
    ):
        decode_image(data[: len(data) // 2], name="half")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"x: the file is empty \(0 bytes\)"),
        (b"hello, world\n" * 9, "x: not an image OpenCV can decode"),
        (b"\xff\xd8\xff", "x: the image is truncated"),
        (b"\x89PNG\r\n\x1a\n", "x: the image is truncated"),
        (b"%PDF-1.7", "not an image"),
    ],
)
def test_invalid_image_is_rejected_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(data, name="x")


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, payload: bytes) -> bytes:
        return (
            struct.pack(">I", len(payload))
            + kind
            + payload
            + struct.pack(">I", zlib.crc32(kind + payload))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_decompression_bomb_is_rejected_before_decoding() -> None:
    with pytest.raises(
        ImageError, match=r"bomb: 20000x20000 pixels .* 400 million; expected at most 256 million"
    ):
        decode_image(png_claiming(20_000, 20_000), name="bomb")
    jpeg = bytearray(encoded(".jpg", noise()))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ImageError, match="60000x60000"):
        decode_image(bytes(jpeg), name="bomb")


def test_invalid_image_argument_is_rejected_with_a_remedy() -> None:
    class LikePil:
        def convert(self) -> None: ...

    with pytest.raises(ImageError, match=r'np\.asarray\(image\.convert\("RGB"\)\)'):
        check_image(LikePil())
    with pytest.raises(
        ImageError, match=r"^https://\*\*\*@h/x\.jpg: an address, not a file; download it first"
    ):
        read_image("https://u:hunter2@h/x.jpg")


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "P", "1"])
@pytest.mark.parametrize("packing", ["png", "bmp"])
def test_icon_gives_its_largest_image(tmp_path: Path, mode: str, packing: str) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = PIL.Image.fromarray(colors).convert(mode)
    file = tmp_path / "icon.ico"
    image.save(file, sizes=[(64, 64), (16, 16), (32, 32)], bitmap_format=packing)
    assert (read_image(file) == np.asarray(image.convert("RGB"))).all()
    (frame,) = open_media(file).frames
    assert frame.image.shape == (64, 64, 3)


def test_icon_without_an_image_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "icon.ico"
    PIL.Image.new("RGB", (16, 16)).save(file)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ImageError, match=r"icon\.ico: not an image OpenCV can decode"):
        read_image(file)
