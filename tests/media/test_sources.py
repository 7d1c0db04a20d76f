from __future__ import annotations

import re
import struct
import wave
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from slimpose.arrays import Image, Size
from slimpose.media.images import ImageError, check_image, decode_image, read_image
from slimpose.media.sources import (
    DamagedFrameError,
    Frame,
    SourceError,
    TruncatedVideoError,
    expand,
    open_media,
)
from slimpose.media.video_writer import VideoWriter

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


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
    tiff = (
        b"MM\x00*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    )
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
    ids=["gray", "16-bit gray", "16-bit color", "transparent"],
)
def test_gray_deep_and_transparent_pictures_become_rgb_uint8(image: np.ndarray) -> None:
    read = decode_image(encoded(".png", image), name="picture")
    assert read.dtype == np.uint8
    assert read.shape == (6, 7, 3)
    assert (read == 200).all()


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    assert decode_image(encoded(".png", np.zeros((1, 1, 3), np.uint8)), name="dot").shape == (
        1,
        1,
        3,
    )


def test_a_rotated_photo_is_turned_upright() -> None:
    assert decode_image(exif_rotated(encoded(".jpg", noise(40, 60))), name="photo").shape == (
        60,
        40,
        3,
    )


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_jpeg_is_an_error_and_not_a_half_gray_picture(
    progressive: int, share: float
) -> None:
    data = encoded(".jpg", noise(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert decode_image(data, name="whole").shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"half\.jpg: the picture is truncated"):
        decode_image(data[: int(share * len(data))], name="half.jpg")


def test_a_thumbnails_end_is_not_the_pictures_end() -> None:
    data, thumbnail = encoded(".jpg", noise()), encoded(".jpg", noise(8, 8))
    payload = b"Exif\x00\x00" + thumbnail
    with_thumbnail = (
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    )
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
    with pytest.raises(
        ImageError, match=r"half: (the picture is truncated|not a picture OpenCV can decode)"
    ):
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
        return (
            struct.pack(">I", len(payload))
            + kind
            + payload
            + struct.pack(">I", zlib.crc32(kind + payload))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_pixel_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(
        ImageError, match=r"bomb: 20000x20000 pixels .* 400 million; expected at most 256 million"
    ):
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
        ("0", r"^0: no such file or folder \(a camera\? slimpose live 0\)"),
        (
            "https://h/x.JPG?y=1.5",
            r"^https://h/x\.JPG\?y=1\.5: an address, not a file \(download it first\)",
        ),
        ("*.jpg", "no file matches this pattern"),
        (".", r"no picture or video in this folder \(1 other files\); subfolders are not searched"),
        (
            "rtsp://u:geheim@h/x",
            r"^rtsp://\*\*\*@h/x: an address, not a file \(slimpose live watches streams\)",
        ),
    ],
)
def test_nothing_to_look_at_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
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


@pytest.mark.skipif(not hasattr(cv2, "imwriteanimation"), reason="this OpenCV knows no GIFs")
def test_a_gif_of_one_frame_is_a_picture(tmp_path: Path) -> None:
    animation = cv2.Animation()
    animation.frames = [noise(), noise()]
    animation.durations = [100, 100]
    assert cv2.imwriteanimation(str(tmp_path / "two.gif"), animation)
    assert cv2.imwrite(str(tmp_path / "one.gif"), noise())
    assert open_media(tmp_path / "two.gif").is_video
    media = open_media(tmp_path / "one.gif")
    assert not media.is_video
    (frame,) = media.frames
    np.testing.assert_array_equal(frame.image, read_image(tmp_path / "one.gif"))


def test_what_is_no_picture_in_python_is_told_with_a_cure() -> None:
    class LikePil:
        def convert(self) -> None: ...

    with pytest.raises(ImageError, match=r'np\.asarray\(image\.convert\("RGB"\)\)'):
        check_image(LikePil())
    with pytest.raises(
        ImageError, match=r"^https://\*\*\*@h/x\.jpg: an address, not a file; download it first"
    ):
        read_image("https://u:geheim@h/x.jpg")


