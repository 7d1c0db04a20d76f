"""A process that is forked after models were opened runs them, and ends."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import slimpose
from run_cli import frames_in, run_program, write_walk
from slimpose.arrays import Size
from synthetic_models import dot_image, write_pose_model

BACKENDS = ("onnxruntime", *(("openvino",) if find_spec("openvino") else ()))
PROGRAM = """
import os, sys
import numpy as np
import slimpose

threads = int(sys.argv[2]) or None
pipeline = slimpose.load(threads=threads, backend=sys.argv[1])
image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
boxes = np.array([[10, 10, 90, 110]], np.float32)
before = pipeline(image, boxes).points_image
child = os.fork()
if child == 0:
    if sys.argv[3] == "runs":
        assert np.allclose(pipeline(image, boxes).points_image, before, atol=0.01)
    sys.exit(7)
_, status = os.waitpid(child, 0)
print("ended with", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("threads", ["0", "1", "2"])
@pytest.mark.parametrize("use", ["runs", "ends"])
def test_forked_process_ends(backend: str, threads: str, use: str) -> None:
    done = run_program(PROGRAM, backend, threads, use)
    assert done.stdout == "ended with 7\n", done.stderr


FORKED = """
import os, sys
from pathlib import Path
import numpy as np
from slimpose.arrays import Size
from slimpose.media.frame import Frame
from slimpose.media.sources import open_media
from slimpose.media.video_writer import VideoWriter
from slimpose.runtime.multi_camera import CameraGroup

folder, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "unread":
    media = open_media(folder / "walk.avi")
elif kind == "read":
    frames = iter(open_media(folder / "walk.avi").frames)
    next(frames)
elif kind == "streams":
    cameras = CameraGroup(str(folder / "walk.avi"), loop=True).__enter__()
    cameras.take(5.0)
else:
    writer = VideoWriter(folder / "out.mp4", Size(96, 96), fps=25)
    writer.write(np.zeros((96, 96, 3), np.uint8), 0.0)
child = os.fork()
if child == 0:
    if kind == "read":
        try:
            next(frames)
        except ValueError as error:
            assert "before this process was forked" in str(error), error
    sys.exit(7)
_, status = os.waitpid(child, 0)
print("ended with", os.waitstatus_to_exitcode(status))
if kind == "writer":
    writer.finish()
if kind == "streams":
    cameras.__exit__(None, None, None)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("kind", ["unread", "read", "streams", "writer"])
def test_process_forked_with_open_decoders_and_encoders_ends(tmp_path: Path, kind: str) -> None:
    """Their threads are not in the fork; closing them there waited forever."""
    write_walk(tmp_path / "walk.avi", 30)
    done = run_program(FORKED, tmp_path, kind)
    assert done.stdout == "ended with 7\n", done.stderr
    if kind == "writer":
        assert frames_in(tmp_path / "out.mp4") == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_may_use_one_model_at_once(tmp_path: Path, backend: str) -> None:
    """OpenVINO's request was busy, and LiteRT's interpreter would mix up their inputs."""
    pose = write_pose_model(tmp_path / "pose.onnx")
    pipeline = slimpose.load(pose, detector=None, backend=backend)
    images = [dot_image(Size(96, 96), x, 40) for x in (20, 40, 60, 75)]
    box = np.array([[0, 0, 90, 90]], np.float32)
    expected = [pipeline(image, box).points_image for image in images]

    def points(number: int) -> np.ndarray:
        return pipeline(images[number % 4], box).points_image

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(points, range(80))):
            np.testing.assert_allclose(found, expected[number % 4], atol=0.01)
