"""Files that hold more than one image."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from image_files import encoded, noise
from slimpose.arrays import Image
from slimpose.media.frame import Frame
from slimpose.media.image_formats import image_format, read_structure
from slimpose.media.images import ImageError, decode_image, read_image
from slimpose.media.sources import open_media
from slimpose.media.video_reader import DamagedFrameError

needs_animations = pytest.mark.skipif(
    not hasattr(cv2, "imwriteanimation"), reason="this OpenCV reads no animations"
)


def gray(value: int, height: int = 40, width: int = 60) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def levels_of(path: Path) -> list[int]:
    """The brightness of every image of a file."""
    return [round(float(frame.image.mean()) / 30) for frame in open_media(path).frames]


def write_animation(path: Path, images: list[Image], duration_ms: int = 80) -> Path:
    animation = cv2.Animation()
    animation.frames = images
    animation.durations = [duration_ms] * len(images)
    assert cv2.imwriteanimation(str(path), animation)
    return path


@needs_animations
@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif", "a.gif", "a.jpg", "noname"])
def test_every_image_of_an_animation_is_a_frame_with_its_time(tmp_path: Path, name: str) -> None:
    """Whatever the file is called."""
    suffix = Path(name).suffix if name[0] == "a" and name != "a.jpg" else ".webp"
    images = [gray(30 * level) for level in range(6)]
    path = write_animation(tmp_path / f"b{suffix}", images).rename(tmp_path / name)
    assert levels_of(path) == list(range(6))
    media = open_media(path)
    assert media.is_video
    frames = list(media.frames)
    assert [frame.index for frame in frames] == list(range(6))
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in frames], 0.08 * np.arange(6), atol=5e-3
    )
    with pytest.raises(ImageError, match="an animation of several images; expected one image"):
        read_image(path)


@needs_animations
def test_long_animation_is_decoded_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_animation(tmp_path / "a.webp", [gray(30 * (n % 8)) for n in range(11)])
    monkeypatch.setattr("slimpose.media.image_sources._CHUNK_PIXELS", 4 * 40 * 60)
    assert levels_of(path) == [n % 8 for n in range(11)]


@needs_animations
@pytest.mark.parametrize("suffix", [".webp", ".avif", ".png"])
def test_animation_of_one_image_is_an_image(tmp_path: Path, suffix: str) -> None:
    path = write_animation(tmp_path / f"a{suffix}", [gray(90)])
    media = open_media(path)
    assert (media.is_video, media.frame_count) == (False, 1)
    assert levels_of(path) == [3]


def test_pages_of_a_tiff_are_images_of_their_own_size(tmp_path: Path) -> None:
    sizes = [(40, 60), (50, 30), (20, 20)]
    pages = [gray(30 * n, *size) for n, size in enumerate(sizes)]
    path = tmp_path / "fax.tif"
    assert cv2.imwritemulti(str(path), pages)
    media = open_media(path)
    assert (media.is_video, media.frame_count) == (False, 3)
    assert [frame.image.shape[:2] for frame in media.frames] == sizes
    assert levels_of(path) == [0, 1, 2]
    with pytest.raises(ImageError, match="several images in one file; expected one image"):
        read_image(path)


def tiff(*subfiles: int) -> bytes:
    """A TIFF of 2x2 gray pages, page n with the value 30n and this NewSubfileType."""
    data = b"II*\0" + struct.pack("<I", 8)
    for number, subfile in enumerate(subfiles):
        start = len(data)
        entries = [(254, 4, subfile), (256, 3, 2), (257, 3, 2), (258, 3, 8), (259, 3, 1)]
        pixels = start + 2 + 12 * 9 + 4
        entries += [(262, 3, 1), (273, 4, pixels), (278, 3, 2), (279, 4, 4)]
        following = pixels + 4 if number + 1 < len(subfiles) else 0
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        data += struct.pack("<I", following) + bytes([30 * number] * 4)
    return data


@pytest.mark.parametrize(
    ("subfiles", "levels"),
    [
        ((0, 1), [0]),  # a preview after the image
        ((1, 0), [1]),  # before it
        ((0, 4, 0), [0, 2]),  # a mask between two pages
        ((2, 2), [0, 1]),  # pages of a document
    ],
)
def test_previews_and_masks_in_a_tiff_are_no_pages(
    tmp_path: Path, subfiles: tuple[int, ...], levels: list[int]
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(*subfiles))
    assert levels_of(path) == levels
    if len(levels) == 1:
        assert decode_image(path.read_bytes(), name="a").mean() == 30 * levels[0]


def test_tiff_with_only_a_preview_is_rejected() -> None:
    with pytest.raises(ImageError, match=r"x: only a preview in it can be read \(the raw file"):
        decode_image(tiff(1), name="x")


@pytest.mark.parametrize("missing", [60, 130, 200])
def test_tiff_that_ends_before_its_last_page_is_truncated(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "half.tif"
    path.write_bytes(tiff(0, 0, 0)[:-missing])
    with pytest.raises(ImageError, match=r"half\.tif: the image is truncated"):
        open_media(path)


def jpegs(*levels: int, height: int = 40) -> list[bytes]:
    return [encoded(".jpg", gray(30 * level, height)) for level in levels]


@pytest.mark.parametrize("name", ["a.mjpeg", "a.jpg", "recording"])
@pytest.mark.parametrize("between", [b"", b"\r\n--boundary\r\n\r\n", bytes(60)])
def test_raw_motion_jpeg_is_a_video(tmp_path: Path, name: str, between: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(between.join(jpegs(1, 2, 3, 4)))
    media = open_media(path)
    assert media.is_video
    assert levels_of(path) == [1, 2, 3, 4]
    assert [frame.timestamp_s for frame in media.frames] == [0, 0.04, 0.08, 0.12]
    with pytest.raises(ImageError, match="Motion JPEG, several images one after another"):
        read_image(path)


def test_large_motion_jpeg_is_not_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimpose.media.image_sources._MAX_READ_BYTES", 100)
    path = tmp_path / "a.mjpg"
    path.write_bytes(b"".join(jpegs(1, 2, 3)))
    assert levels_of(path) == [1, 2, 3]


def test_damaged_images_are_named_and_the_others_read(tmp_path: Path) -> None:
    first, third = jpegs(1, 3)
    second = encoded(".jpg", noise())
    second = second[: len(second) // 2] + second[len(second) // 2 + 500 :]
    path = tmp_path / "a.mjpeg"
    path.write_bytes(first + second + third + first[:-300])
    read: list[Frame] = []
    with pytest.raises(DamagedFrameError, match=r"a\.mjpeg: 2 of 4 frames could not be decoded"):
        read.extend(open_media(path).frames)
    assert [frame.index for frame in read] == [0, 2]


@pytest.mark.parametrize(
    ("marker", "trailer", "kind"),
    [
        (b"", jpegs(2, height=20)[0], "single"),  # a preview
        (b"MPF\0", jpegs(2)[0], "pages"),  # a stereo image
        (b"MPF\0 hdrgm:Version", jpegs(2)[0], "single"),  # how bright HDR is, no image
        (b"ns.google.com/photos/1.0/container/", b"".join(jpegs(2, 3)), "single"),  # depth
        (b"", b"junk", "single"),
    ],
)
def test_second_jpeg_in_a_file_is_an_image_unless_it_belongs_to_the_first(
    tmp_path: Path, marker: bytes, trailer: bytes, kind: str
) -> None:
    (first,) = jpegs(1)
    segment = b"\xff\xe2" + struct.pack(">H", len(marker) + 2) + marker
    data = first[:2] + segment + first[2:] + trailer
    assert read_structure(data).kind == kind
    (tmp_path / "a.jpg").write_bytes(data)
    assert levels_of(tmp_path / "a.jpg") == ([1, 2] if kind == "pages" else [1])
    assert not open_media(tmp_path / "a.jpg").is_video


@pytest.mark.parametrize("suffix", [".ppm", ".png", ".bmp", ".webp", ".pam", ".jp2"])
def test_images_one_after_another_in_a_file_are_pages(tmp_path: Path, suffix: str) -> None:
    """As scanners and ffmpeg -f image2pipe write them; of any sizes."""
    images = [
        encoded(suffix, gray(30 * level, height)) for level, height in ((1, 40), (2, 64), (3, 40))
    ]
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(b"".join(images))
    media = open_media(path)
    assert [frame.image.shape[0] for frame in media.frames] == [40, 64, 40]
    assert not media.is_video
    assert levels_of(path) == [1, 2, 3]
    with pytest.raises(ImageError, match="several images in one file; expected one image"):
        read_image(path)
    path.write_bytes(images[0] + b"junk")
    assert levels_of(path) == [1]


@pytest.mark.parametrize("heights", [(40, 64, 40), (64, 40, 40), (40, 64)])
def test_motion_jpeg_may_change_its_size(tmp_path: Path, heights: tuple[int, ...]) -> None:
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(b"".join(jpegs(1, height=height)[0] for height in heights))
    media = open_media(path)
    assert media.is_video
    assert [frame.image.shape[0] for frame in media.frames] == list(heights)


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".jpg", "jpeg"), (".png", "png"), (".webp", "webp"), (".tiff", "tiff"), (".bmp", "bmp"),
        (".jp2", "jpeg2000"), (".ppm", "pnm"), (".hdr", "hdr"), (".ras", "sun raster"),
    ],
)  # fmt: skip
def test_format_is_recognized(suffix: str, name: str) -> None:
    pixels = noise() if suffix != ".hdr" else noise().astype(np.float32)
    data = encoded(suffix, pixels)
    assert image_format(data) == name
    assert decode_image(data, name="x").shape == (40, 60, 3)


def test_text_is_no_image() -> None:
    assert image_format(b"hello, world") == ""
    assert image_format(b"") == ""


@pytest.mark.skipif(not hasattr(cv2, "imreadanimation"), reason="this OpenCV cannot read GIFs")
@pytest.mark.parametrize("count", [2, 3, 12])
def test_gif_without_delays_is_read_whole(tmp_path: Path, count: int) -> None:
    """FFmpeg gives its first image only."""
    images = [PillowImage.new("RGB", (32, 24), (15 * number, 0, 0)) for number in range(count)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    media = open_media(tmp_path / "a.gif")
    read = [round(float(frame.image[..., 0].mean())) for frame in media.frames]
    assert media.is_video
    assert read == [15 * number for number in range(count)]
    times_s = [frame.timestamp_s for frame in open_media(tmp_path / "a.gif").frames]
    assert times_s == [pytest.approx(0.1 * number) for number in range(count)]
