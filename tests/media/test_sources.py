from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import warnings
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from image_files import encoded, noise
from slimpose.arrays import Size
from slimpose.media.addresses import SourceError
from slimpose.media.frame import Frame
from slimpose.media.images import ImageError, image_files, read_image
from slimpose.media.sources import expand, open_media
from slimpose.media.video_reader import (
    DamagedFrameError,
    TruncatedVideoError,
    UnreadFramesError,
)
from slimpose.media.video_writer import VideoWriter
from slimpose.messages import DataWarning

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def write_video(path: Path, frames: int, *, codec: str = "mp4v", fps: float = 12.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 10 * index % 250, np.uint8))
    writer.release()
    return path


def frames_before_error(path: Path, error: type[Exception], message: str) -> list[Frame]:
    """Read a video that ends with an error; return the frames before it."""
    frames: list[Frame] = []
    with pytest.raises(error, match=message):
        frames.extend(open_media(path).frames)
    return frames


# Paths and patterns.


def test_folder_expands_to_its_images_and_videos_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.mp4", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "d.jpg").touch()
    assert [file.name for file in expand(str(tmp_path))] == ["a.PNG", "b.jpg", "c.mp4"]
    assert [file.name for file in expand(f"{tmp_path}/**/*.jpg")] == ["b.jpg", "d.jpg"]
    assert expand(str(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"]


def test_folder_is_searched_by_contents_and_says_what_it_passes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = encoded(".jpg", noise())
    readable = ["a.jfif", "b.jpe", "c.JPG_large", "d", "e.mjpeg"]
    for name in readable:
        (tmp_path / name).write_bytes(image)
    for name, codec in (("f.m2ts.ts", "mp4v"), ("g.avi", "MJPG"), ("h.mkv", "mp4v")):
        write_video(tmp_path / name, 12, codec=codec).rename(tmp_path / f"{name[0]}.video")
    for name in ("notes.txt", "labels.json", ".hidden"):
        (tmp_path / name).write_text("hello")
    (tmp_path / "song.bin").write_bytes(b"ID3" + bytes(900))
    (tmp_path / "more").mkdir()
    names = [file.name for file in expand(str(tmp_path))]
    assert names == sorted([*readable, "f.video", "g.video", "h.video"])
    assert [len(list(open_media(tmp_path / name).frames)) for name in names] == [1] * 5 + [12] * 3
    assert caplog.messages == [
        f"{tmp_path}: 3 of 11 files are passed over, OpenCV cannot read them: "
        "labels.json, notes.txt, song.bin; 1 subfolders are not searched (--recursive does)"
    ]


def test_folder_of_images_is_searched_by_contents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.jfif", "b.jpg"):
        (tmp_path / name).write_bytes(encoded(".jpg", noise()))
    write_video(tmp_path / "c.mp4", 2)
    assert [file.name for file in image_files(tmp_path)] == ["a.jfif", "b.jpg"]
    assert "1 of 3 files are passed over, OpenCV cannot read them: c.mp4" in caplog.text


def test_links_that_lead_nowhere_are_inputs_that_fail_and_linked_folders_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    (folder / "sub").mkdir(parents=True)
    other.mkdir()
    for file in (folder / "a.jpg", folder / "sub" / "b.jpg", other / "c.jpg"):
        file.write_bytes(encoded(".jpg", noise()))
    broken = [folder / "lost.jpg", folder / "sub" / "lost.mp4"]
    for link in [*broken, folder / "lost.txt"]:
        link.symlink_to(tmp_path / "unmounted" / link.name)
    for link in (folder / "other", folder / "sub" / "other"):
        link.symlink_to(other)
    found = expand(str(folder), recursive=True)
    assert found == [folder / "a.jpg", broken[0], folder / "sub" / "b.jpg", broken[1]]
    assert caplog.messages == [
        f"{folder / name}: a link to a folder, which is not searched"
        for name in ("other", "sub/other")
    ]
    assert expand(str(folder / "*.jpg")) == found[:2]
    for link in broken:
        with pytest.raises(SourceError, match=rf"{link.name}: cannot be read: No such file"):
            open_media(link)


def test_file_name_with_brackets_is_not_a_pattern(tmp_path: Path) -> None:
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
        ("max_people=3", r"no such file or folder \(an option\? --max-people 3\)"),
        (".", r"no image or video in this folder \(1 other files\); --recursive searches subf"),
        (
            "rtsp://u:hunter2@h/x",
            r"^rtsp://\*\*\*@h/x: an address, not a file \(slimpose live reads streams\)",
        ),
    ],
)
def test_source_without_files_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match=message):
        expand(source)


# Videos.


