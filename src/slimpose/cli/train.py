"""``slimpose train``."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from slimpose.cli.train_data import DataOptions, ReadData, SplitData, read_data
from slimpose.data.people import select_people
from slimpose.formats import coco
from slimpose.formats.coco_layout import CocoLayout
from slimpose.formats.files import write_json
from slimpose.geometry import CellAlignment
from slimpose.media.images import image_files
from slimpose.runtime.machine import check_threads
from slimpose.skeleton import Skeleton
from slimpose.train.options import ExperimentLog, Precision, RecipeOptions

if TYPE_CHECKING:
    from slimpose.network.build import Spec
    from slimpose.train.box_distillation import BoxTeacher
    from slimpose.train.devices import Devices
    from slimpose.train.distillation import Teacher
    from slimpose.train.recipe import Recipe
    from slimpose.train.run import Progress as RunProgress
    from slimpose.train.task import Task, TrainingData

    _Teacher = TypeVar("_Teacher", Teacher, BoxTeacher)

_LOG_LINE_S = 30.0
"""Seconds between two lines of progress, where standard output is not a terminal."""
_MAX_PARTS = 1024
"""Limit of --accumulate and --workers."""


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it: a CPU training step takes 40 % less.

    PyTorch frees and allocates the same large buffers every step; by default each comes back from
    the kernel unmapped and is zeroed page by page. Without glibc this does nothing. Figures:
    docs/experiments.md.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, -1)
    mallopt(top_pad, 256 << 20)
    mallopt(arena_max, 1)


def train(
    recipe: str,
    /,
    out: Path,
    data: DataOptions,
    options: RecipeOptions = RecipeOptions(),  # noqa: B008 - frozen
    start: str | None = None,
    resume: bool = False,
    accumulate: int = 1,
    precision: Precision = "fp32",
    workers: int = 1,
    threads: int | None = None,
    track_with: ExperimentLog | None = None,
    stop_after_minutes: float = float("inf"),
) -> int:
    """Train a pose network or a detector; under torchrun, on several GPUs and machines.

    Args:
        recipe: Name of a recipe (a wrong name lists them; own is for a few hundred images of your
            own), FILE.toml with your own, or a weights file to repeat its run.
        out: Folder of the run: metrics.jsonl, checkpoint.safetensors, best.safetensors.
        data: Where the data are.
        options: Changes to the recipe.
        start: Weights to start from instead of the recipe's: imagenet, random, a shipped model
            (mnv2, detector), a file of slimpose import-trunk, or weights of an earlier run. Of
            weights for other keypoints the head is replaced.
        resume: Continue exactly from the checkpoint in the run's folder.
        accumulate: Compute each process's batch in this many parts, to fit into its memory.
        precision: Use fp32, or bf16 or fp16 where that is safe (fp16 on GPUs only).
        workers: Threads per process that make batches; a fast GPU needs several.
        threads: CPU threads; PyTorch's choice by default.
        track_with: Also log to TensorBoard, Weights & Biases (offline) or MLflow, into the run's
            folder.
        stop_after_minutes: Stop with a checkpoint after this time.
    """
    import torch

    from slimpose.train.recipes import load_recipe
    from slimpose.train.start import RANDOM, start_file

    plan = load_recipe(recipe).with_options(options)
    files = data.layout()
    check_threads(threads)
    for name, value in (("--accumulate", accumulate), ("--workers", workers)):
        if not 1 <= value <= _MAX_PARTS:
            raise ValueError(f"{name} is {value}; expected 1..{_MAX_PARTS}")
    if not stop_after_minutes >= 0:
        raise ValueError(f"--stop-after-minutes is {stop_after_minutes:g}; expected 0 or more")
    if start and resume:
        raise ValueError("--resume continues from the run's own checkpoint; leave out --start")
    run = _Run(
        plan=plan,
        options=options,
        files=files,
        resume=resume,
        start=start_file(start or plan.start or RANDOM) if not resume else RANDOM,
        accumulate=accumulate,
        precision=precision,
        workers=workers,
        track_with=track_with,
        stop_after_minutes=stop_after_minutes,
    )
    run.check_folders(out, data.folds)
    if track_with:
        from slimpose.train import experiment_log

        experiment_log.require(track_with, out)
    keep_freed_memory()
    # By default the threads that make batches delay small calls by 5 ms each.
    sys.setswitchinterval(2e-4)
    if threads:
        torch.set_num_threads(threads)
    read = read_data(data, files, keypoints=plan.task == "pose")
    figures = [run.train(read, split, out / split.subfolder) for split in read.splits]
    if data.folds:
        print(_describe_folds(figures, out))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What the runs of all folds have in common; see the options of ``train``."""

    plan: Recipe
    options: RecipeOptions
    files: CocoLayout
    resume: bool
    start: str
    accumulate: int
    precision: Precision
    workers: int
    track_with: ExperimentLog | None
    stop_after_minutes: float

    def check_folders(self, out: Path, folds: int) -> None:
        """Check that a run can start or resume in its folder, or one of each fold in theirs."""
        from slimpose.train.run import check_run_folder

        for folder in [out / f"fold-{fold + 1}" for fold in range(folds)] or [out]:
            check_run_folder(folder, resume=self.resume)

    def train(self, read: ReadData, split: SplitData, out: Path) -> dict[str, float]:
        """Train once; return the best figures."""
        import torch

        from slimpose.network.build import alignment_from_metadata, spec_from_json
        from slimpose.network.weights import read_metadata
        from slimpose.train import experiment_log
        from slimpose.train.devices import open_devices
        from slimpose.train.distillation import TEACHER_CACHE
        from slimpose.train.processes import world_size
        from slimpose.train.run import BEST, CHECKPOINT, run
        from slimpose.train.start import IMAGENET, RANDOM, load_start
        from slimpose.train.task import TrainingData

        devices = open_devices(
            precision=self.precision,
            accumulate=self.accumulate,
            workers=self.workers,
            log_with=self.track_with,
            log_folder=out,
        )
        start = str(out / CHECKPOINT) if self.resume else self.start
        is_file = start not in (IMAGENET, RANDOM)
        start_metadata = read_metadata(Path(start)) if is_file else {}
        torch.manual_seed(self.plan.seed)
        with _progress_bar(devices) as bar:
            if not bar.disable:
                for line in read.lines:
                    bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            reading = bar.add_task("reading images", total=None, note="")
            plan = self.plan.for_data(
                samples_per_epoch=_samples_per_epoch(self.plan, split.train),
                length=self.options.length,
                joints=len(read.skeleton.joints),
                start_net=_net_of(start_metadata, spec_from_json),
                box_shape=read.box_shape,
            )
            is_random = start_metadata.get("start") == RANDOM if self.resume else start == RANDOM
            if is_random:
                plan = dataclasses.replace(plan, frozen_stages=0)  # random weights must be trained
            task, teacher_name = _open_task(
                plan,
                self.options,
                TrainingData(
                    train=split.train,
                    train_images=self.files.train_images,
                    val=split.val,
                    val_images=self.files.val_images,
                ),
                alignment=alignment_from_metadata(start_metadata),
                cache=out / TEACHER_CACHE,
                bar=bar,
                on_progress=lambda done, total: bar.update(reading, completed=done, total=total),
            )
            notes = _notes(
                self.files, read.skeleton, start_metadata, teacher_name, self.options.unlabeled
            )
            notes["start"] = RANDOM
            if not self.resume and start != RANDOM:
                notes["start"] = load_start(task, plan, start, read.skeleton)
            if self.track_with:
                experiment_log.start(devices.accelerator, plan, out, notes)
            steps = run(
                task,
                plan,
                out,
                resume=self.resume,
                notes=notes,
                devices=devices,
                stop_after_s=60 * self.stop_after_minutes,
            )
            _show_progress(steps, plan, bar)
        if world_size() > 1 or self.track_with:
            devices.accelerator.end_training()
        if not (out / BEST).is_file():
            return {}
        return json.loads(read_metadata(out / BEST).get("figures", "{}"))


