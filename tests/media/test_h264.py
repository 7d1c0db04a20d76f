"""What only the H.264 encoder does: sound, colors, one index at the end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from slimpose.arrays import Image, Size
from slimpose.media.frame import FrameRange, SoundSource
from slimpose.media.sources import open_media
from slimpose.media.video_writer import VideoWriter

FPS, RATE_HZ = 25, 48_000
BEEP_S = 1.0
"""In the videos below, when the image turns white and a tone starts."""


def beep_video(
    path: Path,
    codec: str = "aac",
    *,
    seconds: float = 2.0,
    delay_s: float = 0,
    at_s: float = BEEP_S,
) -> Path:
    """Write a black video that turns white when a tone starts; the sound starts late by delay."""
    with av.open(path, "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=RATE_HZ, layout="mono")
        form = sound.codec_context.format.name
        for number in range(round(seconds * FPS)):
            level = 255 if number / FPS >= at_s else 0
            image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))
            image.pts = number
            container.mux(video.encode(image))
        container.mux(video.encode(None))
        times_s = delay_s + np.arange(round((seconds - delay_s) * RATE_HZ)) / RATE_HZ
        tone = 0.5 * np.sin(2 * np.pi * 1000 * times_s)
        wave = np.where(times_s >= at_s, tone, 0).astype(np.float32)
        resampler = av.AudioResampler(format=form, layout="mono", rate=RATE_HZ)
        for start in range(0, len(wave), 1024):
            part = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            part.sample_rate, part.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            part.pts = start + round(delay_s * RATE_HZ)
            for converted in resampler.resample(part):
                container.mux(sound.encode(converted))
        container.mux(sound.encode(None))
    return path


def copy_of(source: Path, target: Path) -> Path:
    """Write the frames of a video again, with its sound, as ``predict`` does."""
    media = open_media(source)
    sound = SoundSource(media.path, media.start_s)
    video = VideoWriter(target, Size(48, 64), fps=media.fps, sound=sound)
    for frame in media.frames:
        video.write(frame.image, frame.timestamp_s)
    video.finish()
    return target


def start_of_tone_s(path: Path) -> float:
    with av.open(path) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(np.float64)).max(axis=0) > 0.1)
            if len(loud) and frame.time is not None:
                return frame.time + loud[0] / RATE_HZ
    raise AssertionError("no tone")


def start_of_white_s(path: Path) -> float:
    with av.open(path) as container:
        for frame in container.decode(video=0):
            if frame.to_ndarray(format="gray").mean() > 128 and frame.time is not None:
                return frame.time
    raise AssertionError("not white")


@pytest.mark.parametrize(
    ("codec", "suffix", "delay_s"),
    [
        ("aac", ".mp4", 0.0),
        ("aac", ".mp4", 0.4),  # the sound starts later than the images
        ("libmp3lame", ".avi", 0.0),
        ("libopus", ".mkv", 0.0),
    ],
)
def test_sound_is_copied_and_in_time(
    tmp_path: Path, codec: str, suffix: str, delay_s: float
) -> None:
    source = beep_video(tmp_path / f"a{suffix}", codec, delay_s=delay_s)
    target = copy_of(source, tmp_path / "out.mp4")
    with av.open(source) as before, av.open(target) as after:
        names = [one.streams.audio[0].codec_context.codec.canonical_name for one in (before, after)]
        packets = [sum(bool(it.size) for it in one.demux(audio=0)) for one in (before, after)]
    assert names[0] == names[1]
    assert packets[0] - packets[1] in range(3)  # after the last frame
    late_s, late_before_s = (start_of_tone_s(it) - start_of_white_s(it) for it in (target, source))
    assert late_s == pytest.approx(late_before_s, abs=0.005)
    assert late_s == pytest.approx(0, abs=0.05)


def test_video_that_starts_with_undecodable_frames_keeps_its_sound_in_time(tmp_path: Path) -> None:
    """A transport stream that was cut in the middle starts with frames that nothing decodes."""
    whole = tmp_path / "whole.ts"
    with av.open(beep_video(tmp_path / "a.mp4")) as source, av.open(whole, "w") as target:
        video = target.add_stream("libx264", rate=FPS, options={"g": "15", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = target.add_stream_from_template(source.streams.audio[0])
        for number in range(2 * FPS):
            level = 255 if number / FPS >= BEEP_S else 0
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))
            frame.pts = number
            for packet in video.encode(frame):
                if number >= 5:  # the first key frame is lost
                    target.mux(packet)
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = sound
                target.mux(packet)
    target = copy_of(whole, tmp_path / "out.mp4")
    late_s = start_of_tone_s(target) - start_of_white_s(target)
    assert late_s == pytest.approx(0, abs=0.05)


def test_sound_that_mp4_cannot_hold_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = beep_video(tmp_path / "a.avi", "pcm_s16le")
    with av.open(copy_of(source, tmp_path / "out.mp4")) as written:
        assert not written.streams.audio
    assert "a.avi: the drawn video has no sound: its sound is pcm_s16le" in caplog.text


def test_video_without_sound_has_none(tmp_path: Path) -> None:
    silent = tmp_path / "a.mp4"
    video = VideoWriter(silent, Size(48, 64), fps=25.0)
    for number in range(5):
        video.write(np.full((48, 64, 3), 40 * number, np.uint8), number / 25)
    video.finish()
    with av.open(copy_of(silent, tmp_path / "out.mp4")) as written:
        assert [stream.type for stream in written.streams] == ["video"]


def test_killed_video_has_its_sound_up_to_the_last_frames(tmp_path: Path) -> None:
    media = open_media(beep_video(tmp_path / "a.mp4"))
    sound = SoundSource(media.path, media.start_s)
    video = VideoWriter(tmp_path / "out.mp4", Size(48, 64), fps=25.0, sound=sound)
    for number, frame in enumerate(media.frames):
        video.write(frame.image, frame.timestamp_s)
        if number == 40:
            break
    with av.open(tmp_path / "out.partial.mp4") as written:  # as a kill would leave it
        video_s = max(float(it.pts * it.time_base) for it in written.demux(video=0) if it.size)
    with av.open(tmp_path / "out.partial.mp4") as written:
        sound_s = max(float(it.pts * it.time_base) for it in written.demux(audio=0) if it.size)
    video.discard()
    assert video_s == pytest.approx(1.6, abs=0.1)
    assert sound_s == pytest.approx(1.6, abs=0.1)


def test_colors_are_those_of_the_frames(tmp_path: Path) -> None:
    colors = np.array(
        [[250, 20, 20], [20, 240, 30], [10, 20, 240], [240, 240, 20], [128, 128, 128], [9, 9, 9]],
        np.uint8,
    )
    image: Image = np.repeat(np.repeat(colors[None], 16, axis=1), 48, axis=0)
    video = VideoWriter(tmp_path / "a.mp4", Size(*image.shape[:2]), fps=25.0)
    video.write(image, 0.0)
    video.finish()
    (frame,) = open_media(tmp_path / "a.mp4").frames
    read = frame.image[24, 8::16].astype(int)
    assert np.abs(read - colors).max() <= 14
    with av.open(tmp_path / "a.mp4") as written:  # a reader that heeds the tags
        tagged = next(written.decode(video=0)).to_ndarray(format="rgb24")[24, 8::16].astype(int)
    assert np.abs(tagged - colors).max() <= 14


def test_finished_video_has_one_index_and_its_duration(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    for number, time_s in enumerate([0.0, 0.04, 3.0, 3.001]):
        video.write(np.full((48, 64, 3), 50 * number, np.uint8), time_s)
    assert b"moof" in (tmp_path / "a.partial.mp4").read_bytes()
    video.finish()
    with av.open(tmp_path / "a.mp4") as written:
        assert written.streams.video[0].frames == 4
        assert float(written.duration) / 1e6 == pytest.approx(3.041, abs=1e-3)


def test_part_of_a_video_has_the_sound_of_that_part(tmp_path: Path) -> None:
    source = beep_video(tmp_path / "a.mp4", seconds=9.0, at_s=7.0)
    media = open_media(source, FrameRange(start_s=6.0, end_s=8.0))
    video: VideoWriter | None = None
    for frame in media.frames:
        if video is None:
            sound = SoundSource(source, media.start_s + frame.timestamp_s)
            video = VideoWriter(tmp_path / "out.mp4", Size(48, 64), fps=25.0, sound=sound)
        video.write(frame.image, frame.timestamp_s)
    assert video is not None
    video.finish()
    target = tmp_path / "out.mp4"
    assert start_of_white_s(target) == pytest.approx(1.0, abs=1e-3)
    assert start_of_tone_s(target) == pytest.approx(1.0, abs=0.03)
    with av.open(target) as written:
        assert float(written.duration) / 1e6 == pytest.approx(2.0, abs=0.05)


def test_gap_longer_than_mp4_holds_is_shortened_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = VideoWriter(tmp_path / "a.mp4", Size(48, 64), fps=25.0)
    for number, time_s in enumerate([0.0, 1e6, 1e6 + 0.04]):
        video.write(np.full((48, 64, 3), 50 * number, np.uint8), time_s)
    video.finish()
    times_s = [frame.timestamp_s for frame in open_media(tmp_path / "a.mp4").frames]
    assert times_s[1] == pytest.approx(24.85 * 3600, rel=0.01)
    assert "a gap of 278 hours is shortened to 24.8" in caplog.text
