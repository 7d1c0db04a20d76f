from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from slimpose.arrays import Image
from slimpose.runtime.images import ImageError, decode_image, read_image
from slimpose.runtime.sources import BrokenOffError, SourceError, expand, open_media

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


def encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    sound, data = cv2.imencode(suffix, image, list(options))
    assert sound
    return data.tobytes()


def noise(height: int = 40, width: int = 60) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_video(path: Path, frames: int, *, codec: str = "mp4v", fps: float = 12.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 10 * index % 250, np.uint8))
    writer.release()
    return path


def exif_rotated(jpeg: bytes) -> bytes:
    """The JPEG with an EXIF entry that says: turn me by 90 degrees clockwise (orientation 6)."""
    tiff = b"MM\x00*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    payload = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


# Pictures.


def test_a_picture_is_read_as_rgb() -> None:
    blue = np.zeros((4, 5, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV's own order is BGR
    assert tuple(decode_image(encoded(".png", blue), name="blue")[0, 0]) == (0, 0, 255)


@pytest.mark.parametrize(
    "image",
    [
        np.full((6, 7), 200, np.uint8),
        np.full((6, 7), 200 * 257, np.uint16),
        np.full((6, 7, 3), 200 * 257, np.uint16),
        np.full((6, 7, 4), 200, np.uint8),
    ],
    ids=["grey", "16-bit grey", "16-bit colour", "transparent"],
)
def test_grey_deep_and_transparent_pictures_become_rgb_uint8(image: np.ndarray) -> None:
    read = decode_image(encoded(".png", image), name="picture")
    assert read.dtype == np.uint8
    assert read.shape == (6, 7, 3)
    assert (read == 200).all()


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    assert decode_image(encoded(".png", np.zeros((1, 1, 3), np.uint8)), name="dot").shape == (1, 1, 3)


def test_a_rotated_photo_is_turned_upright() -> None:
    assert decode_image(exif_rotated(encoded(".jpg", noise(40, 60))), name="photo").shape == (60, 40, 3)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_jpeg_is_an_error_and_not_a_half_grey_picture(progressive: int, share: float) -> None:
    data = encoded(".jpg", noise(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert decode_image(data, name="whole").shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"half\.jpg: the picture is truncated"):
        decode_image(data[: int(share * len(data))], name="half.jpg")


def test_a_thumbnails_end_is_not_the_pictures_end() -> None:
    data, thumbnail = encoded(".jpg", noise()), encoded(".jpg", noise(8, 8))
    payload = b"Exif\x00\x00" + thumbnail
    with_thumbnail = data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    assert decode_image(with_thumbnail, name="whole").shape == (40, 60, 3)
    with pytest.raises(ImageError, match="truncated"):
        decode_image(with_thumbnail[:-200], name="half")


@pytest.mark.parametrize("trailer", [b"\x00" * 50, b"junk" * 9, encoded(".jpg", noise(8, 8))])
def test_what_follows_the_end_of_a_jpeg_is_nobodys_business(trailer: bytes) -> None:
    assert decode_image(encoded(".jpg", noise()) + trailer, name="padded").shape == (40, 60, 3)


@pytest.mark.parametrize("photo", sorted(PHOTOS.glob("*.jpg")), ids=lambda path: path.stem)
def test_sound_photos_are_not_taken_for_truncated_ones(photo: Path) -> None:
    assert max(read_image(photo).shape) == 640


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff"])
def test_other_truncated_pictures_are_errors_too(suffix: str) -> None:
    data = encoded(suffix, noise())
    with pytest.raises(ImageError, match=r"half: (the picture is truncated|not a picture OpenCV can decode)"):
        decode_image(data[: len(data) // 2], name="half")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"x: the file is empty \(0 bytes\)"),
        (b"hello, world\n" * 9, "x: not a picture OpenCV can decode"),
        (b"\xff\xd8\xff", "x: the picture is truncated"),
        (b"\x89PNG\r\n\x1a\n", "x: the picture is truncated"),
        (b"%PDF-1.7", "not a picture"),
    ],
)
def test_what_is_no_picture_is_told_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(data, name="x")


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_pixel_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(ImageError, match=r"bomb: 20000x20000 pixels .* 400 million; expected at most 256 million"):
        decode_image(png_claiming(20_000, 20_000), name="bomb")
    jpeg = bytearray(encoded(".jpg", noise()))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ImageError, match="60000x60000"):
        decode_image(bytes(jpeg), name="bomb")


# What the user names.


def test_a_folder_stands_for_its_pictures_and_videos_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.mp4", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "d.jpg").touch()
    assert [file.name for file in expand(str(tmp_path))] == ["a.PNG", "b.jpg", "c.mp4"]
    assert [file.name for file in expand(f"{tmp_path}/**/*.jpg")] == ["b.jpg", "d.jpg"]
    assert expand(str(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"]


def test_a_file_with_brackets_in_its_name_is_itself(tmp_path: Path) -> None:
    file = tmp_path / "me[1].jpg"
    file.touch()
    assert expand(str(file)) == [file]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.jpg", r"nothing\.jpg: no such file or folder"),
        ("*.jpg", "no file matches this pattern"),
        (".", r"no picture or video in this folder \(1 other files\); subfolders are not searched"),
    ],
)
def test_nothing_to_look_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match=message):
        expand(source)


# Videos.


def test_a_video_gives_its_frames_in_order(tmp_path: Path) -> None:
    media = open_media(write_video(tmp_path / "walk.mp4", 7))
    assert (media.is_video, media.frame_count, media.fps) == (True, 7, 12.0)
    frames = list(media.frames)
    assert [frame.index for frame in frames] == list(range(7))
    means = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(means, [10 * index for index in range(7)], atol=4)


def test_a_picture_is_one_frame() -> None:
    media = open_media(PHOTOS / "000000544444.jpg")
    assert not media.is_video
    assert [(frame.index, frame.image.shape) for frame in media.frames] == [(0, (640, 427, 3))]


def test_a_video_that_breaks_off_gives_its_sound_frames_first(tmp_path: Path) -> None:
    path = write_video(tmp_path / "half.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read: list[int] = []

    def watch() -> None:
        for frame in open_media(path).frames:
            read.append(frame.index)

    with pytest.raises(BrokenOffError, match=r"half\.avi: the video breaks off after \d+ of 40 frames"):
        watch()
    assert read == list(range(len(read)))
    assert 5 < len(read) < 38


@pytest.mark.parametrize("name", ["walk.mp4", "walk.bin", "walk"])
def test_a_files_suffix_need_not_tell_what_it_is(tmp_path: Path, name: str) -> None:
    video = write_video(tmp_path / "right.mp4", 5).rename(tmp_path / name)
    assert open_media(video).is_video
    picture = tmp_path / "picture.bin"
    picture.write_bytes(encoded(".png", noise()))
    assert not open_media(picture).is_video


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("empty.mp4", b"", "the file is empty"),
        ("notes.mp4", b"hello " * 99, "no frame of a video can be read"),
        ("notes.jpg", b"hello " * 99, "not a picture OpenCV can decode"),
        ("notes.txt", b"hello " * 99, r"neither a picture nor a video .*\(its suffix \.txt\)"),
        ("notes", b"hello " * 99, "its suffix is missing"),
        ("half.bin", encoded(".jpg", noise())[:900], "the picture is truncated"),
    ],
)
def test_what_can_not_be_opened_is_told_by_name(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises((SourceError, ImageError), match=f"{name}: .*{message}"):
        open_media(path)


def test_a_truncated_mp4_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "half.mp4", 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"half\.mp4: no frame of a video can be read \(damaged, truncated"):
        open_media(path)
