"""``slimpose train``."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from functools import partial
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

from slimpose.data.people import select_people
from slimpose.formats import coco, coco_layout
from slimpose.formats.coco_layout import CocoLayout
from slimpose.media.images import image_files
from slimpose.network.build import alignment_from_metadata, spec_from_json
from slimpose.network.weights import read_metadata
from slimpose.runtime.machine import check_threads
from slimpose.train.box_distillation import open_box_teacher
from slimpose.train.detector_task import detector_task
from slimpose.train.devices import Precision, open_devices
from slimpose.train.distillation import TEACHER_CACHE, open_teacher
from slimpose.train.pose_task import pose_task
from slimpose.train.processes import world_size
from slimpose.train.recipe import Recipe
from slimpose.train.recipes import recipe_of
from slimpose.train.run import CHECKPOINT, IMAGENET, check_folder, load_start, run

RANDOM = "random"


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory instead of handing it back: a CPU training step then takes 0.6 of the time.

    PyTorch frees and asks for the same large buffers every step; by default each comes back from
    the kernel unmapped and is zeroed page by page. Elsewhere than on glibc this does nothing.
    Numbers: docs/experiments.md.
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
    out: Path,
    coco_folder: Annotated[Path | None, tyro.conf.arg(name="coco")] = None,
    train: Path | None = None,
    images: Path | None = None,
    val: Path | None = None,
    val_images: Path | None = None,
    start: str | None = None,
    teacher: Path | None = None,
    alpha: float | None = None,
    cached_teacher: bool = False,
    labeled_only: bool = False,
    unlabeled: Path | None = None,
    resume: bool = False,
    length: float = 1.0,
    batch: int = 0,
    accumulate: int = 1,
    precision: Precision = "fp32",
    workers: int = 1,
    threads: int | None = None,
    stop_after_minutes: float = float("inf"),
) -> int:
    """Train a pose net or a person detector; under torchrun, on several GPUs and machines.

    Args:
        recipe: Name of the recipe (a wrong one lists them), FILE.toml with a recipe of your own, or
            a weights file, for the run that made it.
        out: Folder of the run: metrics.jsonl, checkpoint.safetensors, best.safetensors.
        coco_folder: Folder of COCO 2017 as it is usually unpacked, in place of the next four.
        train: COCO annotation file to train on.
        images: Folder of its images.
        val: COCO annotation file to evaluate on during the run.
        val_images: Folder of its images.
        start: What to start from: a file of slimpose import-trunk or of an earlier run, or the
            words imagenet or random; what the recipe says by default.
        teacher: Net to distil from: a run's best.safetensors, or an ONNX file that gives heatmaps;
            for a detector a YOLOX ONNX file.
        alpha: Share of the loss that compares with it; the recipe's by default, 0.5 where it has
            none. 0 trains without a teacher.
        cached_teacher: The teacher looks at every person once, beforehand, mirrored too, and then
            leaves memory: in place of the heatmaps of every crop, the two highest peaks of each
            joint are kept in the run's folder (24 bytes a joint, 61 MB for COCO).
        labeled_only: Learn from the teacher only the joints that have a label.
        unlabeled: Folder of further pictures, for the detector's teacher to label.
        resume: Go on from the checkpoint in the run's folder, exactly.
        length: Multiplies the recipe's samples; 0.01 is a quick try.
        batch: Samples a step, of all processes together; 0 leaves the recipe's.
        accumulate: Compute each process's batch in so many parts one after another, to fit its
            memory.
        precision: fp32, or bf16 or fp16 where that is safe (fp16 on GPUs only).
        workers: Threads a process that make batches; a fast GPU needs several.
        threads: CPU threads; PyTorch's choice by default.
        stop_after_minutes: Stop with a checkpoint after so long.
    """
    plan = recipe_of(recipe)
    check_threads(threads)
    if batch < 0 or length <= 0:
        raise ValueError(
            f"--batch {batch}, --length {length:g}; expected 0 or more, and more than 0"
        )
    if accumulate < 1 or workers < 1:
        raise ValueError(f"--accumulate is {accumulate}, --workers {workers}; expected 1 or more")
    files = _files(coco_folder, train, images, val, val_images)
    if start and resume:
        raise ValueError("--resume goes on from the run's own checkpoint; leave --start out")
    if start and start not in (IMAGENET, RANDOM) and not Path(start).is_file():
        raise FileNotFoundError(
            f"no start file {start} (expected a file, or the words {IMAGENET} or {RANDOM})"
        )
    check_folder(out, resume=resume)
    keep_freed_memory()
    sys.setswitchinterval(
        2e-4
    )  # by default the thread that makes batches keeps small calls waiting for 5 ms each
    devices = open_devices(precision=precision, accumulate=accumulate, workers=workers)
    if threads:
        torch.set_num_threads(threads)
    plan = dataclasses.replace(plan, batch=batch) if batch else plan
    if unlabeled is not None and plan.task == "pose":
        raise ValueError(f"{plan.name} trains a pose net; --unlabeled pictures are for detectors")
    if teacher is not None:
        plan = dataclasses.replace(
            plan, distillation_weight=plan.distillation_weight or 0.5 if alpha is None else alpha
        )
    elif alpha == 0:
        plan = dataclasses.replace(plan, distillation_weight=0.0, feature_distillation_weight=0.0)
    elif plan.distillation_weight or alpha is not None:
        share = plan.distillation_weight if alpha is None else alpha
        raise ValueError(
            f"{plan.name} with alpha {share:g} learns from a teacher; pass --teacher FILE, or --alpha 0 to do without"
        )
    if (cached_teacher or labeled_only) and (teacher is None or plan.task != "pose"):
        raise ValueError(
            "--cached-teacher and --labeled-only are for pose nets that learn from a --teacher"
        )
    plan = plan.with_cached_teacher() if cached_teacher else plan
    plan = dataclasses.replace(plan, distill_unlabeled=False) if labeled_only else plan
    begun_from = str(out / CHECKPOINT) if resume else start or plan.start or RANDOM
    begun = {} if begun_from in (IMAGENET, RANDOM) else read_metadata(Path(begun_from))
    torch.manual_seed(plan.seed)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    columns = *columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}")
    with Progress(*columns, disable=not devices.is_main) as bar:
        reading = bar.add_task("reading images", total=None, note="")
        is_pose = plan.task == "pose"
        people = coco.read(files.train, keypoints=is_pose)
        if coco_folder is not None:
            coco_layout.check_all_images_exist(people, files.train_images)
        plan = plan.with_epochs_counted(_samples_an_epoch(plan, people))
        plan = plan.scaled(length) if length != 1.0 else plan
        if is_pose:
            net = dataclasses.replace(plan.net, joints=len(people.skeleton.joints))
            plan = dataclasses.replace(plan, net=net)
            if "net" in begun:
                plan = plan.with_net(spec_from_json(begun["net"]))
            taught_by = open_teacher(teacher) if teacher else None
            alignment = alignment_from_metadata(begun)
            make_task = partial(
                pose_task, plan, teacher=taught_by, alignment=alignment, cache=out / TEACHER_CACHE
            )
        else:
            taught_by = open_box_teacher(teacher) if teacher else None
            make_task = partial(detector_task, plan, teacher=taught_by, unlabeled=unlabeled)
        if taught_by and devices.is_main:
            bar.console.print(f"teacher: {taught_by.name} on {taught_by.runs_on}")
        task = make_task(
            train=people,
            train_images=files.train_images,
            val=coco.read(files.val, keypoints=is_pose),
            val_images=files.val_images,
            on_progress=lambda done, total: bar.update(reading, completed=done, total=total),
        )
        notes = {
            "train_file": files.train.name,
            "val_file": files.val.name,
            "skeleton": people.skeleton.to_json(),
        }
        notes |= {"alignment": begun["alignment"]} if "alignment" in begun else {}
        notes |= {"teacher": taught_by.name} if taught_by else {}
        notes |= (
            {"unlabeled": f"{unlabeled.name}, {len(image_files(unlabeled))} pictures"}
            if unlabeled
            else {}
        )
        del (
            make_task,
            taught_by,
        )  # a teacher that is done looking leaves memory: the task alone says whether it is
        origin = RANDOM if resume or begun_from == RANDOM else load_start(task, plan, begun_from)
        training = bar.add_task(plan.name, total=plan.steps, note="")
        best = ""
        for progress in run(
            task,
            plan,
            out,
            resume=resume,
            notes={**notes, "start": origin},
            devices=devices,
            stop_after_s=60 * stop_after_minutes,
        ):
            if progress.figures:
                best = f"AP {100 * progress.figures['AP']:.1f}"
                if devices.is_main:
                    bar.console.print(f"samples {(progress.step.number + 1) * plan.batch}: {best}")
            note = f"loss {progress.step.loss:.3f} {best}"
            bar.update(training, completed=progress.step.number + 1, note=note)
    if world_size() > 1:
        devices.accelerator.end_training()
    return 0


def _files(
    coco_folder: Path | None,
    train: Path | None,
    images: Path | None,
    val: Path | None,
    val_images: Path | None,
) -> CocoLayout:
    given = {"--train": train, "--images": images, "--val": val, "--val-images": val_images}
    missing = [option for option, path in given.items() if path is None]
    if coco_folder is not None:
        if len(missing) < len(given):
            raise ValueError(
                f"--coco finds the data by itself; leave out {', '.join(sorted(given.keys() - {*missing}))}"
            )
        return coco_layout.find(coco_folder)
    if train is None or images is None or val is None or val_images is None:
        raise ValueError(
            f"{', '.join(missing)} missing; expected --coco FOLDER, or {', '.join(given)}"
        )
    return CocoLayout(train=train, train_images=images, val=val, val_images=val_images)


def _samples_an_epoch(plan: Recipe, people: coco.CocoFile) -> int:
    """How often an epoch draws: every person (of a detector's data, every picture), by the recipe's weights."""
    grouped = (
        select_people(people, plan.teacher_labels)
        if plan.task == "pose"
        else people.people_by_image()
    )
    if plan.task == "pose":
        sources = [person.source for found in grouped.values() for person in found]
    else:
        sources = [found[0].source if found else "" for found in grouped.values()]
    return round(sum(plan.source_repeats.get(source, 1.0) for source in sources))
