"""Which models, precision, backend, threads and detection interval keep up with so many people, cameras, pictures.

Everything follows from a few measured times: a step (one picture of every camera) takes

    cameras * (picture + people * crop) + call + cameras * people * person + cameras / detect_every
    * detect

milliseconds, and there are 1000 / fps of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slimpose.runtime.auto_backend import BackendChoice

INTERVALS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
GOOD_INTERVAL = 8
"""Up to this the better model comes first; a longer interval is worse than a lesser model."""
MOST_PEOPLE, MOST_CAMERAS, MOST_FPS = 200, 64, 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be kept up with: people in a picture, cameras, pictures a second of each.

    Raises:
        ValueError: If a number is out of bounds.
    """

    people: int
    cameras: int
    fps: float

    def __post_init__(self) -> None:
        bounds = (("people", self.people, MOST_PEOPLE), ("cameras", self.cameras, MOST_CAMERAS))
        for name, count, most in bounds:
            if not 1 <= count <= most:
                raise ValueError(f"{name} is {count}; expected 1..{most}")
        if not 0 < self.fps <= MOST_FPS:
            raise ValueError(
                f"fps is {self.fps:g}; expected pictures a second, over 0 and up to {MOST_FPS:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A pose model in a backend and precision with so many threads, and what was measured of it, in milliseconds.

    Attributes:
        path: The pose model's file.
        model: Its name.
        quality: The higher, the more accurate the pose model is taken to be.
        detector: The detector's file.
        detector_quality: As ``quality``.
        choice: Backend and precision, of the detector too.
        precision: As computed, such as "fp32".
        threads: CPU threads.
        call_ms: A call of the pose net, whoever is in it.
        person_ms: Further, each person.
        detect_ms: The detector's, a picture.
        picture_ms: Decoding and tracking, a picture.
        crop_ms: Cutting out one person.
    """

    path: Path
    model: str
    quality: float
    detector: Path
    detector_quality: float
    choice: BackendChoice
    precision: str
    threads: int
    call_ms: float
    person_ms: float
    detect_ms: float
    frame_ms: float
    crop_ms: float

    def step_ms(self, load: Load, detect_every: int) -> float:
        """Return the mean time of a step."""
        pictures_ms = load.cameras * (self.frame_ms + load.people * self.crop_ms)
        pose_ms = self.call_ms + load.cameras * load.people * self.person_ms
        return pictures_ms + pose_ms + load.cameras * self.detect_ms / detect_every


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A setup with a detection interval.

    Attributes:
        setup: With its times.
        detect_every: The detector looks at least at every N-th picture of a camera.
        step_ms: The expected time of a step.
        share: Of the time there is.
    """

    setup: Setup
    detect_every: int
    step_ms: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What could be kept up with, the other two numbers as asked; 0 where nothing could."""

    fps: float
    people: int
    cameras: int


def intervals(fps: float) -> list[int]:
    """Return the detection intervals to consider: somebody new is seen within a second."""
    return [every for every in INTERVALS if every <= max(1.0, fps)]


def plans(setups: Sequence[Setup], load: Load, *, headroom: float) -> list[Plan]:
    """Return, the best first, a plan for every setup that keeps up, with its shortest interval.

    The better pose model first, then the better detector; then the shorter interval, the file's own
    precision, and the faster. Plans with an interval over ``GOOD_INTERVAL`` come last.

    Args:
        setups: What was measured.
        load: What is asked for.
        headroom: The share of the time that is to stay free.
    """
    found = [plan for setup in setups if (plan := _shortest(setup, load, headroom)) is not None]
    return sorted(found, key=_rank)


def _rank(plan: Plan) -> tuple[bool, float, float, int, bool, float]:
    setup = plan.setup
    return (
        plan.detect_every > GOOD_INTERVAL,
        -setup.quality,
        -setup.detector_quality,
        plan.detect_every,
        bool(setup.choice.precision),
        plan.step_ms,
    )


def slowest_plans(setups: Sequence[Setup], load: Load) -> list[Plan]:
    """Return every setup with the longest interval, the fastest first: for where nothing keeps up."""
    every = intervals(load.fps)[-1]
    return sorted((_plan(setup, load, every) for setup in setups), key=lambda plan: plan.step_ms)


def headroom_of(setups: Sequence[Setup], load: Load, *, headroom: float) -> Headroom:
    """Return how far the fastest setups go, one number at a time."""

    def keeps_up(changed: Load) -> bool:
        return any(_shortest(setup, changed, headroom) is not None for setup in setups)

    people = _most(lambda count: keeps_up(replace(load, people=count)), MOST_PEOPLE)
    cameras = _most(lambda count: keeps_up(replace(load, cameras=count)), MOST_CAMERAS)
    tenths = _most(lambda count: keeps_up(replace(load, fps=count / 10)), round(10 * MOST_FPS))
    return Headroom(fps=tenths / 10, people=people, cameras=cameras)


def _most(holds: Callable[[int], bool], most: int) -> int:
    """A number up to ``most`` for which it holds, the largest if what holds for a number holds for less; else 0."""
    low, high = 0, most
    while low < high:
        middle = math.ceil((low + high) / 2)
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _plan(setup: Setup, load: Load, detect_every: int) -> Plan:
    step_ms = setup.step_ms(load, detect_every)
    return Plan(
        setup=setup, detect_every=detect_every, step_ms=step_ms, share=step_ms * load.fps / 1e3
    )


def _shortest(setup: Setup, load: Load, headroom: float) -> Plan | None:
    found = (_plan(setup, load, every) for every in intervals(load.fps))
    return next((plan for plan in found if plan.share <= 1 - headroom), None)


def split_fixed_and_per_person_ms(one_ms: float, many_ms: float, many: int) -> tuple[float, float]:
    """Return the time of a call and of each further person, from calls with one and with ``many`` people.

    Neither is under 0, and with one person only the whole is the person's.
    """
    if many == 1:
        return 0.0, one_ms
    person_ms = max(0.0, (many_ms - one_ms) / (many - 1))
    call_ms = min(max(0.0, one_ms - person_ms), many_ms)
    return call_ms, (many_ms - call_ms) / many
