"""Command-line options for what a model file of another project does not say itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from slimpose.runtime import models
from slimpose.runtime.foreign.graph import remember
from slimpose.runtime.foreign.settings import ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFileOptions:
    """What a model file of another project does not say itself.

    It is remembered in a TOML file of the model file's name next to it, so later calls and other
    commands need none of these options.

    Attributes:
        model_kind: Kind of a model file of another project, if its inputs and outputs fit several:
            heatmaps, vitpose, rtmpose, yolox, rtmdet-nms ... (docs/models.md).
        mean: What is subtracted from R, G, B 0..255 before such a model.
        std: What divides them after that.
        bgr: Give such a model BGR instead of RGB.
        skeleton: Its skeleton: coco17, halpe26, wholebody133 or openpose18, or a JSON file.
    """

    model_kind: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    bgr: bool = False
    skeleton: str | None = None

    def remember(self, model: str) -> None:
        """Write the options that were given to the model file's settings, if they fit the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a value is invalid or does not fit, or the file needs no settings.
        """
        _remember(
            model,
            _settings(
                "--",
                kind=self.model_kind,
                mean=self.mean or None,
                std=self.std or None,
                bgr=self.bgr or None,
                skeleton=self.skeleton,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorFileOptions:
    """The same for the file of ``--detector``.

    Attributes:
        detector_kind: Kind of a detector of another project: yolox, rtmdet-nms, yolo ...
        detector_mean: What is subtracted from R, G, B 0..255 before it.
        detector_std: What divides them after that.
        detector_bgr: Give it BGR instead of RGB.
    """

    detector_kind: str | None = None
    detector_mean: tuple[float, ...] = ()
    detector_std: tuple[float, ...] = ()
    detector_bgr: bool = False

    def remember(self, detector: str, *, is_used: bool) -> None:
        """Write the options that were given to the detector file's settings, if they fit it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the detector is not used, a value is invalid or does not fit, or the file
                needs no settings.
        """
        settings = _settings(
            "--detector-",
            kind=self.detector_kind,
            mean=self.detector_mean or None,
            std=self.detector_std or None,
            bgr=self.detector_bgr or None,
        )
        if settings.given and not is_used:
            raise ValueError(
                f"--detector-{next(iter(settings.given))} is about the file of --detector, which "
                "is not used; expected none (--model-kind, --mean, --std, --bgr are for the model)"
            )
        _remember(detector, settings)


def _settings(prefix: str, **values: Any) -> ModelSettings:
    """Return settings from options, which their errors name, by what their names start with."""
    try:
        return ModelSettings(**values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None


def _remember(model: str, settings: ModelSettings) -> None:
    if settings.given:
        path = models.resolve(model)
        file = remember(path, settings)
        print(f"slimpose: how to run {path.name} is remembered in {file}", file=sys.stderr)