@pytest.mark.parametrize(
    "name",
    [
        "cam1:0530.mp4",
        "T12:30:05.mp4",
        "rtsp:.mp4",
        "concat:a.mp4",
        "-.mp4",
        "a%03d.mp4",
        "a?b#c.mp4",
        "a\nb\x1b[0m.mp4",
        "x" * 251 + ".mp4",
        os.fsdecode(b"bad\xff.mp4"),
        os.fsdecode(b"bad\xff.gif"),
        "a%d.gif",
    ],
)
def test_any_name_of_a_video_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """FFmpeg takes some for protocols and series; OpenCV crashes on those that are not UTF-8."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("walk.mp4"), 3).rename(name)
    for path in (Path(name), tmp_path / name):
        assert len(list(open_media(path).frames)) == 3


def test_video_frames_are_read_in_order(tmp_path: Path) -> None:
    media = open_media(write_video(tmp_path / "walk.mp4", 7))
    assert (media.is_video, media.frame_count, media.fps) == (True, 7, 12.0)
    frames = list(media.frames)
    assert [frame.index for frame in frames] == list(range(7))
    means = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(means, [10 * index for index in range(7)], atol=4)


def test_image_file_is_one_frame() -> None:
    media = open_media(PHOTOS / "000000544444.jpg")
    assert not media.is_video
    assert [(frame.index, frame.image.shape) for frame in media.frames] == [(0, (640, 427, 3))]


@pytest.mark.skipif(not hasattr(cv2, "imwriteanimation"), reason="this OpenCV cannot read GIFs")
def test_gif_of_one_frame_is_an_image(tmp_path: Path) -> None:
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


def test_truncated_video_returns_its_good_frames_first(tmp_path: Path) -> None:
    path = write_video(tmp_path / "half.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = r"half\.avi: the video ends after \d+ of 40 frames"
    read = frames_before_error(path, TruncatedVideoError, message)
    assert [frame.index for frame in read] == list(range(len(read)))
    assert 5 < len(read) < 38


@pytest.mark.parametrize("name", ["walk.mp4", "walk.bin", "walk"])
def test_file_type_is_recognized_despite_its_suffix(tmp_path: Path, name: str) -> None:
    video = write_video(tmp_path / "right.mp4", 5).rename(tmp_path / name)
    assert open_media(video).is_video
    image = tmp_path / "image.bin"
    image.write_bytes(encoded(".png", noise()))
    assert not open_media(image).is_video


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("empty.mp4", b"", "the file is empty"),
        ("notes.mp4", b"hello " * 99, "no frame of a video can be read"),
        ("notes.jpg", b"hello " * 99, "not an image OpenCV can decode"),
        ("notes.txt", b"hello " * 99, r"neither an image nor a video .*\(its suffix \.txt\)"),
        ("notes", b"hello " * 99, "its suffix is missing"),
        ("half.bin", encoded(".jpg", noise())[:900], "the image is truncated"),
    ],
)
def test_unreadable_file_is_reported_by_name(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises((SourceError, ImageError), match=f"{name}: .*{message}"):
        open_media(path)


def test_second_mp4_in_a_file_is_reported_after_the_frames_of_the_first(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", 5)
    path.write_bytes(2 * path.read_bytes())
    message = r"one\.mp4: a second video, which cannot be read, follows in the file after 5 frames"
    assert len(frames_before_error(path, UnreadFramesError, message)) == 5


def encoded_video(path: Path, codec: str, pixel_format: str, frames: list[np.ndarray]) -> Path:
    """Write arrays in the pixel format as a video at 10 frames per second."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        given = "gray16le" if frames[0].dtype == np.uint16 else "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, given)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.flv", "flv"),
        ("a.wmv", "wmv2"),
        ("a.ivf", "libvpx"),
        ("a.rm", "rv10"),
        ("a.nut", "mpeg4"),
        ("a.apng", "apng"),
        ("a.webp", "libwebp_anim"),
    ],
)
def test_second_video_that_decoders_ignore_is_reported(
    tmp_path: Path, name: str, codec: str
) -> None:
    pixel_format = {"apng": "rgb24", "libwebp_anim": "bgra"}.get(codec, "yuv420p")
    frames = [np.roll(noise(96, 128), number, axis=0) for number in range(4)]
    path = encoded_video(tmp_path / name, codec, pixel_format, frames)
    list(open_media(path).frames)
    path.write_bytes(2 * path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of two tracks, in Windows Media
        frames_before_error(path, UnreadFramesError, "a second video, which cannot be read")


def test_joined_avi_is_read_whole_and_has_one_track(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 5, codec="MJPG")
    path.write_bytes(2 * path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert len(list(open_media(path).frames)) == 10


def test_h264_without_a_container_is_read_to_its_end(tmp_path: Path) -> None:
    """It is no list of MP4's boxes."""
    path = tmp_path / "a.h264"
    encoded_video(path, "libx264", "yuv420p", [noise(96, 128) for _ in range(4)])
    assert len(list(open_media(path).frames)) == 4


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_gray_videos_of_16_bits_have_the_range_of_their_values(tmp_path: Path, bits: int) -> None:
    """Cameras for heat; a frame that is darker than others stays darker."""
    bright = np.full((48, 64), (1 << bits) - 1, np.uint16)
    frames = [np.zeros_like(bright), bright, bright // 16]
    path = encoded_video(tmp_path / "a.mkv", "ffv1", "gray16le", frames)
    levels = [int(frame.image.mean()) for frame in open_media(path).frames]
    assert levels == [0, 255, 16]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_second_video_track_is_reported(tmp_path: Path, name: str) -> None:
    """Dashboard cameras write front and rear into one file."""
    path = write_video(tmp_path / name, 5, codec="mp4v" if name == "a.mp4" else "MJPG")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        open_media(path)
    path.write_bytes(with_second_track(path.read_bytes()))
    with pytest.warns(DataWarning, match=r"it has 2 video tracks, of which one is read"):
        assert len(list(open_media(path).frames)) == 5


def with_second_track(video: bytes) -> bytes:
    """The video with its list of tracks twice; both show the same frames."""
    index = b"moov" if video[4:8] == b"ftyp" else b"hdrl"
    track = b"trak" if index == b"moov" else b"strl"
    order, name_offset = (">I", 4) if index == b"moov" else ("<I", 8)
    start, first = (video.index(name) - name_offset for name in (index, track))
    extra = 0 if index == b"moov" else 8  # RIFF counts without its name and length
    at = 0 if index == b"moov" else 4
    (length,) = struct.unpack_from(order, video, first + at)
    (old,) = struct.unpack_from(order, video, start + at)
    end = first + length + extra
    data = bytearray(video[:end] + video[first:end] + video[end:])
    struct.pack_into(order, data, start + at, old + length + extra)
    if index == b"hdrl":
        struct.pack_into(order, data, 4, len(data) - 8)
    return bytes(data)


def test_truncated_mp4_is_rejected(tmp_path: Path) -> None:
    path = write_video(tmp_path / "half.mp4", 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        SourceError, match=r"half\.mp4: no frame of a video can be read \(damaged, truncated"
    ):
        open_media(path)


def test_frames_have_the_timestamps_of_the_file(tmp_path: Path) -> None:
    """A variable frame rate, as in the recording of a phone."""
    times_s = [0.0, 0.033, 0.1, 0.133, 0.5, 1.75]
    writer = VideoWriter(tmp_path / "phone.mp4", Size(48, 64), fps=30.0)
    for number, time_s in enumerate(times_s):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8), time_s)
    writer.finish()
    frames = list(open_media(tmp_path / "phone.mp4").frames)
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], times_s, atol=1e-3)


