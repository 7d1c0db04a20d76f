"""Several sources at once: frames a second of ``slimpose live`` beside what ``slimpose benchmark`` predicts.

    python benchmarks/live_rate.py --sources 3 --people 3

Each source is the video file of the made film that the benchmark goes through (1280x720, Motion
JPEG, people cut out of photos). The prediction is the benchmark's for one camera: three cameras
share its frames. ``live`` runs as users run it, in a process of its own, with drawing off and JSON
lines on; its rate is that between two of its frames, start-up left out. Predicted before and after,
for a noisy machine. The detector's own boxes count in ``live``, the film's in the prediction, so
the people looked at are told too. The last line is JSON: figures, processor, versions, commit.
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
import tyro

from slimpose.measure.pipeline_latency import time_pipeline
from slimpose.measure.synthetic_video import (
    SIZE,
    SyntheticVideo,
    extract_people,
    make_video,
    sample_photos_folder,
)
from slimpose.runtime import models
from slimpose.runtime.detector import Detector
from slimpose.runtime.session import Session

_FPS = 25
_ROUNDS = 20
"""Of the made film in a file: looping costs a reopening each time."""


def main(
    sources: int = 3,
    people: int = 3,
    threads: int = 2,
    seconds: float = 20.0,
    photos: Path | None = None,
) -> None:
    """Measure.

    Args:
        sources: How many at once.
        people: In each picture.
        threads: CPU threads.
        seconds: How long each of the three measurements takes.
        photos: Folder whose people are cut out; a checkout's sample photos by default.
    """
    folder = photos or sample_photos_folder()
    if folder is None or sources < 1 or people < 1 or seconds <= 0:
        sys.exit(
            f"--photos {folder}, --sources {sources}, --people {people}, --seconds {seconds:g}; expected photos, 1.."
        )
    cv2.setNumThreads(threads)
    detector = Session(models.resolve(models.DEFAULT_DETECTOR), threads=threads)
    pose = Session(models.resolve("mnv2"), threads=threads)
    film = make_video(extract_people(folder, Detector(detector)), people)

    def predicted() -> float:
        return time_pipeline(pose, detector, film, seconds=seconds).fps

    with tempfile.TemporaryDirectory() as made:
        file = _written(film, Path(made) / "film.avi")
        before = predicted()
        arrivals, looked_at = _live([file] * sources, threads=threads, seconds=seconds)
        after = predicted()
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    expected = (before + after) / 2
    print(f"predicted {before:.1f} and {after:.1f} frames/s, {people} people in each")
    print(f"live, {sources} sources: {rate:.1f} frames/s together, {looked_at:.2f} people in each")
    print(f"{rate / expected:.2f} of what was predicted")
    figures = {
        "predicted_fps": [round(before, 2), round(after, 2)],
        "live_fps": round(rate, 2),
        "people": looked_at,
    }
    print(json.dumps({**machine.about(), "sources": sources, "threads": threads, **figures}))


def _written(film: SyntheticVideo, path: Path) -> Path:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, (SIZE.width, SIZE.height)
    )
    for number in range(_ROUNDS * len(film.jpegs)):
        writer.write(cv2.cvtColor(film.frame(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def _live(files: list[Path], *, threads: int, seconds: float) -> tuple[list[float], float]:
    """When each frame was done and the mean number of people in one; the first fifth is left out."""
    options = f"--loop --jsonl - --threads {threads} --seconds {1.25 * seconds}"
    words = ["live", *map(str, files), *options.split()]
    process = subprocess.Popen(
        [sys.executable, "-c", "from slimpose.cli.main import main; main()", *words],
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
            f"slimpose {' '.join(words)} ended with {process.returncode} after {len(arrivals)} frames"
        )
    kept = len(arrivals) // 5
    return arrivals[kept:], sum(people[kept:]) / len(people[kept:])


if __name__ == "__main__":
    tyro.cli(main)
