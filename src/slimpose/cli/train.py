"""``slimpose train``."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from slimpose.formats import coco
from slimpose.train.detector_task import detector_task
from slimpose.train.pose_task import pose_task
from slimpose.train.recipes import RECIPES
from slimpose.train.run import IMAGENET, check_folder, load_start, run


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory instead of handing it back: a CPU training step then takes 0.6 of the time.

    PyTorch frees and asks for the same large buffers every step; by default each comes back from the kernel
    unmapped and is zeroed page by page. Elsewhere than on glibc this does nothing. Numbers: docs/experiments.md.
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
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
    /,
    train: Path,
    images: Path,
    val: Path,
    val_images: Path,
    out: Path,
    start: str | None = None,
    resume: bool = False,
    length: float = 1.0,
    threads: int = 0,
    stop_after_minutes: float = float("inf"),
) -> int:
    """Train a pose net or a person detector.

    Args:
        recipe: Name of the recipe; a wrong one lists them.
        train: COCO annotation file to train on.
        images: Folder of its images.
        val: COCO annotation file to evaluate on during the run.
        val_images: Folder of its images.
        out: Folder of the run: metrics.jsonl, checkpoint.safetensors, best.safetensors.
        start: What to start from: a file of slimpose import-trunk or of an earlier run, or the word imagenet.
        resume: Go on from the checkpoint in the run's folder, exactly.
        length: Multiplies the recipe's samples; 0.01 is a quick try.
        threads: CPU threads; 0 leaves PyTorch's choice.
        stop_after_minutes: Stop with a checkpoint after so long.
    """
    if recipe not in RECIPES:
        raise ValueError(f"no recipe is named {recipe!r}; expected one of {', '.join(RECIPES)}")
    if threads < 0 or length <= 0:
        raise ValueError(f"--threads is {threads}, --length {length:g}; expected 0 or more, and more than 0")
    if start and resume:
        raise ValueError("--resume goes on from the run's own checkpoint; leave --start out")
    if start and start != IMAGENET and not Path(start).is_file():
        raise FileNotFoundError(f"no start file {start} (expected a file, or the word {IMAGENET})")
    check_folder(out, resume=resume)
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    plan = RECIPES[recipe]()
    plan = plan.scaled(length) if length != 1.0 else plan
    torch.manual_seed(plan.seed)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}")) as bar:
        reading = bar.add_task("reading images", total=None, note="")
        is_pose = plan.task == "pose"
        people = coco.read(train, keypoints=is_pose)
        if is_pose:
            net = dataclasses.replace(plan.net, joints=len(people.skeleton.joints))
            plan = dataclasses.replace(plan, net=net)
        task = (pose_task if is_pose else detector_task)(
            plan,
            train=people,
            train_images=images,
            val=coco.read(val, keypoints=is_pose),
            val_images=val_images,
            on_progress=lambda done, total: bar.update(reading, completed=done, total=total),
        )
        origin = load_start(task, plan, start) if start else "random"
        training = bar.add_task(plan.name, total=plan.steps, note="")
        best = ""
        for progress in run(
            task,
            plan,
            out,
            resume=resume,
            notes={"train_file": train.name, "start": origin, "skeleton": people.skeleton.to_json()},
            stop_after_s=60 * stop_after_minutes,
        ):
            if progress.figures:
                best = f"AP {100 * progress.figures['AP']:.1f}"
                bar.console.print(f"samples {(progress.step.number + 1) * plan.batch}: {best}")
            note = f"loss {progress.step.loss:.3f} {best}"
            bar.update(training, completed=progress.step.number + 1, note=note)
    return 0
