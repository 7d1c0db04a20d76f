"""Daemon threads of a user's program that are in C++ when it ends; they aborted it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from run_cli import run_program, write_walk
from slimpose.interpreter_end import each_finished_at_exit, finished_at_exit
from synthetic_models import write_pose_model

PROGRAM = """
import sys, threading, time
from pathlib import Path
import numpy as np
import slimpose
from slimpose.media.sources import open_media

folder, kind = Path(sys.argv[1]), sys.argv[2]
pipeline = slimpose.load(folder / "pose.onnx", detector=None)
image = np.zeros((720, 1280, 3), np.uint8)
boxes = np.array([[0, 0, 700, 700]] * 6, np.float32)
started = threading.Barrier(4)

def estimate():
    pipeline(image, boxes)

def decode():
    for frame in open_media(folder / "walk.avi").frames:
        pass

def repeat(action):
    action()
    started.wait()
    while True:
        action()

for _ in range(3):
    threading.Thread(target=repeat, args=(globals()[kind],), daemon=True).start()
started.wait()
time.sleep(0.05)
"""


@pytest.mark.parametrize("kind", ["estimate", "decode"])
def test_program_with_daemon_threads_ends(tmp_path: Path, kind: str) -> None:
    write_pose_model(tmp_path / "pose.onnx")
    write_walk(tmp_path / "walk.avi", 60)
    for _ in range(2):
        done = run_program(PROGRAM, tmp_path, kind)
        assert (done.returncode, done.stderr) == (0, "")


def test_blocks_may_be_nested_and_errors_pass() -> None:
    found: list[object] = []

    def work() -> None:
        with finished_at_exit():
            found.extend(each_finished_at_exit(iter([1, 2])))
        try:
            with finished_at_exit():
                raise ValueError("bad")
        except ValueError as error:
            found.append(str(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    work()
    assert found == [1, 2, "bad"] * 2
