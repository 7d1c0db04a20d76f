"""Logging a run's figures to TensorBoard, Weights & Biases or MLflow, by accelerate's trackers.

All of them write into the run's folder and send nothing, unless the packages' own variables
(WANDB_MODE, MLFLOW_TRACKING_URI) say otherwise.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from slimpose.train.options import ExperimentLog
from slimpose.train.recipe import Recipe

STEPS_PER_LINE = 10
"""Steps between two logged losses."""


def require(name: ExperimentLog, out: Path) -> None:
    """Import the package, after its variables were set so that it sends nothing.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    for variable, value in {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_TRACKING_URI": (out.resolve() / "mlflow").as_uri(),
    }.items():
        os.environ.setdefault(variable, value)
    importlib.import_module(name)


def start(accelerator: Accelerator, recipe: Recipe, out: Path, notes: dict[str, str]) -> None:
    """Begin to log, with the recipe's main settings."""
    config: dict[str, Any] = {
        "recipe": recipe.name,
        "samples": recipe.samples,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "size": str(recipe.net.size),
        "train_file": notes.get("train_file", ""),
        "start": notes.get("start", ""),
    }
    init = {"wandb": {"dir": str(out), "name": out.name}, "mlflow": {"run_name": out.name}}
    accelerator.init_trackers("slimpose", config=config, init_kwargs=init)


def log(accelerator: Accelerator, record: dict[str, Any]) -> None:
    """Log the numbers of a line of metrics.jsonl, at its step; without a log nothing."""
    if accelerator.trackers and ("AP" in record or record["step"] % STEPS_PER_LINE == 0):
        numbers = {
            name: value
            for name, value in record.items()
            if isinstance(value, (int, float)) and name != "step"
        }
        accelerator.log(numbers, step=record["step"])
