from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from slimpose.media.addresses import SourceError
from slimpose.media.frame import Frame
from slimpose.media.interlaced import MAY_FAIL
from slimpose.media.sources import open_media
from slimpose.media.video_reader import UnreadFramesError


def interlaced(path: Path, *, progressive_frames: int) -> Path:
    """Write MPEG-2 video of which all but the first frames are interlaced."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed (apt install ffmpeg)")
    parts: list[bytes] = []
    for start, count, flags in [
        (0, progressive_frames, []),
        (progressive_frames, 12, ["-flags", "+ilme+ildct"]),
    ]:
        if count:
            made = f"testsrc2=size=160x120:rate=25:duration={count / 25}"
            command = [program, "-v", "error", "-y", "-f", "lavfi", "-i", made]
            command += ["-c:v", "mpeg2video", *flags, "-output_ts_offset", str(start / 25)]
            subprocess.run([*command, "-f", "mpegts", str(path)], check=True)
            parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("name", ["video.ts", "50%d.ts"])
def test_interlaced_video_is_never_returned_as_what_the_buffer_held(
    tmp_path: Path, name: str
) -> None:
    path = interlaced(tmp_path / name, progressive_frames=0)
    if MAY_FAIL:
        with pytest.raises(SourceError, match="it is interlaced, which OpenCV"):
            open_media(path)
    else:
        frames = list(open_media(path).frames)
        assert len({frame.image.tobytes() for frame in frames}) == len(frames) == 12


def test_video_that_becomes_interlaced_returns_the_frames_before(tmp_path: Path) -> None:
    path = interlaced(tmp_path / "video.ts", progressive_frames=10)
    frames: list[Frame] = []
    with contextlib.suppress(UnreadFramesError):
        frames.extend(open_media(path).frames)
    assert len(frames) >= 10
    assert len({frame.image.tobytes() for frame in frames}) == len(frames)


def test_video_of_one_image_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (160, 120))
    for _ in range(9):
        writer.write(np.full((120, 160, 3), 90, np.uint8))
    writer.release()
    assert len(list(open_media(path).frames)) == 9