def _net_of(metadata: dict[str, str], parse: Callable[[str], Spec]) -> Spec | None:
    return parse(metadata["net"]) if "net" in metadata else None


def _describe_folds(figures: Sequence[dict[str, float]], out: Path) -> str:
    """Write the figures of the folds to OUT/folds.json; return their AP, mean and deviation."""
    write_json(out / "folds.json", list(figures))
    found = [100 * one["AP"] for one in figures if "AP" in one]
    if len(found) < len(figures):
        return f"{len(found)} of {len(figures)} folds were evaluated; --resume continues"
    listed = ", ".join(f"{ap:.1f}" for ap in found)
    return (
        f"AP of {len(found)} folds: {listed}; mean {statistics.mean(found):.1f}, "
        f"standard deviation {statistics.stdev(found):.1f} ({out / 'folds.json'})"
    )


def _progress_bar(devices: Devices) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, disable=not devices.is_main)


def _samples_per_epoch(plan: Recipe, people: coco.CocoFile) -> int:
    """Return how many samples an epoch draws: people (a detector's: images) by source repeats."""
    if plan.task == "pose":
        by_image = select_people(people, plan.teacher_labels)
        sources = [person.source for of_image in by_image.values() for person in of_image]
    else:
        by_image = people.people_by_image()
        sources = [of_image[0].source if of_image else "" for of_image in by_image.values()]
    return round(sum(plan.source_repeats.get(source, 1.0) for source in sources))


