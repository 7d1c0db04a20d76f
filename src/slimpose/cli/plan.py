"""``slimpose plan``."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from slimpose.cli.counted import counted
from slimpose.cli.doctor import wide_console
from slimpose.measure.candidates import models_for_task
from slimpose.measure.pipeline_latency import PipelineTimes, opencv_threads_restored
from slimpose.measure.plan_trials import MAX_TRIALS, measure_setups, try_plans
from slimpose.measure.planner import (
    Capacity,
    Load,
    Plan,
    find_capacity,
    find_plans,
    longest_interval_plans,
)
from slimpose.measure.synthetic_video import make_video, sample_people
from slimpose.runtime import models
from slimpose.runtime.auto_backend import AUTO, check_names, companion_choice
from slimpose.runtime.backends.available import backend_of
from slimpose.runtime.detector import Detector
from slimpose.runtime.machine import check_threads, read_machine
from slimpose.runtime.session import Session


def plan(
    people: int,
    cameras: int = 1,
    fps: float = 25.0,
    model: tuple[str, ...] = (),
    detector: tuple[str, ...] = (),
    backend: str = AUTO,
    precision: str | None = None,
    threads: int | None = None,
    photos: Path | None = None,
    headroom: float = 0.1,
    seconds: float = 3.0,
    json: bool = False,
) -> int:
    """Find models, backend, threads and detection interval for a load, and test them on a video.

    Measures the stages of the pipeline on this machine (some seconds), computes which setups
    sustain the load, and runs the best ones on a synthetic 1280x720 video. The exit code is 1 if
    none sustains it.

    Args:
        people: People per frame.
        cameras: Cameras at once.
        fps: Frames per second of each camera.
        model: Pose models to choose from: shipped names or files, also of other projects; all
            shipped ones by default. One-stage models run without a detector.
        detector: Person detectors to choose from, likewise.
        backend: Only this backend; auto tries all installed ones.
        precision: Precision to allow besides the files' own, at a loss of accuracy: bf16, fp16, or
            any.
        threads: CPU threads; by default 1 and all available ones are tried.
        photos: Folder of photos with the people for the video; the sample photos by default.
        headroom: Share 0..0.9 of the time that is to stay free.
        seconds: Duration of the video.
        json: Print one JSON object instead.
    """
    load = Load(people=people, cameras=cameras, fps=fps)
    if not 0 <= headroom <= 0.9:
        raise ValueError(f"--headroom is {headroom:g}; expected a share 0..0.9 of the time")
    if not seconds > 0:
        raise ValueError(f"--seconds is {seconds:g}; expected a number over 0")
    check_threads(threads)
    check_names(AUTO, precision)
    check_names(backend, None)
    paths, detectors = models_for_task("pose", model), models_for_task("detect", detector)
    for path in paths if backend != AUTO else ():
        backend_of(path, backend)
    patches, people_source = sample_people(photos, Detector(Session(detectors[0])))
    video = make_video(patches, people)
    console, machine = wide_console(stderr=json), read_machine()
    console.print(
        f"{machine.cpu}, {counted(machine.threads, 'thread')}: "
        f"{counted(people, 'person')}, {counted(cameras, 'camera')}, {fps:g} "
        f"frames per second: {1e3 / fps:.1f} ms per step. The video shows {people_source}"
    )
    counts = [threads] if threads else sorted({1, machine.threads})
    with opencv_threads_restored():
        setups = measure_setups(
            paths, detectors, video, load, backend=backend, precision=precision, threads=counts
        )
        plans = find_plans(setups, load, headroom=headroom)
        chosen, trials = try_plans(plans, video, load, seconds)
    listed = [tried for tried, _ in trials] or longest_interval_plans(setups, load)[:MAX_TRIALS]
    result = _Result(
        load=load,
        plans=listed,
        trials=[times for _, times in trials],
        command=command_of(chosen) if chosen else "",
        capacity=None if chosen else find_capacity(setups, load, headroom=headroom),
    )
    if json:
        context = {"machine": asdict(machine), "people_source": people_source}
        print(json_format.dumps(context | result.as_json()))
    else:
        _print_result(console, result, headroom)
        if result.capacity and not precision:
            console.print("  or try --precision any, which may cost some accuracy")
    return 0 if chosen else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """Plans with the times of those tried; and the command of the chosen one, or the capacity."""

    load: Load
    plans: Sequence[Plan]
    trials: Sequence[PipelineTimes]
    command: str
    capacity: Capacity | None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON output; a plan's setup is merged into it."""
        plans: list[dict[str, Any]] = []
        for plan in self.plans:
            fields = asdict(plan)
            setup = fields.pop("setup")
            setup |= {key: str(value) for key, value in setup.items() if isinstance(value, Path)}
            plans.append(setup | fields)
        return {
            "load": asdict(self.load),
            "plans": plans,
            "trials": [asdict(trial) for trial in self.trials],
            "command": self.command,
            "capacity": asdict(self.capacity) if self.capacity else None,
        }


