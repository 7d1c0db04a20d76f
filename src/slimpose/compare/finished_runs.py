"""What lies in runs' folders: how far each went, and what was measured on its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimpose.network.weights import read_metadata
from slimpose.train.recipe import Recipe
from slimpose.train.run import BEST, METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One measurement of a run's weights.

    Attributes:
        folder: The run's.
        ap: COCO keypoint AP, 0..1.
        boxes: Where the people were looked for: "gt", "detector" or a file's name.
        flip: Whether heatmaps were averaged with those of the mirrored crops.
        samples: Crops seen in training.
        trained_on: Name of the training annotations.
        start: What the run started from.
    """

    folder: Path
    ap: float
    boxes: str
    flip: bool
    samples: int
    trained_on: str
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A run, finished where ``steps`` are the recipe's."""

    folder: Path
    recipe: Recipe
    steps: int
    measured: list[Evaluation]

    @property
    def is_finished(self) -> bool:
        """Whether it did all of its recipe's steps."""
        return self.steps >= self.recipe.steps


def find_runs(folder: Path) -> Iterator[RunFolder]:
    """Yield the pose runs whose folders lie in a folder, by name; what is no run is passed over.

    Measured are the run's own best evaluation (ground-truth boxes, no flip), and what ``slimpose
    evaluate --json`` wrote into its folder.

    Raises:
        ValueError: If a run's weights are broken.
    """
    for path in sorted(path.parent for path in folder.glob(f"*/{BEST}")):
        if not (path / METRICS).is_file():
            continue
        metadata = read_metadata(path / BEST)
        if metadata.get("task") != "pose" or "recipe" not in metadata or "figures" not in metadata:
            continue
        try:
            recipe = Recipe.from_json(metadata["recipe"])
        except ValueError as error:
            raise ValueError(f"{path / BEST}: {error} (written by another version?)") from error
        own = {**json.loads(metadata["figures"]), "boxes": "gt", "flip": False}
        measured = [
            Evaluation(
                folder=path,
                ap=float(figures["AP"]),
                boxes=str(figures["boxes"]),
                flip=bool(figures["flip"]),
                samples=int(metadata["samples"]),
                trained_on=metadata.get("train_file", "unknown data"),
                start=metadata.get("start", "unknown"),
            )
            for figures in (own, *_evaluations(path))
        ]
        yield RunFolder(folder=path, recipe=recipe, steps=_steps(path / METRICS), measured=measured)


def _evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """What ``slimpose evaluate --json`` wrote there, decoded with DARK."""
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        is_figures = isinstance(document, dict) and {"AP", "boxes", "flip"} <= document.keys()
        if is_figures and document.get("decoding", "dark") == "dark":
            yield document


def _steps(metrics: Path) -> int:
    """How many steps were logged; a line that was cut off does not count."""
    done = 0
    with metrics.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                done = int(json.loads(line)["step"]) + 1
            except (json.JSONDecodeError, KeyError):
                break
    return done