def _open_task(
    plan: Recipe,
    options: RecipeOptions,
    data: TrainingData,
    *,
    alignment: CellAlignment,
    cache: Path,
    bar: Progress,
    on_progress: Callable[[int, int], None],
) -> tuple[Task, str | None]:
    """Open the teacher and read the data; return the task and the teacher's name.

    A cached teacher's memory is freed on return: the task keeps its peaks only.
    """
    from slimpose.train.box_distillation import open_box_teacher
    from slimpose.train.detector_task import DetectorTask
    from slimpose.train.distillation import open_teacher
    from slimpose.train.pose_task import PoseTask

    def report(teacher: _Teacher) -> _Teacher:
        if not bar.disable:
            bar.console.print(f"teacher: {teacher.name} on {teacher.runs_on}")
        return teacher

    if plan.task == "pose":
        teacher = report(open_teacher(options.teacher)) if options.teacher else None
        task = PoseTask(
            plan,
            data,
            teacher=teacher,
            alignment=alignment,
            cache=cache,
            on_progress=on_progress,
        )
    else:
        teacher = report(open_box_teacher(options.teacher)) if options.teacher else None
        task = DetectorTask(
            plan, data, unlabeled=options.unlabeled, teacher=teacher, on_progress=on_progress
        )
    return task, teacher.name if teacher else None


def _notes(
    files: CocoLayout,
    skeleton: Skeleton,
    start_metadata: dict[str, str],
    teacher_name: str | None,
    unlabeled: Path | None,
) -> dict[str, str]:
    """Return metadata for the weights."""
    notes = {
        "train_file": files.train.name,
        "val_file": files.val.name,
        "skeleton": skeleton.to_json(),
    }
    if "alignment" in start_metadata:
        notes["alignment"] = start_metadata["alignment"]
    if teacher_name:
        notes["teacher"] = teacher_name
    if unlabeled:
        notes["unlabeled"] = f"{unlabeled.name}, {len(image_files(unlabeled))} images"
    return notes


def _show_progress(steps: Iterable[RunProgress], plan: Recipe, bar: Progress) -> None:
    """Run the steps; show loss and AP: a bar on a terminal, else a line now and then for logs."""
    training = bar.add_task(plan.name, total=plan.steps, note="")
    is_log = not (bar.disable or bar.console.is_terminal)
    if is_log:
        bar.console.print(f"{plan.name}: {plan.steps} steps of {plan.batch} samples")
    latest_ap = ""
    started_s = logged_s = time.monotonic()
    first: int | None = None
    for progress in steps:
        done = progress.step.number + 1
        first = done - 1 if first is None else first
        if progress.figures:
            latest_ap = f"AP {100 * progress.figures['AP']:.1f}"
            if not bar.disable:
                bar.console.print(f"samples {done * plan.batch}: {latest_ap}")
        note = f"loss {progress.step.loss:.3f} {latest_ap}"
        bar.update(training, completed=done, note=note)
        now_s = time.monotonic()
        if is_log and now_s - logged_s >= _LOG_LINE_S:
            logged_s = now_s
            rate = plan.batch * (done - first) / (now_s - started_s)
            left_minutes = plan.batch * (plan.steps - done) / rate / 60
            bar.console.print(
                f"samples {done * plan.batch} of {plan.steps * plan.batch}: {note.rstrip()}, "
                f"{rate:.1f} samples/s, {left_minutes:.0f} min left"
            )
