"""A slimpose model file, opened: what it is, and its outputs for a batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from slimpose.arrays import Size
from slimpose.runtime.backends.available import read_metadata, open_graph
from slimpose.runtime.backends.base import backend_of
from slimpose.skeleton import COCO17, Skeleton

FORMAT = "1"
_INPUTS = {"pose": "crops", "detect": "images", "bottom-up": "images"}
_OUTPUTS = {
    "pose": ("points", "scores", "covariances"),
    "detect": ("boxes", "scores"),
    "bottom-up": ("heatmaps", "affinities"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        name: The model's name.
        task: "pose", "detect", or "bottom-up": all joints of an image, for
            ``slimpose.adapters.part_affinity`` to group.
        size: Input height and width.
        stride: Input pixels a heatmap cell.
        precision: Such as "fp32".
        gmac: True multiply-adds of one input, in 1e9.
        params: Parameters.
        card: Start, data and licenses, recipe, figures.
        skeleton: Of a pose model's joints.
        score_threshold: A detector's; boxes scored lower are no people.
        nms_iou_threshold: A detector's; of two boxes that overlap more, the better stays.
    """

    name: str
    task: str
    size: Size
    stride: int
    precision: str
    gmac: float
    params: int
    card: dict[str, Any]
    skeleton: Skeleton
    score_threshold: float
    nms_iou_threshold: float


@runtime_checkable
class Model(Protocol):
    """What runs a model: ``Session``, or whatever else answers for one."""

    @property
    def info(self) -> ModelInfo:
        """What the model is."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that ``run`` knows."""
        ...

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size."""
        ...


class Session:
    """One model in one backend.

    Attributes:
        backend: Which, one of ``backends.contract.BACKENDS``; a file that is not ONNX runs in its
            own.
        precision: What it computes in: ``info.precision`` unless another was asked for; "int8+bf16"
            where the float layers of an INT8 file are computed in BF16.
        threads: CPU threads it was given; 0 is the backend's choice.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file, not slimpose's, or its metadata is broken; or
            (``BackendError``) if the backend is not installed, or does not compute in that
            precision.
    """

    def __init__(
        self, path: Path, *, threads: int = 0, backend: str = "onnxruntime", precision: str = ""
    ) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no model file {path}")
        if threads < 0:
            raise ValueError(f"threads is {threads}; expected 0 (the runtime's choice) or more")
        backend = backend_of(path, backend)
        self._graph = open_graph(path, threads=threads, backend=backend, precision=precision)
        self.info = read_info(path, self._graph.metadata)
        self.backend, self.precision, self.threads = backend, self._graph.precision, threads
        self.outputs: tuple[str, ...] = tuple(self._graph.outputs)
        expected = _INPUTS[self.info.task]
        inputs = list(self._graph.inputs)
        missing = [name for name in _OUTPUTS[self.info.task] if name not in self.outputs]
        if inputs != [(expected, "tensor(uint8)")] or missing:
            raise ValueError(
                f"{path} says it is a {self.info.task} model, but takes {inputs} and gives "
                f"{list(self.outputs)}; expected one uint8 input {expected!r} and "
                f"{list(_OUTPUTS[self.info.task])} (changed after slimpose export wrote it?)"
            )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
            RuntimeError: If the backend fails, for want of memory for example.
        """
        if batch.shape[1:] != (*self.info.size, 3) or batch.dtype != np.uint8:
            raise ValueError(
                f"batch is {batch.dtype} {batch.shape}; {self.info.name} expects uint8 "
                f"(n, {self.info.size.height}, {self.info.size.width}, 3)"
            )
        unknown = [name for name in outputs if name not in self.outputs]
        if unknown:
            raise ValueError(
                f"{self.info.name} has no output {', '.join(unknown)}; expected of {', '.join(self.outputs)}"
            )
        try:
            return self._graph.run(batch, outputs)
        except Exception as error:  # onnxruntime's errors share no public base
            reason = str(error).partition("\n")[0]
            raise RuntimeError(
                f"{self.info.name} failed on a batch of {len(batch)}: {reason}"
            ) from error


def models_of_task(task: str, paths: Iterable[Path]) -> list[Path]:
    """Return those of the model files that are for a task: "pose", "detect" or "bottom-up".

    Raises:
        ValueError: If one is no model file of slimpose.
    """
    return [path for path in paths if read_info(path, read_metadata(path)).task == task]


def read_info(path: Path, metadata: Mapping[str, str]) -> ModelInfo:
    """Return what the metadata says.

    Raises:
        ValueError: If it is not that of a slimpose model of this format.
    """
    if "slimpose" not in metadata:
        raise ValueError(
            f"{path} is not a slimpose model: its metadata does not say so; "
            "expected a file of slimpose export (slimpose compare reads others')"
        )
    if metadata["slimpose"] != FORMAT:
        raise ValueError(
            f"{path} has format {metadata['slimpose']}; this slimpose reads {FORMAT}: install a newer one"
        )
    try:
        card = json.loads(metadata["card"])
        if not isinstance(card, dict):
            raise ValueError(f"card is a JSON {type(card).__name__}; expected an object")
        if metadata["task"] not in _INPUTS:
            raise ValueError(f"task is {metadata['task']!r}; expected {' or '.join(_INPUTS)}")
        if min(int(metadata["height"]), int(metadata["width"])) < 1:
            raise ValueError(f"the input is {metadata['height']}x{metadata['width']} pixels")
        return ModelInfo(
            name=metadata["name"],
            task=metadata["task"],
            size=Size(int(metadata["height"]), int(metadata["width"])),
            stride=int(metadata["stride"]),
            precision=metadata["precision"],
            gmac=float(metadata["gmac"]),
            params=int(metadata["params"]),
            card=card,
            skeleton=Skeleton.from_json(metadata["skeleton"]) if "skeleton" in metadata else COCO17,
            score_threshold=float(metadata.get("score_threshold", "0")),
            nms_iou_threshold=float(metadata.get("nms_iou_threshold", "1")),
        )
    except KeyError as error:
        raise ValueError(
            f"{path}: its slimpose metadata lacks {error}; expected a file of slimpose export"
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its slimpose metadata is broken: {error}") from error
