"""A run in its folder: metrics.jsonl, checkpoint.safetensors to go on from, best.safetensors to use."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from slimpose.data.order import prefetch
from slimpose.formats.files import write_bytes
from slimpose.network import trunk
from slimpose.network.encoder import Encoder
from slimpose.network.imagenet import load_imagenet
from slimpose.train import checkpoint
from slimpose.train.loop import Step, make_optimizer, train
from slimpose.train.recipe import Recipe
from slimpose.train.task import Task

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
METRICS = "metrics.jsonl"
_UNFOLD_SAMPLES = 320
IMAGENET = "imagenet"


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
        raise FileExistsError(f"{out} already holds a run; pass --resume to go on with it, or another --out")


def load_start(task: Task, recipe: Recipe, start_from: str) -> str:
    """Load a start: "imagenet", a trunk of ``slimpose import-trunk``, or a net's weights; say what it was.

    Raises:
        ValueError: If the file does not fit the net.
        RuntimeError: If ImageNet weights are asked for and cannot be had.
    """
    encoder = task.model.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    if start_from == IMAGENET:
        return f"ImageNet, {load_imagenet(encoder, recipe.net)}"
    path = Path(start_from)
    start = checkpoint.load(path)
    if "trunk" not in start.metadata:
        checkpoint.load_into(task.model, start.tensors, path=path)
        return f"{path.name} ({start.metadata.get('start', 'start unknown')})"
    checkpoint.load_into(encoder, start.tensors, path=path)
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
    save_every_s: float = 180.0,
    stop_after_s: float = float("inf"),
) -> Iterator[Progress]:
    """Train, yielding progress; evaluate, save the best averaged weights and a checkpoint on the way.

    Args:
        task: Model and data.
        recipe: The run.
        out: Its folder.
        resume: Go on from the folder's checkpoint.
        notes: Further metadata for the weights (data, licence, start).
        save_every_s: Seconds between checkpoints.
        stop_after_s: Seconds after which to stop with a checkpoint, for ``resume``.

    Raises:
        FileExistsError: If the folder holds a run and ``resume`` is off.
        ValueError: If the checkpoint is another recipe's.
    """
    check_folder(out, resume=resume)
    out.mkdir(parents=True, exist_ok=True)
    model = task.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    averaged = copy.deepcopy(model).eval()
    optimizer = make_optimizer(model, recipe)
    done, best = 0, float("-inf")
    if resume:
        saved = checkpoint.load(out / CHECKPOINT)
        if saved.metadata.get("recipe") != recipe.to_json():
            raise ValueError(
                f"{out / CHECKPOINT} was written by another recipe or other options; use the same ones to resume"
            )
        done = checkpoint.unpack_training(saved, model, averaged, optimizer, path=out / CHECKPOINT)
        best = float(saved.metadata["best"])
        notes = {name: saved.metadata[name] for name in saved.metadata.keys() - {"step", "best"}}
        _cut_metrics(out / METRICS, done)
    else:
        (out / METRICS).unlink(missing_ok=True)
    metadata = {**notes, "task": recipe.task, "net": recipe.net.to_json(), "recipe": recipe.to_json()}

    def save() -> None:
        state = checkpoint.pack_training(model, averaged, optimizer)
        checkpoint.save(out / CHECKPOINT, state, {**metadata, "step": str(done), "best": str(best)})

    every = max(1, recipe.steps // recipe.evaluations)
    started = last_saved = time.monotonic()
    with (out / METRICS).open("a", encoding="utf-8") as metrics:
        steps = train(
            model=model,
            averaged=averaged,
            optimizer=optimizer,
            recipe=recipe,
            batches=prefetch(task.batch_at, done),
            loss_of=task.loss_of,
            start_step=done,
        )
        for step in steps:
            done = step.number + 1
            figures = None
            if done % every == 0 or done == recipe.steps:
                figures = task.evaluate(averaged, step.number)
                if recipe.phase_at(step.number).size == recipe.phases[-1].size and figures["AP"] > best:
                    best = figures["AP"]
                    noted = {**metadata, "samples": str(done * recipe.batch), "figures": json.dumps(figures)}
                    checkpoint.save(out / BEST, averaged.state_dict(), noted)
            progress = Progress(step=step, seconds=time.monotonic() - started, figures=figures)
            metrics.write(_line(progress, recipe))
            metrics.flush()
            yield progress
            now = time.monotonic()
            if figures or now - last_saved > save_every_s or now - started > stop_after_s or done == recipe.steps:
                save()
                last_saved = now
            if now - started > stop_after_s:
                break


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
    """Drop what was logged behind the checkpoint: the resumed run logs it again, the same."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        kept = list(islice(lines, steps))
    write_bytes(path, "".join(kept).encode())
