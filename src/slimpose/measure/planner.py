"""Finds the models, precision, backend, threads and detection interval that sustain a load.

Everything follows from a few measured times. A step (one frame of every camera) takes

    cameras * (frame + people * crop) + call + cameras * people * person
    + cameras / detect_every * detect

milliseconds, and 1000 / fps are available. All of a one-stage model's time is ``frame``, as it has
no detector, and its time does not depend on the number of people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slimpose.runtime.auto_backend import BackendChoice

INTERVALS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
MAX_GOOD_INTERVAL = 8
"""Up to this the more accurate model ranks first; longer is worse than a less accurate model."""
MAX_PEOPLE, MAX_CAMERAS, MAX_FPS = 200, 64, 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be processed in real time.

    Attributes:
        people: People per frame.
        cameras: Cameras at once.
        fps: Frames per second of each camera.

    Raises:
        ValueError: If a number is out of bounds.
    """

    people: int
    cameras: int
    fps: float

    def __post_init__(self) -> None:
        bounds = (("people", self.people, MAX_PEOPLE), ("cameras", self.cameras, MAX_CAMERAS))
        for name, count, maximum in bounds:
            if not 1 <= count <= maximum:
                raise ValueError(f"{name} is {count}; expected 1..{maximum}")
        if not 0 < self.fps <= MAX_FPS:
            raise ValueError(
                f"fps is {self.fps:g}; expected frames per second, over 0 and up to {MAX_FPS:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A pose model and a detector in a backend, precision and number of threads, with their times.

    A one-stage model has no detector: all of its time is ``frame_ms``.

    Attributes:
        path: The pose model's file.
        model: Its name.
        quality: AP of the pose model, by which setups are ranked.
        detector: The detector's file; None for a one-stage model.
        detector_quality: AP of the detector; the model's own without one.
        choice: Backend and precision, of the detector too.
        precision: The precision of the computation, such as "fp32".
        threads: CPU threads.
        call_ms: Time of a call of the pose model, independent of the number of people.
        person_ms: Additional time for each person.
        detect_ms: The detector's time per frame.
        frame_ms: Decoding and tracking time per frame.
        crop_ms: Time to crop one person.
    """

    path: Path
    model: str
    quality: float
    detector: Path | None
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
        frames_ms = load.cameras * (self.frame_ms + load.people * self.crop_ms)
        pose_ms = self.call_ms + load.cameras * load.people * self.person_ms
        return frames_ms + pose_ms + load.cameras * self.detect_ms / detect_every

    def intervals(self, fps: float) -> list[int]:
        """Return the detection intervals to consider; a one-stage model runs on every frame."""
        return [1] if self.detector is None else detection_intervals(fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A setup with a detection interval.

    Attributes:
        setup: Models, backend and threads, with their times.
        detect_every: The detector runs at least on every N-th frame of a camera.
        step_ms: Expected time of a step.
        utilization: That time as a share of the available time.
    """

    setup: Setup
    detect_every: int
    step_ms: float
    utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The maximum of each number of a load with the other two as requested; 0 if none works."""

    fps: float
    people: int
    cameras: int


def detection_intervals(fps: float) -> list[int]:
    """Return the detection intervals to consider: a new person is detected within a second.

    >>> detection_intervals(10.0)
    [1, 2, 3, 4, 6, 8]
    """
    return [every for every in INTERVALS if every <= max(1.0, fps)]


def find_plans(setups: Sequence[Setup], load: Load, *, headroom: float) -> list[Plan]:
    """Return a plan for every setup that sustains the load, with its shortest interval, best first.

    The better pose model ranks first, then the better detector; then the shorter interval, the
    file's own precision, and the faster setup. Plans with an interval over ``MAX_GOOD_INTERVAL``
    rank last. ``headroom`` is the share of the time that is to stay free.
    """
    candidates = (_shortest_interval_plan(setup, load, headroom) for setup in setups)
    return sorted((plan for plan in candidates if plan is not None), key=_rank)


def _rank(plan: Plan) -> tuple[bool, float, float, int, bool, float]:
    setup = plan.setup
    return (
        plan.detect_every > MAX_GOOD_INTERVAL,
        -setup.quality,
        -setup.detector_quality,
        plan.detect_every,
        bool(setup.choice.precision),
        plan.step_ms,
    )


def longest_interval_plans(setups: Sequence[Setup], load: Load) -> list[Plan]:
    """Return every setup with the longest interval, fastest first, for use if no plan works."""
    plans = (_plan(setup, load, setup.intervals(load.fps)[-1]) for setup in setups)
    return sorted(plans, key=lambda plan: plan.step_ms)


def find_capacity(setups: Sequence[Setup], load: Load, *, headroom: float) -> Capacity:
    """Return the largest load that any setup sustains, varying one number at a time."""

    def sustains(changed: Load) -> bool:
        return any(_shortest_interval_plan(setup, changed, headroom) for setup in setups)

    people = _largest(lambda count: sustains(replace(load, people=count)), MAX_PEOPLE)
    cameras = _largest(lambda count: sustains(replace(load, cameras=count)), MAX_CAMERAS)
    tenths = _largest(lambda count: sustains(replace(load, fps=count / 10)), round(10 * MAX_FPS))
    return Capacity(fps=tenths / 10, people=people, cameras=cameras)


def _largest(is_possible: Callable[[int], bool], maximum: int) -> int:
    """Return the largest possible number up to a maximum, else 0, by bisection.

    What is possible for a number must be possible for all smaller ones.
    """
    low, high = 0, maximum
    while low < high:
        middle = math.ceil((low + high) / 2)
        low, high = (middle, high) if is_possible(middle) else (low, middle - 1)
    return low


def _plan(setup: Setup, load: Load, detect_every: int) -> Plan:
    ms = setup.step_ms(load, detect_every)
    share = ms * load.fps / 1e3
    return Plan(setup=setup, detect_every=detect_every, step_ms=ms, utilization=share)


def _shortest_interval_plan(setup: Setup, load: Load, headroom: float) -> Plan | None:
    plans = (_plan(setup, load, every) for every in setup.intervals(load.fps))
    return next((plan for plan in plans if plan.utilization <= 1 - headroom), None)


def split_fixed_and_per_person_ms(one_ms: float, many_ms: float, many: int) -> tuple[float, float]:
    """Return a call's fixed time and its time per person, from calls with one and ``many`` people.

    Neither is under 0. If ``many`` is 1, all of the time is the person's.

    >>> split_fixed_and_per_person_ms(3.0, 9.0, 4)
    (1.0, 2.0)
    """
    if many == 1:
        return 0.0, one_ms
    person_ms = max(0.0, (many_ms - one_ms) / (many - 1))
    call_ms = min(max(0.0, one_ms - person_ms), many_ms)
    return call_ms, (many_ms - call_ms) / many
