"""Read training runs from their folders: progress, and evaluations of their weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slimpose import fields
from slimpose.fields import Fields
from slimpose.network.weights import read_metadata
from slimpose.train.recipe import Recipe
from slimpose.train.run import BEST, METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation of a run's weights.

    Attributes:
        folder: The run's folder.
        ap: COCO keypoint AP, 0..1.
        boxes: Person boxes: "gt", "detector" or the name of a file.
        flip: Whether heatmaps were averaged with those of the mirrored crops.
        samples: Crops processed in training.
        trained_on: Name of the training annotations.
        start: The start of the training: a trunk or other weights.
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
    """A training run; ``steps`` is the number of steps it has done."""

    folder: Path
    recipe: Recipe
    steps: int
    evaluations: list[Evaluation]

    @property
    def is_finished(self) -> bool:
        """Whether all steps of the recipe are done."""
        return self.steps >= self.recipe.steps


def find_runs(folder: Path) -> Iterator[RunFolder]:
    """Yield the pose runs in the subfolders of a folder, by name; other subfolders are skipped.

    A run's evaluations are its own best one (ground-truth boxes, no flip test), and those that
    ``slimpose evaluate --json`` wrote into its folder.

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
        where = f"{path / BEST}: figures"
        own = fields.table(fields.from_json(metadata["figures"], where), where)
        own = Fields({**own.values, "boxes": "gt", "flip": False}, where)
        samples = fields.integer(metadata.get("samples"), f"{path / BEST}: samples", low=0)
        evaluations = [
            Evaluation(
                folder=path,
                ap=figures.number("AP", low=-1, high=1),
                boxes=figures.text("boxes"),
                flip=figures.flag("flip"),
                samples=samples,
                trained_on=metadata.get("train_file", "unknown data"),
                start=metadata.get("start", "unknown"),
            )
            for figures in (own, *_evaluations(path))
        ]
        yield RunFolder(
            folder=path, recipe=recipe, steps=_steps(path / METRICS), evaluations=evaluations
        )


def _evaluations(folder: Path) -> Iterator[Fields]:
    """Figures that ``slimpose evaluate --json`` wrote into the folder, of DARK decoding."""
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):  # not JSON
            continue
        is_figures = isinstance(document, dict) and {"AP", "boxes", "flip"} <= document.keys()
        if is_figures and document.get("decoding", "dark") == "dark":
            yield Fields(document, str(path))


def _steps(metrics: Path) -> int:
    """The number of logged steps; an incomplete line does not count."""
    done = 0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            done = fields.table(json.loads(line), str(metrics)).integer("step", low=0) + 1
        except ValueError:
            break
    return done
