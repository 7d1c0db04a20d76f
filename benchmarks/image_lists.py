"""Measure what a list of images saves: ``pose(paths)`` against ``[pose(path) for path in paths]``.

    python benchmarks/image_lists.py --images 20 --people 5

The images are JPEG files (1280x720) with people from the sample photos. Both ways alternate, so
that a busy machine slows them alike. The processor time is that of all threads: what the work
costs. The last line is JSON: figures, processor, versions, commit.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import machine

import slimpose
from slimpose.cli.arguments import run
from slimpose.measure.synthetic_video import make_video, sample_people
from slimpose.runtime.timing import CallTimes, time_interleaved

CLOCKS = {"elapsed": time.perf_counter, "processor": time.process_time}


def main(images: int = 20, people: int = 5, rounds: int = 5, threads: int | None = None) -> None:
    """Measure both ways.

    Args:
        images: Number of images.
        people: Number of people per image.
        rounds: Timed rounds.
        threads: CPU threads; all by default.
    """
    times, found = measure(images, people, rounds=rounds, threads=threads)
    print(f"{images} images, {found:.1f} people found in each; ms per image, best and median")
    figures: dict[str, dict[str, float]] = {}
    for (clock, way), each in times.items():
        best, median = each.min_ms / images, each.median_ms / images
        print(f"{clock:10} {way:12} {best:7.1f} {median:7.1f}")
        figures[f"{clock} {way}"] = {"best_ms": round(best, 2), "median_ms": round(median, 2)}
    print(json.dumps({"images": images, "people": people, **figures, **machine.about()}))


def measure(
    images: int, people: int, *, rounds: int, threads: int | None = None
) -> tuple[dict[tuple[str, str], CallTimes], float]:
    """Return the times of all images by clock and way, and the mean number of people found."""
    pose = slimpose.load(threads=threads)
    assert pose.detector is not None
    video = make_video(sample_people(None, pose.detector)[0], people, frames=images)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:03d}.jpg" for number in range(images)]
        for path, jpeg in zip(paths, video.jpegs, strict=True):
            path.write_bytes(jpeg)
        ways = {"a list": lambda: pose(paths), "one by one": lambda: [pose(path) for path in paths]}
        found = sum(map(len, pose(paths))) / images
        times = {
            (clock, way): each
            for clock, clock_s in CLOCKS.items()
            for way, each in time_interleaved(
                ways, rounds=rounds, warm_up=1, clock_s=clock_s
            ).items()
        }
    return times, found


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
