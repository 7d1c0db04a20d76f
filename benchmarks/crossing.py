"""Time bottom-up and top-down pose estimation by the number of people, and find the crossing.

    python benchmarks/crossing.py --bottom-up graph_opt.pb lightweight-openpose \
        --out docs/images/crossing.svg

Top-down: the shipped detector and pose model, with the detector in every image or in one of eight,
as in videos. Bottom-up: files that ``slimpose compare`` takes, grouping included; a network of
``slimpose cost`` gets random weights and is timed without grouping, which would find no people.
Images are 1280x720, with people from photos; all calls are interleaved in one process. The last
line is JSON: figures, processor, versions, commit.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np

from slimpose.adapters.open_model import open_model
from slimpose.adapters.part_affinity import BottomUpEstimator
from slimpose.arrays import Image
from slimpose.cli.arguments import run
from slimpose.compare.plot import new_pyplot, save_figure
from slimpose.compare.systems import random_weights
from slimpose.measure.synthetic_video import extract_people, make_video
from slimpose.runtime import models
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.sample_photos import sample_photos_folder
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

_DETECT_EVERY = 8
_DETECTOR, _POSE = "detector", "mnv2"


def main(
    bottom_up: tuple[str, ...] = ("lightweight-openpose",),
    people: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10),
    threads: int = 1,
    rounds: int = 30,
    seconds: float = 240.0,
    photos: Path | None = None,
    out: Path | None = None,
) -> None:
    """Time both kinds of models by the number of people.

    Args:
        bottom_up: Models for whole images.
        people: Numbers of people in the image, ascending.
        threads: CPU threads.
        rounds: Timed calls of each model.
        seconds: No further round starts after this time.
        photos: Folder of photos with people; the sample photos by default.
        out: SVG or PNG file for the plot (needs matplotlib).
    """
    if rounds < 1 or not people or list(people) != sorted(set(people)) or people[0] < 1:
        sys.exit(
            f"--rounds {rounds}, --people {people}; "
            "expected 1 or more, and ascending numbers of 1 or more"
        )
    folder = photos or sample_photos_folder()
    ms = _median_ms(folder, people, bottom_up, threads=threads, rounds=rounds, seconds=seconds)
    detector, pose = np.array(ms[_DETECTOR]), np.array(ms[_POSE])
    lines = {
        "top-down, detector in every image": detector + pose,
        f"top-down, in 1 of {_DETECT_EVERY}": detector / _DETECT_EVERY + pose,
    }
    top_down = list(lines)
    lines |= {_label(name): np.array(ms[name]) for name in bottom_up}
    crossings = {
        f"{other}; {name}": _crossing(people, lines[name], lines[other])
        for other in list(lines)[len(top_down) :]
        for name in top_down
    }
    _print(people, lines, crossings, threads)
    if out is not None:
        _plot(people, lines, out, threads)
    figures = {name: [round(float(value), 2) for value in values] for name, values in lines.items()}
    about = {**machine.about(), "people": people, "threads": threads}
    print(json.dumps({**about, "ms": figures, "crossings": crossings}))


def _median_ms(
    photos: Path,
    people: tuple[int, ...],
    bottom_up: tuple[str, ...],
    *,
    threads: int,
    rounds: int,
    seconds: float,
) -> dict[str, list[float]]:
    """Median milliseconds per image of each model, for each number of people."""
    detector = Detector(Session(models.resolve(models.DEFAULT_DETECTOR), threads=threads))
    estimator = PoseEstimator(Session(models.resolve(_POSE), threads=threads))
    patches = extract_people(photos, detector)
    calls: dict[str, Callable[[], object]] = {}
    for count in people:
        video = make_video(patches, count, frames=1)
        image, boxes = video.frame(0), video.boxes_image[0]
        calls[f"{_DETECTOR} {count}"] = functools.partial(detector, image)
        calls[f"{_POSE} {count}"] = functools.partial(estimator, image, boxes)
        for name in bottom_up:
            calls[f"{name} {count}"] = functools.partial(_bottom_up(name, threads), image)
    times = time_interleaved(calls, rounds=rounds, warm_up=2, seconds=seconds)
    return {
        name: [times[f"{name} {count}"].median_ms for count in people]
        for name in (_DETECTOR, _POSE, *bottom_up)
    }


def _print(
    people: tuple[int, ...],
    lines: dict[str, np.ndarray],
    crossings: dict[str, float | None],
    threads: int,
) -> None:
    head = f"ms per image, {threads} thread{'s' * (threads > 1)}"
    print(f"| {head} | {' | '.join(map(str, people))} |")
    print("|---" * (len(people) + 1) + "|")
    for name, values in lines.items():
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")
    for name, count in crossings.items():
        where = f"as fast at {count:.1f} people" if count else f"not up to {people[-1]} people"
        print(f"{name}: {where}")


@functools.cache
def _bottom_up(name: str, threads: int) -> Callable[[Image], object]:
    if Path(name).is_file():
        return BottomUpEstimator(open_model(Path(name), threads=threads))
    model = Session(random_weights(name), threads=threads)

    def run_network(image: Image) -> object:
        canvas, _ = fit_canvas(image, model.info.size, model.info.fit)
        return model.run(canvas[None], model.outputs)

    return run_network


def _label(name: str) -> str:
    return Path(name).stem if Path(name).is_file() else f"{name} (random weights, without grouping)"


def _crossing(people: tuple[int, ...], first: np.ndarray, second: np.ndarray) -> float | None:
    """The number of people from which the second is faster, interpolated; None if it never is."""
    slower = np.nonzero(first > second)[0]
    if len(slower) == 0:
        return None
    after = int(slower[0])
    if after == 0:
        return float(people[0])
    gap = (second - first)[after - 1 : after + 1]
    low, high = people[after - 1], people[after]
    return float(low + (high - low) * gap[0] / (gap[0] - gap[1]))


def _plot(people: tuple[int, ...], lines: dict[str, np.ndarray], path: Path, threads: int) -> None:
    figure, axes = new_pyplot().subplots(figsize=(8, 5))
    for (name, values), style in zip(
        lines.items(), ("-o", "--o", "-s", "--^", ":d", "-.v"), strict=False
    ):
        axes.plot(people, values, style, color="black", markerfacecolor="white", label=name)
    axes.set_xlabel("people in the image")
    axes.set_ylabel(f"ms per image, {threads} thread{'s' * (threads > 1)}")
    axes.set_ylim(bottom=0)
    axes.grid(color="0.88")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
