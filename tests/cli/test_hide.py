"""``--hide`` in ``predict`` and ``live``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from run_cli import Capture, in_work_folder, json_records, write_dot, write_walk
from slimpose.hide import FILL_RGB
from slimpose.media.images import read_image
from slimpose.media.sources import open_media

Run = Callable[..., int]


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return in_work_folder("predict", tmp_path, monkeypatch)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return in_work_folder("live", tmp_path, monkeypatch)


def test_person_in_an_image_is_hidden(predict: Run, capsys: Capture) -> None:
    write_dot("a.png", 50, 40)
    assert predict("a.png", "--hide", "people", "--json", "p.json") == 0
    drawn = read_image(Path("out/a.png"))
    assert (drawn[33:37, 42:46] == FILL_RGB).all()  # of the box, next to the drawn pose
    assert (read_image(Path("a.png"))[33:37, 42:46] != FILL_RGB).any()
    assert len(json_records(Path("p.json"))) == 1  # text outputs stay
    assert "people hidden in 1 frames; in 0 of them someone had no pose" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--no-track"], ["--black-background"]])
def test_dot_of_no_frame_of_a_video_is_shown(predict: Run, options: list[str]) -> None:
    """The dot is the brightest thing in the source; drawn lines are as bright, so none are."""
    write_walk("a.avi", 40)
    nothing = ["--keypoint-threshold", "1", "--no-draw-boxes", "--no-draw-labels"]
    assert predict("a.avi", "--hide", "faces", *nothing, *options) == 0
    frames = [frame.image for frame in open_media(Path("out/a.mp4")).frames]
    assert len(frames) == 40
    assert max(int(image.max()) for image in frames) < 150
    assert predict("a.avi", *nothing) == 0
    assert all(frame.image.max() > 180 for frame in open_media(Path("out/a.mp4")).frames)


def test_videos_and_mosaic_of_live_have_hidden_people_only(live: Run, capsys: Capture) -> None:
    write_walk("a.avi", 20)
    nothing = ["--keypoint-threshold", "1", "--no-draw-boxes", "--no-draw-labels"]
    assert live("a.avi", "--hide", "heads", "--out", "v", "--mosaic", "m.mp4", *nothing) == 0
    for frame in open_media(Path("v/camera-0.mp4")).frames:
        assert frame.image.max() < 150
    for frame in open_media(Path("m.mp4")).frames:
        assert frame.image[60:, 100:].max() < 150  # below the name
    assert "heads hidden in 20 frames" in capsys.readouterr().out


def test_sound_is_copied_unless_people_are_hidden(predict: Run) -> None:
    write_walk("walk.avi", 20)
    with av.open("walk.avi") as images, av.open("a.mp4", "w") as both:
        video = both.add_stream("mpeg4", rate=25)
        video.width = video.height = 96
        video.pix_fmt = "yuv420p"
        sound = both.add_stream("aac", rate=48_000, layout="mono")
        for frame in images.decode(video=0):
            both.mux(video.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"))))
        for start in range(0, 38_400, 1024):
            part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            part.sample_rate, part.pts = 48_000, start
            both.mux(sound.encode(part))
        both.mux(video.encode(None))
        both.mux(sound.encode(None))
    for options, kinds in (([], ["video", "audio"]), (["--hide", "faces"], ["video"])):
        assert predict("a.mp4", *options) == 0
        with av.open("out/a.mp4") as written:
            assert [stream.type for stream in written.streams] == kinds


def test_people_of_given_boxes_are_hidden(predict: Run) -> None:
    write_dot("1.png", 50, 40)
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [40, 25, 20, 30], "score": 1.0}]
    Path("boxes.json").write_text(str(boxes).replace("'", '"'))
    assert predict("1.png", "--boxes", "boxes.json", "--hide", "people") == 0
    assert (read_image(Path("out/1.png"))[26:30, 41:45] == FILL_RGB).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hide", "hands"], "--hide is 'hands'; expected faces or heads or people"),
        (["--hide", "faces", "--no-draw", "--json", "p.json"], "--hide is about drawings"),
    ],
)
def test_invalid_use_is_rejected(
    predict: Run, capsys: Capture, options: list[str], message: str
) -> None:
    assert cv2.imwrite("a.png", np.zeros((64, 64, 3), np.uint8))
    assert predict("a.png", *options) == 2
    assert message in capsys.readouterr().err
