"""``slimpose plan``."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.table import Table

from slimpose.measure.pipeline_latency import PipelineTimes, random_crops, time_pipeline
from slimpose.measure.planner import (
    Load,
    Plan,
    Setup,
    headroom_of,
    plans,
    slowest_plans,
    split_fixed_and_per_person_ms,
)
from slimpose.measure.synthetic_video import SyntheticVideo, make_video, sample_people
from slimpose.runtime import models
from slimpose.runtime.auto_backend import (
    AUTO,
    BackendChoice,
    check_names,
    choices_for_file,
    companion_choice,
)
from slimpose.runtime.backends.available import BackendStatus, backend_of, backends
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import MAX_BATCH
from slimpose.runtime.machine import check_threads, read_machine
from slimpose.runtime.session import Session, models_of_task
from slimpose.runtime.timing import time_interleaved
from slimpose.tasks import Task

PROOFS = 6
"""Plans that are tried, the best first, before it is said that nothing keeps up."""
TRIAL_S = 0.8
_ROUNDS = 20


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
    """Find the models, backend, threads and detection interval that keep up here, and prove it on a made film.

    Measures what this machine takes for the parts of the work (some seconds), works out what fits,
    and goes through a 1280x720 film of so many people with it. The exit code is 1 if nothing keeps
    up.

    Args:
        people: In every picture.
        cameras: At once.
        fps: Pictures a second of each camera.
        model: Pose models to choose from: shipped names or files of slimpose export; all shipped
            ones by default.
        detector: Person detectors to choose from, likewise.
        backend: Only this one; auto tries all that are there.
        precision: What may be chosen beside the files' own, at a loss of accuracy: bf16, fp16, or
            any.
        threads: CPU threads; one and all there are by default.
        photos: Folder of photos whose people the film shows.
        headroom: Share 0..0.9 of the time that is to stay free.
        seconds: How long the film is gone through.
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
    console = Console(stderr=json, highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, 130)
    machine = read_machine()
    counts = [threads] if threads else sorted({1, machine.threads})
    paths = _of_task("pose", model, "pose net")
    finders = _of_task("detect", detector, "person detector")
    for path in paths if backend != AUTO else ():
        backend_of(path, backend)
    patches, cast = sample_people(photos, Detector(Session(finders[0])))
    film = make_video(patches, people)
    console.print(
        f"{machine.cpu}, {machine.threads} threads: {people} people, {cameras} cameras, {fps:g} pictures a second: "
        f"{1e3 / fps:.1f} ms a step. The film shows {cast}"
    )
    before = cv2.getNumThreads()
    try:
        setups = measure(
            paths, finders, film, load, backend=backend, precision=precision, threads=counts
        )
        proven, tried = _prove(plans(setups, load, headroom=headroom), film, load, seconds)
    finally:
        cv2.setNumThreads(before)
    told = [one for one, _ in tried] or slowest_plans(setups, load)[:PROOFS]
    command = "" if proven is None else command_of(proven)
    could = None if proven is not None else headroom_of(setups, load, headroom=headroom)
    if json:
        document: dict[str, Any] = {
            "load": asdict(load),
            "machine": asdict(machine),
            "people_are": cast,
            "plans": [_as_json(one) for one in told],
            "proofs": [asdict(times) for _, times in tried],
            "command": command,
            "reach": None if could is None else asdict(could),
        }
        print(json_format.dumps(document))
        return 0 if proven is not None else 1
    console.print(_table(told, [times for _, times in tried], load))
    if could is None:
        console.print(f"\n{command}")
        return 0
    nearest = max((times.fps for _, times in tried), default=0.0)
    proof = f" (the nearest reached {nearest:.1f} pictures a second on the film)" if tried else ""
    console.print(
        f"\nThis cannot be kept up with here{proof}. By the times measured, with {headroom:.0%} to spare, could:"
    )
    console.print(f"  {people} people, {cameras} cameras: {could.fps:.1f} pictures a second")
    console.print(
        f"  {cameras} cameras, {fps:g} pictures a second: {could.people or 'no'} people in each"
    )
    console.print(f"  {people} people, {fps:g} pictures a second: {could.cameras or 'no'} cameras")
    if not precision:
        console.print("  or try --precision any, which may cost some accuracy")
    return 1


def _of_task(task: Task, names: Sequence[str], wanted: str) -> list[Path]:
    """Return the files of the given names that do this, of all shipped ones where none is given."""
    paths = [models.resolve(name) for name in names] or list(models.shipped().values())
    if found := models_of_task(task, paths):
        return found
    raise ValueError(
        f"no {wanted} among {', '.join(map(str, paths))}; expected one (see slimpose models)"
    )


def measure(
    paths: Sequence[Path],
    detectors: Sequence[Path],
    film: SyntheticVideo,
    load: Load,
    *,
    backend: str,
    precision: str | None,
    threads: Sequence[int],
) -> list[Setup]:
    """Return the measured times of every pose model with every detector, in all that may run both.

    Raises:
        BackendError: If the backend asked for is not there, or nothing computes in the precision
            asked for.
    """
    found = backends()
    if backend != AUTO and found[backend].install:
        raise BackendError(f"{backend} is not there: {found[backend].install}")
    allowed = {name: one for name, one in found.items() if backend in (AUTO, name)}
    setups: list[Setup] = []
    refused: BackendError | None = None
    for count in threads:
        cv2.setNumThreads(count)
        around: PipelineTimes | None = None
        for path in paths:
            for choice in _choices(path, precision, allowed):
                pose = _open(path, choice, count)
                finders: dict[Path, Session] = {}
                for detector in detectors:
                    try:
                        finders[detector] = _open(detector, companion_choice(choice), count)
                    except (
                        BackendError
                    ) as error:  # a file that this backend does not take on this processor
                        refused = error
                if not finders:
                    continue
                if around is None:
                    around = time_pipeline(
                        pose, next(iter(finders.values())), film, seconds=TRIAL_S
                    )
                setups += _setups(path, pose, finders, choice, around, load)
    if not setups and refused is not None:
        raise refused
    return setups


