"""Bottom-up against top-down: milliseconds a picture by people in it, and from how many people on the other is faster.

    python benchmarks/crossing.py --bottom-up graph_opt.pb lightweight-openpose --out
    docs/images/crossing.svg

Top-down: the shipped detector and pose model, the detector in every picture or in one of eight, as
videos are gone through. Bottom-up: files that ``slimpose compare`` takes, grouping included; a name
of ``slimpose cost`` is made with random weights, and timed without grouping, which would find
nobody. Pictures are 1280x720, with people cut out of photos; all calls take turns in one process.
The last line is JSON: figures, processor, versions, commit.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import tyro

from slimpose.adapters.bottom_up import BottomUpEstimator
from slimpose.adapters.open_model import open_pose_model
from slimpose.arrays import Image
from slimpose.compare.systems import random_weights
from slimpose.compare.plot import new_pyplot, save_figure
from slimpose.measure.synthetic_video import cut_out_people, make_video, photos_folder
from slimpose.runtime import models
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.letterbox import letterbox
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

_ONE_IN = 8
_FIND, _LOOK = "detector", "mnv2"


def main(
    bottom_up: tuple[str, ...] = ("lightweight-openpose",),
    people: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10),
    threads: int = 1,
    rounds: int = 30,
    seconds: float = 240.0,
    photos: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure.

    Args:
        bottom_up: Models for whole images.
        people: Numbers of people in the picture, rising.
        threads: CPU threads.
        rounds: Timed calls of each.
        seconds: No further round begins after so long.
        photos: Folder whose people are cut out; a checkout's sample photos by default.
        out: SVG or PNG file to draw (needs matplotlib).
    """
    if rounds < 1 or not people or list(people) != sorted(set(people)) or people[0] < 1:
        sys.exit(
            f"--rounds {rounds}, --people {people}; expected 1 or more, and rising numbers of 1 or more"
        )
    folder = photos or photos_folder()
    if folder is None:
        sys.exit("there are no sample photos here; expected --photos DIR")
    detector = Detector(Session(models.resolve(models.DEFAULT_DETECTOR), threads=threads))
    estimator = PoseEstimator(Session(models.resolve(_LOOK), threads=threads))
    patches = cut_out_people(folder, detector)
    films = {count: make_video(patches, count, frames=1) for count in people}
    calls: dict[str, Callable[[], object]] = {}
    for count, film in films.items():
        image, boxes = film.picture(0), film.boxes_image[0]
        calls[f"{_FIND} {count}"] = functools.partial(detector, image)
        calls[f"{_LOOK} {count}"] = functools.partial(estimator, image, boxes)
        for name in bottom_up:
            calls[f"{name} {count}"] = functools.partial(_bottom_up(name, threads), image)
    timed = time_interleaved(calls, rounds=rounds, warm_up=2, seconds=seconds)
    ms = {
        name: [timed[f"{name} {count}"].median_ms for count in people]
        for name in (_FIND, _LOOK, *bottom_up)
    }
    lines = {
        "top-down, detector in every picture": np.add(ms[_FIND], ms[_LOOK]),
        f"top-down, in 1 of {_ONE_IN}": np.add(np.divide(ms[_FIND], _ONE_IN), ms[_LOOK]),
        **{_told(name): np.array(ms[name]) for name in bottom_up},
    }
    print(
        f"| ms a picture, {threads} thread{'s' * (threads > 1)} | {' | '.join(map(str, people))} |"
    )
    print("|---" * (len(people) + 1) + "|")
    for name, values in lines.items():
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")
    ours = list(lines)[:2]
    crossings = {
        f"{other}; {mine}": _crossing(people, lines[mine], lines[other])
        for other in list(lines)[2:]
        for mine in ours
    }
    for name, count in crossings.items():
        print(
            f"{name}: "
            + (f"as fast at {count:.1f} people" if count else f"not up to {people[-1]} people")
        )
    if out is not None:
        _plot(people, lines, out, threads)
    figures = {name: [round(float(value), 2) for value in values] for name, values in lines.items()}
    print(
        json.dumps(
            {
                **machine.about(),
                "people": people,
                "threads": threads,
                "ms": figures,
                "crossings": crossings,
            }
        )
    )


@functools.cache
def _bottom_up(name: str, threads: int) -> Callable[[Image], object]:
    if Path(name).is_file():
        return BottomUpEstimator(open_pose_model(Path(name), threads=threads))
    model = Session(random_weights(name), threads=threads)

    def net_alone(image: Image) -> object:
        canvas, _ = letterbox(image, model.info.size)
        return model.run(canvas[None], model.outputs)

    return net_alone


def _told(name: str) -> str:
    return Path(name).stem if Path(name).is_file() else f"{name} (random weights, without grouping)"


def _crossing(people: tuple[int, ...], mine: np.ndarray, other: np.ndarray) -> float | None:
    """The number of people, between those measured, from which on the other is faster; None if it never is."""
    slower = np.nonzero(mine > other)[0]
    if len(slower) == 0:
        return None
    first = int(slower[0])
    if first == 0:
        return float(people[0])
    gap = (other - mine)[first - 1 : first + 1]
    return float(
        people[first - 1] + (people[first] - people[first - 1]) * gap[0] / (gap[0] - gap[1])
    )


def _plot(people: tuple[int, ...], lines: dict[str, np.ndarray], path: Path, threads: int) -> None:
    figure, axes = new_pyplot().subplots(figsize=(8, 5))
    for (name, values), style in zip(
        lines.items(), ("-o", "--o", "-s", "--^", ":d", "-.v"), strict=False
    ):
        axes.plot(people, values, style, color="black", markerfacecolor="white", label=name)
    axes.set_xlabel("people in the picture")
    axes.set_ylabel(f"ms a picture, {threads} thread{'s' * (threads > 1)}")
    axes.set_ylim(bottom=0)
    axes.grid(color="0.88")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    tyro.cli(main)
