"""Options of a training run on the command line; importing them does not need PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
ExperimentLog = Literal["tensorboard", "wandb", "mlflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """Changes to a recipe; each default leaves it as it is.

    Attributes:
        teacher: Network to distill from: best.safetensors of a run, or an ONNX file with heatmaps,
            also of another project (docs/models.md); for a detector the file of another detector.
        distillation_weight: The teacher's share of the loss, 0 to 1; alpha in the paper. By default
            the recipe's, or 0.5 if it has none. 0 trains without a teacher.
        cached_teacher: Run the teacher once on every person (flipped too) before training, then
            free its memory. The two highest peaks of each joint's heatmap are kept in the run's
            folder (24 bytes per joint, 61 MB for COCO).
        labeled_only: Learn only labeled joints from the teacher.
        unlabeled: Folder of further images, for the detector's teacher to label.
        length: Factor on the recipe's samples; 0.01 is a quick try.
        batch: Samples per step, of all processes together; 0 for the recipe's.
    """

    teacher: Path | None = None
    distillation_weight: float | None = None
    cached_teacher: bool = False
    labeled_only: bool = False
    unlabeled: Path | None = None
    length: float = 1.0
    batch: int = 0