def command_of(plan: Plan) -> str:
    """Return the command that runs a plan."""
    setup, detector = plan.setup, plan.setup.detector
    words = ["slimpose live SOURCE ...", "--model", _model_name(setup.path)]
    if detector is not None and (name := _model_name(detector)) != models.DEFAULT_DETECTOR:
        words += ["--detector", name]
    # A file with a native backend finds it by itself.
    words += ["--backend", companion_choice(setup.choice).backend]
    if setup.choice.precision:
        words += ["--precision", setup.choice.precision]
    words += ["--threads", str(setup.threads)]
    if detector is not None:
        words += ["--detect-every", str(plan.detect_every)]
    return " ".join(words)


def _model_name(path: Path) -> str:
    return path.stem if models.shipped().get(path.stem) == path else str(path)


def _table(plans: Sequence[Plan], trials: Sequence[PipelineTimes], load: Load) -> Table:
    title = f"{1e3 / load.fps:.1f} ms per step; the video must reach {load.fps:g} frames per second"
    table = Table(
        "model", "detector", "backend", "precision", title=title, title_justify="left", box=None
    )
    measured = ("video: median ms", "p95", "fps")
    for column in ("threads", "every", "ms expected", "of the time", *measured):
        table.add_column(column, justify="right")
    for index, plan in enumerate(plans):
        cells = ("-",) * len(measured)
        if index < len(trials):
            trial = trials[index]
            cells = (
                f"{trial.step.median_ms:.1f}",
                f"{trial.step.p95_ms:.1f}",
                f"{trial.fps:.1f}",
            )
        table.add_row(
            plan.setup.model,
            plan.setup.detector.stem if plan.setup.detector else "-",
            plan.setup.choice.backend,
            plan.setup.precision,
            str(plan.setup.threads),
            str(plan.detect_every),
            f"{plan.step_ms:.1f}",
            f"{100 * plan.utilization:.0f} %",
            *cells,
        )
    return table


def _print_result(console: Console, result: _Result, headroom: float) -> None:
    load, capacity = result.load, result.capacity
    console.print(_table(result.plans, result.trials, load))
    if capacity is None:
        chosen = len(result.trials) - 1
        if result.plans[chosen].setup.detector is None:
            found = result.trials[chosen].people_per_frame
            console.print(
                f"\n{result.plans[chosen].setup.model} found {found:.1f} people per frame"
            )
        console.print(f"\n{result.command}")
        return
    best = max((trial.fps for trial in result.trials), default=0.0)
    reached = f" (at most {best:.1f} frames per second on the video)" if result.trials else ""
    console.print(
        f"\nThis machine cannot sustain the load{reached}. By the measured times, with "
        f"{headroom:.0%} of the time free, it can:"
    )
    people, cameras = counted(load.people, "person"), counted(load.cameras, "camera")
    fps = f"{load.fps:g}"
    console.print(f"  {people}, {cameras}: {capacity.fps:.1f} frames per second")
    console.print(
        f"  {cameras}, {fps} frames per second: at most {counted(capacity.people, 'person')} "
        "in each"
    )
    console.print(
        f"  {people}, {fps} frames per second: at most {counted(capacity.cameras, 'camera')}"
    )
