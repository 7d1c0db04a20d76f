"""Measurements of ``slimpose plan``: times of all setups, and plans tried on a synthetic video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2

from slimpose.measure.candidates import check_installed
from slimpose.measure.pipeline_latency import PipelineTimes, random_crops, time_pipeline
from slimpose.measure.planner import Load, Plan, Setup, split_fixed_and_per_person_ms
from slimpose.measure.synthetic_video import SyntheticVideo
from slimpose.runtime.auto_backend import (
    AUTO,
    BackendChoice,
    choices_for_file,
    companion_choice,
    open_choice,
)
from slimpose.runtime.backends.available import backends
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.estimator import MAX_BATCH
from slimpose.runtime.machine import read_machine
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

MAX_TRIALS = 6
"""Plans that are tried, best first, before the load is reported as not sustained."""
TRIAL_S = 0.8
_ROUNDS = 20


def measure_setups(
    paths: Sequence[Path],
    detectors: Sequence[Path],
    video: SyntheticVideo,
    load: Load,
    *,
    backend: str,
    precision: str | None,
    threads: Sequence[int],
) -> list[Setup]:
    """Return the measured times of every pose model with every detector, one-stage models alone.

    Every backend, precision and number of threads is measured in which both can run.

    Raises:
        BackendError: If the requested backend is not installed, or nothing computes in the
            requested precision.
    """
    available = backends()
    if backend != AUTO:
        check_installed(backend, available)
        available = {backend: available[backend]}
    setups: list[Setup] = []
    rejected: BackendError | None = None
    for count in threads:
        cv2.setNumThreads(count)
        pipeline_times: PipelineTimes | None = None
        for path in paths:
            # The file's own precision always, and what is allowed besides.
            own = choices_for_file(path, None, available)
            for choice in dict.fromkeys([*own, *choices_for_file(path, precision, available)]):
                try:
                    pose = open_choice(path, count, choice)
                except BackendError as error:  # this backend cannot run it
                    rejected = error
                    continue
                if pose.info.task == "one-stage":
                    setups.append(_time_one_stage(path, pose, choice, video))
                    continue
                opened: dict[Path, Session] = {}
                for detector in detectors:
                    try:
                        opened[detector] = open_choice(detector, count, companion_choice(choice))
                    except BackendError as error:  # this backend cannot run it on this processor
                        rejected = error
                if not opened:
                    continue
                if pipeline_times is None:
                    first = next(iter(opened.values()))
                    pipeline_times = time_pipeline(pose, first, video, seconds=TRIAL_S)
                setups += _time_setups(path, pose, opened, choice, pipeline_times, load)
    if not setups and rejected is not None:
        raise rejected
    return setups


def _time_setups(
    path: Path,
    pose: Session,
    detectors: Mapping[Path, Session],
    choice: BackendChoice,
    pipeline_times: PipelineTimes,
    load: Load,
) -> list[Setup]:
    """Return a pose model's setup with each detector; the times of other stages are given."""
    many = min(load.people * load.cameras, MAX_BATCH)
    crops = random_crops(pose, many)
    outputs = ("points", "scores", "covariances")
    calls: dict[str, Callable[[], object]] = {
        "one": lambda: pose.run(crops[:1], outputs),
        "many": lambda: pose.run(crops, outputs),
    }
    for detector, session in detectors.items():
        calls[str(detector)] = partial(session.run, random_crops(session, 1), ("boxes", "scores"))
    times = time_interleaved(calls, rounds=_ROUNDS, seconds=TRIAL_S)
    call_ms, person_ms = split_fixed_and_per_person_ms(
        times["one"].median_ms, times["many"].median_ms, many
    )
    stages_ms = pipeline_times.stages_ms
    return [
        Setup(
            path=path,
            model=pose.info.name,
            quality=quality_of(pose),
            detector=detector,
            detector_quality=quality_of(session),
            choice=choice,
            precision=pose.precision,
            threads=pose.threads or read_machine().threads,
            call_ms=call_ms,
            person_ms=person_ms,
            detect_ms=times[str(detector)].median_ms,
            frame_ms=stages_ms["decode"] + stages_ms["track"],
            crop_ms=stages_ms["crop"] / max(pipeline_times.people_per_frame, 1.0),
        )
        for detector, session in detectors.items()
    ]


def _time_one_stage(
    path: Path, pose: Session, choice: BackendChoice, video: SyntheticVideo
) -> Setup:
    """Return a one-stage model's setup; its time is per frame, for any number of people."""
    times = time_pipeline(pose, None, video, detect_every=1, seconds=TRIAL_S)
    quality = quality_of(pose)
    return Setup(
        path=path,
        model=pose.info.name,
        quality=quality,
        detector=None,
        detector_quality=quality,
        choice=choice,
        precision=pose.precision,
        threads=pose.threads or read_machine().threads,
        call_ms=0.0,
        person_ms=0.0,
        detect_ms=0.0,
        frame_ms=times.step.median_ms,
        crop_ms=0.0,
    )


def quality_of(model: Session) -> float:
    """Return the AP in the model's card, less any loss by quantization; 0 if it has none."""
    figures, quantized = (model.info.card.get(name) for name in ("figures", "quantized"))
    ap = figures.get("AP") if isinstance(figures, dict) else None
    loss = 0.0
    if isinstance(quantized, dict):
        loss = max(0.0, quantized["ap_fp32"] - quantized[f"ap_{quantized['precision']}"])
    return float(ap) - loss / 100 if isinstance(ap, int | float) else 0.0


def try_plans(
    plans: Sequence[Plan], video: SyntheticVideo, load: Load, seconds: float
) -> tuple[Plan | None, list[tuple[Plan, PipelineTimes]]]:
    """Run the first plans on the video until one sustains the load.

    Return that plan, or None, and all that were tried, with their times. How many people a
    one-stage model finds does not change its time, so it does not count.
    """
    trials: list[tuple[Plan, PipelineTimes]] = []
    for plan in plans[:MAX_TRIALS]:
        setup, detector = plan.setup, plan.setup.detector
        companion = companion_choice(setup.choice)
        cv2.setNumThreads(setup.threads)
        times = time_pipeline(
            open_choice(setup.path, setup.threads, setup.choice),
            None if detector is None else open_choice(detector, setup.threads, companion),
            video,
            cameras=load.cameras,
            detect_every=plan.detect_every,
            seconds=seconds,
        )
        trials.append((plan, times))
        has_people = detector is None or times.people_per_frame >= load.people - 0.5
        if times.fps >= load.fps and has_people:
            return plan, trials
    return None, trials
