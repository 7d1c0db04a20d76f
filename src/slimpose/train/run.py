"""A run in its folder: metrics.jsonl, checkpoint.safetensors to resume, best.safetensors to use."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slimpose import fields
from slimpose.data.order import prefetch
from slimpose.formats.files import write_text
from slimpose.network.encoder import Encoder
from slimpose.network.weights import Checkpoint, load_checkpoint, save_checkpoint
from slimpose.train import experiment_log
from slimpose.train.checkpoint import pack_training, unpack_training
from slimpose.train.devices import Devices, open_devices
from slimpose.train.inference import compile_frozen_stem
from slimpose.train.loop import Step, make_optimizer, train
from slimpose.train.processes import broadcast, broadcast_buffers
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"
_MUST_NOT_CHANGE = {
    "teacher": "--teacher",
    "train_file": "--train",
    "val_file": "--val",
    "unlabeled": "--unlabeled",
}
"""Notes that a resumed run must have in common with its checkpoint, and their options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step that ``run`` did, and the figures if the averaged weights were evaluated after it."""

    step: Step
    seconds: float
    figures: dict[str, float] | None


def check_run_folder(out: Path, *, resume: bool) -> None:
    """Check that a run can start or resume in a folder.

    Raises:
        FileNotFoundError: If there is nothing to resume.
        FileExistsError: If a run would be overwritten.
    """
    if resume and not (out / CHECKPOINT).is_file():
        raise FileNotFoundError(f"{out} has no {CHECKPOINT} to resume from")
    if not resume and ((out / CHECKPOINT).exists() or (out / BEST).exists()):
        raise FileExistsError(
            f"{out} already contains a run; pass --resume to continue it, or another --out"
        )


def run(
    task: Task,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool,
    notes: dict[str, str],
    devices: Devices | None = None,
    save_every_s: float = 180.0,
    stop_after_s: float = float("inf"),
) -> Iterator[Progress]:
    """Train, yielding progress; evaluate, and save checkpoints and the best averaged weights.

    With several processes all do the same, each with its part of the data; only the first writes.
    A run may be resumed, from its folder's checkpoint, with another number of them; by default it
    is one process in FP32. ``notes`` are further metadata for the weights (data, license, start).
    After ``stop_after_s`` seconds the run stops with a checkpoint, for ``resume``; it ends when the
    recipe's ``patience`` does.

    Raises:
        FileExistsError: If the folder contains a run and ``resume`` is off.
        ValueError: If the checkpoint is of another recipe or other data; if a phase is shorter than
            a batch, or a batch cannot be divided into the devices' parts.
    """
    check_run_folder(out, resume=resume)
    devices = devices or open_devices()
    devices.check(recipe)
    for phase in recipe.phases:
        if phase.samples < recipe.batch:
            raise ValueError(
                f"{recipe.name}: a phase of {phase.samples} samples at {phase.size} is less than a"
                f" batch of {recipe.batch}; expected a smaller --batch, or a longer run"
            )
    out.mkdir(parents=True, exist_ok=True)
    state = _State(task.model, recipe, out, devices, notes)
    if resume:
        state.restore()
    encoder = getattr(state.model, "encoder", None)
    if isinstance(encoder, Encoder):
        encoder.frozen_stem = compile_frozen_stem(encoder, recipe.frozen_stages)
    metrics_path = out / METRICS
    if devices.is_main:
        _truncate_metrics(metrics_path, state.done)
    started = last_saved = time.monotonic()
    with metrics_path.open("a", encoding="utf-8") if devices.is_main else nullcontext() as metrics:
        for step in () if state.has_no_patience else _steps(task, state):
            state.done = step.number + 1
            is_last = state.done == recipe.steps
            figures = None
            if is_last or state.done % max(1, recipe.steps // recipe.evaluations) == 0:
                figures = state.evaluate(task, step.number)
            progress = Progress(step=step, seconds=time.monotonic() - started, figures=figures)
            if metrics:
                record = _metrics(progress, recipe)
                metrics.write(json.dumps(record) + "\n")
                metrics.flush()
                experiment_log.log(devices.accelerator, record)
            yield progress
            now = time.monotonic()
            stops = math.isfinite(stop_after_s) and broadcast(now - started > stop_after_s)
            is_last = is_last or state.has_no_patience
            if figures or now - last_saved > save_every_s or stops or is_last:
                state.save()
                last_saved = now
            if stops or is_last:
                break


@dataclass(slots=True)
class _State:
    """What a checkpoint restores, and where it is saved."""

    model: nn.Module
    recipe: Recipe
    out: Path
    devices: Devices
    notes: dict[str, str]
    averaged: nn.Module = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    done: int = 0
    best: float = float("-inf")
    evaluations_since_best: int = 0

    def __post_init__(self) -> None:
        self.model.to(device=self.devices.accelerator.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.averaged = copy.deepcopy(self.model).eval()
        self.optimizer = make_optimizer(self.model, self.recipe)

    def restore(self) -> None:
        """Load the checkpoint; its notes replace the run's.

        Raises:
            ValueError: If it is of another recipe or other data.
        """
        path = self.out / CHECKPOINT
        saved = load_checkpoint(path)
        if not _is_of_recipe(saved, self.recipe):
            raise ValueError(
                f"{path} was written with another recipe or other options; use the same ones to"
                " resume"
            )
        for name, option in _MUST_NOT_CHANGE.items():
            before, now = (notes.get(name, "nothing") for notes in (saved.metadata, self.notes))
            if before != now:
                raise ValueError(
                    f"{path} was started with {option} {before}; got {now}; pass the same {option}"
                    " to resume"
                )
        self.done = unpack_training(
            saved,
            self.model,
            self.averaged,
            self.optimizer,
            steps=self.recipe.steps,
            path=path,
        )
        self.best = _best_ap(saved.metadata.get("best"), path)
        scaler = self.devices.accelerator.scaler
        if scaler is not None and "scaler" in saved.metadata:
            where = f"{path}: scaler"
            state = fields.table(fields.from_json(saved.metadata["scaler"], where), where)
            scaler.load_state_dict(dict(state.values))
        since = saved.metadata.get("evaluations_since_best", "0")
        self.evaluations_since_best = fields.integer(
            since, f"{path}: evaluations_since_best", low=0
        )
        progress = {"step", "best", "scaler", "evaluations_since_best"}
        self.notes = {name: saved.metadata[name] for name in saved.metadata.keys() - progress}

    def save(self) -> None:
        """Write the checkpoint, in the first process only."""
        if not self.devices.is_main:
            return
        metadata = self._metadata() | {
            "step": str(self.done),
            "best": str(self.best),
            "evaluations_since_best": str(self.evaluations_since_best),
        }
        scaler = self.devices.accelerator.scaler
        if scaler is not None:
            metadata["scaler"] = json.dumps(scaler.state_dict())
        state = pack_training(self.model, self.averaged, self.optimizer)
        save_checkpoint(self.out / CHECKPOINT, state, metadata)

    def evaluate(self, task: Task, step: int) -> dict[str, float]:
        """Evaluate the averaged weights, and save them if they are the best at the final size."""
        broadcast_buffers(self.averaged)
        figures = task.evaluate(self.averaged, step)
        recipe = self.recipe
        is_final_size = recipe.phase_at(step).size == recipe.phases[-1].size
        self.evaluations_since_best += is_final_size
        if is_final_size and figures["AP"] > self.best:
            self.evaluations_since_best = 0
            self.best = figures["AP"]
            samples = str(self.done * recipe.batch)
            metadata = self._metadata() | {"samples": samples, "figures": json.dumps(figures)}
            if self.devices.is_main:
                save_checkpoint(self.out / BEST, self.averaged.state_dict(), metadata)
        return figures

    @property
    def has_no_patience(self) -> bool:
        """Whether the AP has not improved for as many evaluations as the recipe waits."""
        return 0 < self.recipe.patience <= self.evaluations_since_best

    def _metadata(self) -> dict[str, str]:
        recipe, net = self.recipe, self.recipe.net
        return {**self.notes, "task": recipe.task, "net": net.to_json(), "recipe": recipe.to_json()}


def _steps(task: Task, state: _State) -> Iterator[Step]:
    """Run the training loop from where the state is, on batches that threads make ahead."""
    devices, parts = state.devices, state.devices.accumulate

    def part_at(number: int) -> Any:
        step, part = divmod(number, parts)
        return task.batch_at(step, devices.part(part))

    return train(
        model=state.model,
        averaged=state.averaged,
        optimizer=state.optimizer,
        recipe=state.recipe,
        batches=prefetch(part_at, state.done * parts, workers=devices.workers),
        loss=task.loss,
        start_step=state.done,
        devices=devices,
    )


def _best_ap(text: str | None, path: Path) -> float:
    """The best AP before a checkpoint; -inf, as Python writes it, before the first evaluation."""
    if text == str(-math.inf):
        return -math.inf
    where = f"{path}: best"
    return fields.number(fields.from_json(text or "null", where), where, low=-1, high=1)


def _is_of_recipe(saved: Checkpoint, recipe: Recipe) -> bool:
    """Return whether a checkpoint is of this recipe, even if recipes had fewer settings then."""
    try:
        return Recipe.from_json(saved.metadata.get("recipe", "")) == recipe
    except ValueError:
        return False


def _metrics(progress: Progress, recipe: Recipe) -> dict[str, Any]:
    step = progress.step
    record = {
        "step": step.number,
        "samples": (step.number + 1) * recipe.batch,
        "size": str(recipe.phase_at(step.number).size),
        "loss": step.loss,
        "learning_rate": step.learning_rate,
        "seconds": round(progress.seconds, 2),
    }
    return record | (progress.figures or {})


def _truncate_metrics(path: Path, steps: int) -> None:
    """Drop the lines of steps after the checkpoint, which the resumed run repeats."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            kept = "".join(islice(lines, steps))
        write_text(path, kept)