def test_gaps_of_hours_are_kept(tmp_path: Path) -> None:
    """As in a recording that motion triggers."""
    times_s = [0.0, 0.1, 0.2, 7200.0, 7200.1, 90_000.0, 90_000.1]
    writer = VideoWriter(tmp_path / "night.mp4", Size(48, 64), fps=10.0)
    for number, time_s in enumerate(times_s):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8), time_s)
    writer.finish()
    frames = list(open_media(tmp_path / "night.mp4").frames)  # and it does not "end early"
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], times_s, atol=1e-3)


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_trimmed_mp4_is_whole_with_the_frames_that_its_edit_list_shows(
    tmp_path: Path, is_cut_off: bool
) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed (apt install ffmpeg)")
    whole, trimmed = tmp_path / "whole.mp4", tmp_path / "trimmed.mp4"
    made = "testsrc2=size=160x120:rate=25:duration=4"
    command = [program, "-v", "error", "-y"]
    encoding = ["-c:v", "mpeg4", "-g", "250", str(whole)]
    subprocess.run([*command, "-f", "lavfi", "-i", made, *encoding], check=True)
    copying = ["-c", "copy", "-movflags", "faststart", str(trimmed)]
    subprocess.run([*command, "-ss", "1.2", "-i", str(whole), *copying], check=True)
    if is_cut_off:
        trimmed.write_bytes(trimmed.read_bytes()[: trimmed.stat().st_size * 3 // 4])
        frames_before_error(trimmed, TruncatedVideoError, r"ends after \d+ of 70 frames")
        return
    media = open_media(trimmed)
    assert media.frame_count == 70
    assert len(list(media.frames)) == 70


def mkv_of_duration(path: Path, factor: float) -> Path:
    """A Matroska video of 40 frames whose header states a longer duration."""
    data = bytearray(write_video(path, 40).read_bytes())
    position = data.index(b"\x44\x89\x88") + 3
    (duration,) = struct.unpack_from(">d", data, position)
    struct.pack_into(">d", data, position, factor * duration)
    path.write_bytes(data)
    return path


def test_matroska_with_longer_sound_is_not_truncated(tmp_path: Path) -> None:
    path = mkv_of_duration(tmp_path / "song.mkv", 10.0)
    assert len(list(open_media(path).frames)) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames_before_error(path, TruncatedVideoError, r"the video ends after \d+ of 400 frames")


@pytest.mark.parametrize(
    ("name", "codec"), [("even.mp4", "mp4v"), ("even.avi", "MJPG"), ("even.mkv", "mp4v")]
)
def test_constant_frame_rate_gives_equal_intervals(tmp_path: Path, name: str, codec: str) -> None:
    frames = list(open_media(write_video(tmp_path / name, 9, codec=codec, fps=12.0)).frames)
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in frames], np.arange(9) / 12, atol=1e-3
    )


