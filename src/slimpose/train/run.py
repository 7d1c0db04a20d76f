"""A run in its folder: metrics.jsonl, checkpoint.safetensors to go on from, best.safetensors to use."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from slimpose.data.order import prefetch
from slimpose.formats.files import write_bytes
from slimpose.network import trunk
from slimpose.network.encoder import Encoder
from slimpose.network.growing import load_into_larger
from slimpose.network.imagenet import load_imagenet
from slimpose.network.spec import NetSpec
from slimpose.network.weights import (
    Checkpoint,
    load_checkpoint,
    load_into,
    load_weights,
    save_checkpoint,
)
from slimpose.train import checkpoint
from slimpose.train.devices import Devices, open_devices
from slimpose.train.inference import frozen_stem
from slimpose.train.loop import Step, make_optimizer, train
from slimpose.train.processes import broadcast_from_first
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"
_UNFOLD_SAMPLES = 320
IMAGENET = "imagenet"
_RESUMED_WITH = {
    "teacher": "--teacher",
    "train_file": "--train",
    "val_file": "--val",
    "unlabeled": "--unlabeled",
}
"""What must stay the same for the run to be the same one: note to option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What ``run`` reports: a step, and figures where the averaged weights were just evaluated."""

    step: Step
    seconds: float
    figures: dict[str, float] | None


def check_folder(out: Path, *, resume: bool) -> None:
    """Raise FileNotFoundError where there is nothing to resume, FileExistsError where a run would be overwritten."""
    if resume and not (out / CHECKPOINT).is_file():
        raise FileNotFoundError(f"{out} holds no {CHECKPOINT} to resume from")
    if not resume and ((out / CHECKPOINT).exists() or (out / BEST).exists()):
        raise FileExistsError(
            f"{out} already holds a run; pass --resume to go on with it, or another --out"
        )


def load_start(task: Task, recipe: Recipe, start_from: str) -> str:
    """Load a start: "imagenet", a trunk of ``slimpose import-trunk``, or the weights of this net or of a part of it.

    Returns:
        What it was.

    Raises:
        ValueError: If the file does not fit the net, or the net has no encoder to begin with
            something else.
        RuntimeError: If ImageNet weights are asked for and cannot be had.
    """
    net, path = recipe.net, Path(start_from)
    start = None if start_from == IMAGENET else load_weights(path)
    if start is not None and "trunk" not in start.metadata:
        if start.tensors.keys() < task.model.state_dict().keys():
            added = load_into_larger(task.model, start.tensors, path=path)
            return f"{path.name} ({start.metadata.get('start', 'start unknown')}), {len(added)} parts added"
        load_into(task.model, start.tensors, path=path)
        return f"{path.name} ({start.metadata.get('start', 'start unknown')})"
    encoder = task.model.get_submodule("encoder") if isinstance(net, NetSpec) else None
    if not isinstance(net, NetSpec) or not isinstance(encoder, Encoder):
        raise ValueError(
            f"{recipe.name} has no encoder to start from {start_from}; expected a file of its own weights"
        )
    if start is None:
        return f"ImageNet, {load_imagenet(encoder, net)}"
    own = encoder.state_dict()
    cut = {
        name: tensor
        for name, tensor in start.tensors.items()
        if name in own or net.encoder_stride == 32
    }
    load_into(encoder, cut, path=path)  # an encoder cut at stride 16 leaves the last stages out
    if start.metadata.get("folded") == "1":
        pictures = (
            torch.from_numpy(task.pictures_of(task.batch_at(step)))
            for step in range(max(1, _UNFOLD_SAMPLES // recipe.batch))
        )
        trunk.unfold_batch_norm(encoder, pictures)
    return start.metadata.get("origin", path.name)


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
    """Train, yielding progress; evaluate, save the best averaged weights and a checkpoint on the way.

    Of several processes all do the same, each with its part of the data; only the first writes. A
    run may be resumed with another number of them.

    Args:
        task: Model and data.
        recipe: The run.
        out: Its folder.
        resume: Go on from the folder's checkpoint.
        notes: Further metadata for the weights (data, license, start).
        devices: What computes; one process in FP32 by default.
        save_every_s: Seconds between checkpoints.
        stop_after_s: Seconds after which to stop with a checkpoint, for ``resume``.

    Raises:
        FileExistsError: If the folder holds a run and ``resume`` is off.
        ValueError: If the checkpoint is another recipe's or was begun with other data; if a phase
            is shorter than a batch, or a batch cannot be cut into the devices' parts.
    """
    check_folder(out, resume=resume)
    devices = devices or open_devices()
    devices.check(recipe)
    if short := [phase for phase in recipe.phases if phase.samples < recipe.batch]:
        raise ValueError(
            f"a phase of {short[0].samples} samples at {short[0].size} makes no step with a batch of {recipe.batch}; "
            "expected a smaller --batch, or a longer run"
        )
    parts, scaler = devices.accumulate, devices.accelerator.scaler
    out.mkdir(parents=True, exist_ok=True)
    model = task.model.to(device=devices.accelerator.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    averaged = copy.deepcopy(model).eval()
    optimizer = make_optimizer(model, recipe)
    done, best = 0, float("-inf")
    if resume:
        saved = load_checkpoint(out / CHECKPOINT)
        if not _is_of(saved, recipe):
            raise ValueError(
                f"{out / CHECKPOINT} was written by another recipe or other options; use the same ones to resume"
            )
        for name, option in _RESUMED_WITH.items():
            before, now = (noted.get(name, "nothing") for noted in (saved.metadata, notes))
            if before != now:
                raise ValueError(
                    f"{out / CHECKPOINT} was begun with {option} {before}; got {now}; pass the same {option} to resume"
                )
        done = checkpoint.unpack_training(saved, model, averaged, optimizer, path=out / CHECKPOINT)
        best = float(saved.metadata["best"])
        if scaler is not None and "scaler" in saved.metadata:
            scaler.load_state_dict(json.loads(saved.metadata["scaler"]))
        notes = {
            name: saved.metadata[name]
            for name in saved.metadata.keys() - {"step", "best", "scaler"}
        }
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, Encoder):
        encoder.frozen_stem = frozen_stem(encoder, recipe.frozen_stages)
    if devices.is_main:
        _cut_metrics(out / METRICS, done)
    metadata = {
        **notes,
        "task": recipe.task,
        "net": recipe.net.to_json(),
        "recipe": recipe.to_json(),
    }

    def save() -> None:
        state = checkpoint.pack_training(model, averaged, optimizer)
        noted = {**metadata, "step": str(done), "best": str(best)}
        if scaler is not None:
            noted["scaler"] = json.dumps(scaler.state_dict())
        save_checkpoint(out / CHECKPOINT, state, noted)

    def batch_of(number: int) -> Any:
        step, part = divmod(number, parts)
        return task.batch_at(step, devices.part(part))

    every = max(1, recipe.steps // recipe.evaluations)
    started = last_saved = time.monotonic()
    with (
        (out / METRICS).open("a", encoding="utf-8") if devices.is_main else nullcontext() as metrics
    ):
        steps = train(
            model=model,
            averaged=averaged,
            optimizer=optimizer,
            recipe=recipe,
            batches=prefetch(batch_of, done * parts, workers=devices.workers),
            loss_of=task.loss_of,
            start_step=done,
            devices=devices,
        )
        for step in steps:
            done = step.number + 1
            figures = None
            if done % every == 0 or done == recipe.steps:
                figures = task.evaluate(averaged, step.number)
                if (
                    recipe.phase_at(step.number).size == recipe.phases[-1].size
                    and figures["AP"] > best
                ):
                    best = figures["AP"]
                    noted = {
                        **metadata,
                        "samples": str(done * recipe.batch),
                        "figures": json.dumps(figures),
                    }
                    if devices.is_main:
                        save_checkpoint(out / BEST, averaged.state_dict(), noted)
            progress = Progress(step=step, seconds=time.monotonic() - started, figures=figures)
            if metrics:
                metrics.write(_line(progress, recipe))
                metrics.flush()
            yield progress
            now = time.monotonic()
            stops = math.isfinite(stop_after_s) and broadcast_from_first(
                now - started > stop_after_s
            )
            if figures or now - last_saved > save_every_s or stops or done == recipe.steps:
                if devices.is_main:
                    save()
                last_saved = now
            if stops:
                break


def _is_of(saved: Checkpoint, recipe: Recipe) -> bool:
    """Whether a checkpoint is this recipe's, perhaps written before recipes had all of today's settings."""
    try:
        return Recipe.from_json(saved.metadata.get("recipe", "")) == recipe
    except ValueError:
        return False


def _line(progress: Progress, recipe: Recipe) -> str:
    record = {
        "step": progress.step.number,
        "samples": (progress.step.number + 1) * recipe.batch,
        "size": str(recipe.phase_at(progress.step.number).size),
        "loss": progress.step.loss,
        "learning_rate": progress.step.learning_rate,
        "seconds": round(progress.seconds, 2),
    }
    return json.dumps(record | (progress.figures or {})) + "\n"


def _cut_metrics(path: Path, steps: int) -> None:
    """Drop what was logged behind the checkpoint, all for a new run: the resumed one logs it again, the same."""
    if not path.exists():
        return
    if steps == 0:
        path.unlink()
        return
    with path.open(encoding="utf-8") as lines:
        kept = list(islice(lines, steps))
    write_bytes(path, "".join(kept).encode())
