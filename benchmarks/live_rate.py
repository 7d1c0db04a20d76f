"""Compare the frame rate of ``slimpose live`` with the prediction of ``slimpose benchmark``.

    python benchmarks/live_rate.py --sources 3 --people 3

Each source is a file of the benchmark's synthetic video (1280x720, Motion JPEG, people from
photos). The prediction is the benchmark's for one camera, whose frame rate the sources share.
``live`` runs in a process of its own, without drawing and with JSON lines; its rate is measured
between its frames, without start-up. The prediction is made before and after, because a machine can
be noisy. ``live`` uses the detector's own boxes, the prediction those of the video, so the numbers
of people are printed too. The last line is JSON: figures, processor, versions, commit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import machine

from slimpose.cli.arguments import run
from slimpose.measure.pipeline_latency import time_pipeline
from slimpose.measure.synthetic_video import (
    SIZE,
    SyntheticVideo,
    extract_people,
    make_video,
)
from slimpose.runtime import models
from slimpose.runtime.detector import Detector
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.runtime.session import Session

_FPS = 25
_ROUNDS = 20
"""Repetitions of the video in a file, because looping reopens the file each time."""


def main(
    sources: int = 3,
    people: int = 3,
    threads: int = 2,
    seconds: float = 20.0,
    photos: Path | None = None,
) -> None:
    """Measure the frame rate.

    Args:
        sources: Number of simultaneous sources.
        people: Number of people per image.
        threads: CPU threads.
        seconds: Duration of each of the three measurements.
        photos: Folder of photos with people; the sample photos by default.
    """
    folder = photos or sample_photos_folder()
    if sources < 1 or people < 1 or seconds <= 0:
        sys.exit(
            f"--sources {sources}, --people {people}, --seconds {seconds:g}; "
            "expected 1 or more, 1 or more, more than 0"
        )
    cv2.setNumThreads(threads)
    detector = Session(models.resolve(models.DEFAULT_DETECTOR), threads=threads)
    pose = Session(models.resolve("mnv2"), threads=threads)
    video = make_video(extract_people(folder, Detector(detector)), people)

    def predicted_fps() -> float:
        return time_pipeline(pose, detector, video, seconds=seconds).fps

    with tempfile.TemporaryDirectory() as folder:
        file = _write_video(video, Path(folder) / "video.avi")
        before = predicted_fps()
        arrivals, people_live = _live([file] * sources, threads=threads, seconds=seconds)
        after = predicted_fps()
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    expected = (before + after) / 2
    print(f"predicted {before:.1f} and {after:.1f} frames/s, {people} people per frame")
    print(
        f"live, {sources} sources: {rate:.1f} frames/s in all, {people_live:.2f} people per frame"
    )
    print(f"{rate / expected:.2f} of the prediction")
    figures = {
        "predicted_fps": [round(before, 2), round(after, 2)],
        "live_fps": round(rate, 2),
        "people": people_live,
    }
    print(json.dumps({**machine.about(), "sources": sources, "threads": threads, **figures}))


def _write_video(video: SyntheticVideo, path: Path) -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, (SIZE.width, SIZE.height)
    )
    for number in range(_ROUNDS * len(video.jpegs)):
        writer.write(cv2.cvtColor(video.frame(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def _live(files: list[Path], *, threads: int, seconds: float) -> tuple[list[float], float]:
    """Completion times of the frames and mean number of people, without the first fifth."""
    options = f"--loop --jsonl - --threads {threads} --seconds {1.25 * seconds}"
    arguments = ["live", *map(str, files), *options.split()]
    process = subprocess.Popen(
        [sys.executable, "-c", "from slimpose.cli.main import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    arrivals, people = [], []
    for line in process.stdout:
        arrivals.append(time.monotonic())
        people.append(len(json.loads(line)["people"]))
    if process.wait() or len(arrivals) < 10:
        sys.exit(
            f"slimpose {' '.join(arguments)} ended with {process.returncode} "
            f"after {len(arrivals)} frames"
        )
    kept = len(arrivals) // 5
    return arrivals[kept:], sum(people[kept:]) / len(people[kept:])


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