ROTATIONS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
"""Matrix of an MP4 track by its clockwise rotation in degrees."""


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotated_video_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "phone.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (64, 48))
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = 255
    for _ in range(3):
        writer.write(image)
    writer.release()
    data = bytearray(path.read_bytes())
    if degrees:
        a, b, c, d = (value << 16 for value in ROTATIONS[degrees])
        start = data.index(b"tkhd") + 44
        data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    for frame in open_media(path).frames:
        expected = np.rot90(image, -degrees // 90)
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
def test_damaged_frames_are_skipped_and_reported_and_the_others_keep_their_numbers(
    tmp_path: Path, damaged: list[int]
) -> None:
    path = write_video(tmp_path / "walk.avi", 21, codec="MJPG", fps=10.0)
    damage(path, damaged)
    message = (
        rf"{len(damaged)} damaged frames? could not be decoded "
        rf"\(the first is frame {damaged[0]}\); the rest is kept"
    )
    read = frames_before_error(path, DamagedFrameError, message)
    numbers = [number for number in range(21) if number not in damaged]
    assert [frame.index for frame in read] == numbers
    np.testing.assert_allclose(
        [frame.image.mean() for frame in read], [10 * number for number in numbers], atol=4
    )
    first = numbers[0]
    np.testing.assert_allclose(
        [frame.timestamp_s for frame in read], [(n - first) / 10 for n in numbers], atol=1e-6
    )


def audio_file() -> bytes:
    """Return half a second of silence as WAV."""
    data = io.BytesIO()
    with wave.open(data, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    return data.getvalue()


def mp4_with(tmp_path: Path, *, handler: bytes) -> bytes:
    """Return an MP4 whose only track has another handler and no readable frames."""
    data = write_video(tmp_path / "video.mp4", 2).read_bytes()
    data = data.replace(b"mp4v", b"xxxx")
    start = data.index(b"hdlr") + 12
    return data[:start] + handler + data[start + 4 :]


def song_with_cover() -> bytes:
    """Return MP3 of silence whose tag holds an image, which FFmpeg returns as a video."""
    cover = b"\0image/jpeg\0\x03\0" + encoded(".jpg", noise())
    frame = b"APIC" + struct.pack(">IH", len(cover), 0) + cover
    length = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    silence = (b"\xff\xfb\x90\0" + bytes(413)) * 40
    return b"ID3\x03\0\0" + length + frame + silence


@pytest.mark.parametrize("name", ["song.mp3", "song.mp4", "song"])
def test_cover_of_a_song_is_no_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(song_with_cover())
    assert cv2.VideoCapture(str(tmp_path / name), cv2.CAP_FFMPEG).read()[0]
    with pytest.raises(SourceError, match=f"{name}: there is sound but no video track in it"):
        open_media(tmp_path / name)


def test_audio_file_is_rejected(tmp_path: Path) -> None:
    for name, data in {
        "song.wav": audio_file(),
        "song.avi": audio_file(),
        "song.mp3": b"ID3" + bytes(500),
        "song.m4a": mp4_with(tmp_path, handler=b"soun"),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match=f"{name}: there is sound but no video track in it"):
            open_media(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec"), [("none.mp4", "mp4v"), ("none.avi", "MJPG"), ("none.mkv", "mp4v")]
)
def test_video_without_frames_is_rejected(tmp_path: Path, name: str, codec: str) -> None:
    write_video(tmp_path / name, 0, codec=codec)
    with pytest.raises(
        SourceError,
        match=rf"{name}: .* \(a recording that stopped before its first (one|frame)\?\)",
    ):
        open_media(tmp_path / name)
