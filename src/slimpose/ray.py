"""Poses in pipelines of your own: ``PosePredictor`` for Ray Data, and for Dask and Spark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

import slimpose
from slimpose.formats.people_columns import people_columns
from slimpose.poses import Poses
from slimpose.runtime import models
from slimpose.runtime.tiles import Tiles


class PosePredictor:
    """Finds the people in batches of images: a callable class for ``map_batches``.

    It takes a batch as a dictionary of columns, and returns one with a row per person: all columns
    but the image's, and person, track_id (-1), score, box, keypoints and covariances as in the
    files of ``slimpose bulk``. Images without people have no row. Each worker opens the models
    once, when the first batch comes.

    >>> predictor = PosePredictor(model="mnv2")
    >>> batch = {"image": np.zeros((1, 480, 640, 3), np.uint8), "path": np.array(["a.jpg"])}
    >>> {name: values.shape for name, values in predictor(batch).items()}  # doctest: +ELLIPSIS
    {'path': (0,), 'person': (0,), ... 'keypoints': (0, 17, 3), 'covariances': (0, 17, 3)}

    Args:
        column: The column of the images: RGB uint8 arrays (``ray.data.read_images``), the bytes of
            image files (``ray.data.read_binary_files``), or paths.
        on_error: "raise", or "none" to leave images out that cannot be read, with a warning.
        model: As in ``slimpose.load``, like all that follow.
        detector: The person detector.
        threads: CPU threads; 1 by default, as several workers share a machine.
        conf: Minimum score of a person's box.
        max_people: At most this many people per image, the largest.
        backend: Runtime of the models.
        precision: Precision of the computation.
        tiles: Whether the detector also runs on enlarged tiles.

    Raises:
        ValueError: If ``on_error`` is another one, and as ``slimpose.load`` with the first batch.
        KeyError: When a batch has no such column.
        ImagesError: When an image cannot be read, with on_error="raise".
    """

    def __init__(
        self,
        column: str = "image",
        *,
        on_error: Literal["raise", "none"] = "raise",
        model: str | Path = models.DEFAULT_POSE,
        detector: str | Path | None = models.DEFAULT_DETECTOR,
        threads: int | None = 1,
        conf: float | None = None,
        max_people: int | None = None,
        backend: str = "onnxruntime",
        precision: str | None = None,
        tiles: Tiles = "off",
    ) -> None:
        if on_error not in ("raise", "none"):
            raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'none'")
        self.column, self.on_error = column, on_error
        self._options: dict[str, Any] = {
            "model": model,
            "detector": detector,
            "threads": threads,
            "conf": conf,
            "max_people": max_people,
            "backend": backend,
            "precision": precision,
            "tiles": tiles,
        }
        self._pipeline: slimpose.Pipeline | None = None

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the people of a batch of images, a row each."""
        if self.column not in batch:
            raise KeyError(
                f"the batch has no column {self.column!r}; expected one of {', '.join(batch)} "
                "(PosePredictor's argument column)"
            )
        if self._pipeline is None:
            self._pipeline = slimpose.load(**self._options)
        images = list(batch[self.column])
        poses: list[Poses | None] = (
            [*self._pipeline(images)]
            if self.on_error == "raise"
            else self._pipeline(images, on_error="none")
        )
        skeleton = self._pipeline.estimator.session.info.skeleton
        found = [Poses.empty(skeleton) if one is None else one for one in poses]
        rows = np.repeat(np.arange(len(found)), [len(one) for one in found])
        columns = [people_columns(one) for one in [*found, Poses.empty(skeleton)]]
        kept = {name: np.asarray(values)[rows] for name, values in batch.items()}
        del kept[self.column]
        return kept | {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pipeline": None}