def test_a_video_that_breaks_off_gives_its_sound_frames_first(tmp_path: Path) -> None:
    path = write_video(tmp_path / "half.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read: list[int] = []

    def watch() -> None:
        for frame in open_media(path).frames:
            read.append(frame.index)

    with pytest.raises(
        TruncatedVideoError, match=r"half\.avi: the video breaks off after \d+ of 40 frames"
    ):
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
def test_what_can_not_be_opened_is_told_by_name(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises((SourceError, ImageError), match=f"{name}: .*{message}"):
        open_media(path)


def test_a_truncated_mp4_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "half.mp4", 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        SourceError, match=r"half\.mp4: no frame of a video can be read \(damaged, truncated"
    ):
        open_media(path)


def test_frames_have_the_files_own_times(tmp_path: Path) -> None:
    """As a phone records: the rate is not even."""
    times_s = [0.0, 0.033, 0.1, 0.133, 0.5, 1.75]
    film = VideoWriter(tmp_path / "phone.mp4", Size(48, 64), fps=30.0)
    for number, time_s in enumerate(times_s):
        film.write(np.full((48, 64, 3), 40 * number, np.uint8), time_s)
    film.finish()
    frames = list(open_media(tmp_path / "phone.mp4").frames)
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], times_s, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec"), [("even.mp4", "mp4v"), ("even.avi", "MJPG"), ("even.mkv", "mp4v")]
)
def test_an_even_rate_gives_even_times(tmp_path: Path, name: str, codec: str) -> None:
    frames = list(open_media(write_video(tmp_path / name, 9, codec=codec, fps=12.0)).frames)
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in frames], np.arange(9) / 12, atol=1e-3
    )


ROTATIONS = {
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}
"""The matrix of an MP4 track that is to be turned clockwise."""


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotated_video_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "phone.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (64, 48))
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = 255
    for _ in range(3):
        writer.write(picture)
    writer.release()
    data = bytearray(path.read_bytes())
    if degrees:
        a, b, c, d = (value << 16 for value in ROTATIONS[degrees])
        place = data.index(b"tkhd") + 44
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    for frame in open_media(path).frames:
        expected = np.rot90(picture, -degrees // 90)
        assert frame.image.shape == expected.shape
        assert np.abs(frame.image.astype(int) - expected).mean() < 8


def damage(path: Path, numbers: list[int]) -> None:
    """Overwrite the start of some JPEGs of a motion JPEG file."""
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", data)]
    for number in numbers:
        data[starts[number] : starts[number] + 200] = bytes(200)
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", [[7], [0, 1], [3, 4, 12], [19]])
def test_damaged_frames_are_left_out_and_told_and_the_others_keep_their_numbers(
    tmp_path: Path, damaged: list[int]
) -> None:
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for index in range(21):
        writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    writer.release()
    damage(path, damaged)
    read: list[Frame] = []

    def watch() -> None:
        for frame in open_media(path).frames:
            read.append(frame)

    words = f"{len(damaged)} damaged frames? could not be decoded .the first is frame {damaged[0]}.; the rest is kept"
    with pytest.raises(DamagedFrameError, match=words):
        watch()
    numbers = [number for number in range(21) if number not in damaged]
    assert [frame.index for frame in read] == numbers
    np.testing.assert_allclose(
        [frame.image.mean() for frame in read], [10 * number for number in numbers], atol=4
    )
    first = numbers[0]
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in read], [(n - first) / 10 for n in numbers], atol=1e-6
    )


def sound_file() -> bytes:
    """Half a second of silence as WAV."""
    import io

    data = io.BytesIO()
    with wave.open(data, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    return data.getvalue()


def mp4_with(tmp_path: Path, *, handler: bytes) -> bytes:
    """An MP4 whose only track is of another kind, as its handler says, and that has no picture to offer."""
    data = write_video(tmp_path / "made.mp4", 2).read_bytes()
    data = data.replace(b"mp4v", b"xxxx")
    place = data.index(b"hdlr") + 12
    return data[:place] + handler + data[place + 4 :]


def test_a_file_with_sound_alone_is_told(tmp_path: Path) -> None:
    for name, data in {
        "song.wav": sound_file(),
        "song.avi": sound_file(),
        "song.mp3": b"ID3" + bytes(500),
        "song.m4a": mp4_with(tmp_path, handler=b"soun"),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match=f"{name}: there is sound but no video track in it"):
            open_media(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec"), [("none.mp4", "mp4v"), ("none.avi", "MJPG"), ("none.mkv", "mp4v")]
)
def test_a_video_without_a_frame_is_told(tmp_path: Path, name: str, codec: str) -> None:
    write_video(tmp_path / name, 0, codec=codec)
    with pytest.raises(
        SourceError,
        match=rf"{name}: .* \(a recording that stopped before its first (one|picture)\?\)",
    ):
        open_media(tmp_path / name)