def _choices(path: Path, precision: str | None, found: dict[str, BackendStatus]) -> list[BackendChoice]:
    """The file's own precision always, and what is allowed beside it."""
    wanted = choices_for_file(path, precision, found)
    return list(dict.fromkeys([*choices_for_file(path, None, found), *wanted]))


def _open(path: Path, choice: BackendChoice, threads: int) -> Session:
    return Session(path, threads=threads, backend=choice.backend, precision=choice.precision)


def _setups(
    path: Path,
    pose: Session,
    finders: Mapping[Path, Session],
    choice: BackendChoice,
    around: PipelineTimes,
    load: Load,
) -> list[Setup]:
    many = min(load.people * load.cameras, MAX_BATCH)
    crops = random_crops(pose, many)
    outputs = ("points", "scores", "covariances")
    calls: dict[str, Callable[[], object]] = {
        "one": lambda: pose.run(crops[:1], outputs),
        "many": lambda: pose.run(crops, outputs),
    }
    for detector, finder in finders.items():
        calls[str(detector)] = partial(finder.run, random_crops(finder, 1), ("boxes", "scores"))
    times = time_interleaved(calls, rounds=_ROUNDS, seconds=TRIAL_S)
    call_ms, person_ms = split_fixed_and_per_person_ms(
        times["one"].median_ms, times["many"].median_ms, many
    )
    return [
        Setup(
            path=path,
            model=pose.info.name,
            quality=quality_of(pose),
            detector=detector,
            detector_quality=quality_of(finder),
            choice=choice,
            precision=pose.precision,
            threads=pose.threads or read_machine().threads,
            call_ms=call_ms,
            person_ms=person_ms,
            detect_ms=times[str(detector)].median_ms,
            frame_ms=around.stages_ms["decode"] + around.stages_ms["track"],
            crop_ms=around.stages_ms["crop"] / max(around.people, 1.0),
        )
        for detector, finder in finders.items()
    ]


def quality_of(model: Session) -> float:
    """Return the AP in the model's card, less what quantization lost, if anything; 0 where it does not tell."""
    figures, quantized = (model.info.card.get(name) for name in ("figures", "quantized"))
    ap = figures.get("AP") if isinstance(figures, dict) else None
    lost = (
        quantized["ap_fp32"] - quantized[f"ap_{quantized['precision']}"]
        if isinstance(quantized, dict)
        else 0.0
    )
    return float(ap) - max(0.0, lost) / 100 if isinstance(ap, int | float) else 0.0


def _prove(
    candidates: Sequence[Plan], film: SyntheticVideo, load: Load, seconds: float
) -> tuple[Plan | None, list[tuple[Plan, PipelineTimes]]]:
    """The first plan that keeps up with the film, and all that were tried."""
    tried: list[tuple[Plan, PipelineTimes]] = []
    for candidate in candidates[:PROOFS]:
        setup = candidate.setup
        cv2.setNumThreads(setup.threads)
        pose = _open(setup.path, setup.choice, setup.threads)
        finder = _open(setup.detector, companion_choice(setup.choice), setup.threads)
        times = time_pipeline(
            pose,
            finder,
            film,
            cameras=load.cameras,
            detect_every=candidate.detect_every,
            seconds=seconds,
        )
        tried.append((candidate, times))
        if times.fps >= load.fps and times.people >= load.people - 0.5:
            return candidate, tried
    return None, tried


def command_of(found: Plan) -> str:
    """Return the command that runs a plan."""
    setup = found.setup
    words = ["slimpose live SOURCE ...", "--model", _name_of(setup.path)]
    if (detector := _name_of(setup.detector)) != models.DEFAULT_DETECTOR:
        words += ["--detector", detector]
    words += [
        "--backend",
        companion_choice(setup.choice).backend,
    ]  # a file with a backend of its own finds it
    if setup.choice.precision:
        words += ["--precision", setup.choice.precision]
    return " ".join(
        [*words, "--threads", str(setup.threads), "--detect-every", str(found.detect_every)]
    )


def _name_of(path: Path) -> str:
    return path.stem if models.shipped().get(path.stem) == path else str(path)


def _as_json(one: Plan) -> dict[str, Any]:
    setup = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(one.setup).items()
    }
    return {**setup, "detect_every": one.detect_every, "step_ms": one.step_ms, "share": one.share}


def _table(told: Sequence[Plan], proofs: Sequence[PipelineTimes], load: Load) -> Table:
    heading = f"{1e3 / load.fps:.1f} ms a step; the film must reach {load.fps:g} pictures a second"
    table = Table(
        "model", "detector", "backend", "precision", title=heading, title_justify="left", box=None
    )
    for column in (
        "threads",
        "every",
        "ms expected",
        "of the time",
        "film: median ms",
        "p95",
        "reached",
    ):
        table.add_column(column, justify="right")
    for place, one in enumerate(told):
        proof = proofs[place] if place < len(proofs) else None
        proven = ("-",) * 3
        if proof is not None:
            proven = (f"{proof.step.median_ms:.1f}", f"{proof.step.p95_ms:.1f}", f"{proof.fps:.1f}")
        table.add_row(
            one.setup.model,
            one.setup.detector.stem,
            one.setup.choice.backend,
            one.setup.precision,
            str(one.setup.threads),
            str(one.detect_every),
            f"{one.step_ms:.1f}",
            f"{100 * one.share:.0f} %",
            *proven,
        )
    return table
