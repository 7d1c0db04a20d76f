"""A slimpose model file, opened: its metadata, and its outputs for a batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np

from slimpose.arrays import Size
from slimpose.geometry import CanvasFit
from slimpose.runtime.backends.available import backend_of, open_graph, read_metadata
from slimpose.skeleton import COCO17, Skeleton
from slimpose.tasks import Task, parse_task

FORMAT = "1"
_INPUTS: Mapping[Task, str] = {
    "pose": "crops",
    "detect": "images",
    "bottom-up": "images",
    "one-stage": "images",
}
_OUTPUTS: Mapping[Task, tuple[str, ...]] = {
    "pose": ("points", "scores", "covariances"),
    "detect": ("boxes", "scores"),
    "bottom-up": ("heatmaps", "affinities"),
    "one-stage": ("boxes", "box_scores", "points", "scores"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The metadata of a model file.

    Attributes:
        name: The model's name.
        task: "pose", "detect", "one-stage" (people and joints of an image in one pass), or
            "bottom-up": all joints of an image, for ``slimpose.adapters.part_affinity`` to group.
        size: Input height and width.
        stride: Input pixels per heatmap cell.
        precision: Such as "fp32".
        gmac: Multiply-adds of one input, in 1e9.
        params: Number of parameters.
        card: Initialization, data and licenses, recipe, results.
        skeleton: The joints of a pose model.
        fit: How an image fills a detector's input.
        score_threshold: A detector's; boxes with a lower score are dropped.
        nms_iou_threshold: A detector's; of two boxes that overlap more, the better one is kept.
        kind: Kind of a model that slimpose did not write (``runtime.foreign.kinds``); "" for its
            own.
    """

    name: str
    task: Task
    size: Size
    stride: int
    precision: str
    gmac: float
    params: int
    card: dict[str, Any]
    skeleton: Skeleton
    fit: CanvasFit
    score_threshold: float
    nms_iou_threshold: float
    kind: str = ""


@runtime_checkable
class Model(Protocol):
    """Anything that runs a model: a ``Session``, an adapter, or a PyTorch network."""

    @property
    def info(self) -> ModelInfo:
        """The model's metadata."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that ``run`` accepts."""
        ...

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size."""
        ...


class Session:
    """A model file opened in one backend.

    Attributes:
        info: The file's metadata.
        backend: One of ``backends.available.BACKENDS``; a file that is not ONNX runs in its own.
        precision: The precision it computes in: ``info.precision`` unless another was requested;
            "int8+bf16" where the float layers of an INT8 file are computed in BF16.
        threads: CPU threads; None for the backend's choice.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file, not slimpose's, its metadata is broken, or threads is
            under 1; or (``BackendError``) if the backend is not installed, or does not compute in
            that precision.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        backend: str = "onnxruntime",
        precision: str | None = None,
    ) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no model file {path}")
        backend = backend_of(path, backend)
        self._graph = open_graph(path, threads=threads, backend=backend, precision=precision)
        self.info = read_info(path, self._graph.metadata)
        self.backend, self.precision, self.threads = backend, self._graph.precision, threads
        self.outputs: tuple[str, ...] = tuple(self._graph.outputs)
        task, inputs = self.info.task, list(self._graph.inputs)
        missing = [name for name in _OUTPUTS[task] if name not in self.outputs]
        if inputs != [(_INPUTS[task], "tensor(uint8)")] or missing:
            raise ValueError(
                f"{path} says it is a {task} model, but takes {inputs} and returns "
                f"{list(self.outputs)}; expected one uint8 input {_INPUTS[task]!r} and "
                f"{list(_OUTPUTS[task])} (changed after slimpose export wrote it?)"
            )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
            RuntimeError: If the backend fails, for lack of memory for example.
        """
        check_request(self.info, batch, outputs, self.outputs)
        try:
            return self._graph.run(batch, outputs)
        except Exception as error:  # onnxruntime's errors share no public base
            reason = str(error).partition("\n")[0]
            raise RuntimeError(
                f"{self.info.name} failed on a batch of {len(batch)}: {reason}"
            ) from error


def check_request(
    info: ModelInfo, batch: np.ndarray, outputs: Sequence[str], available: Sequence[str]
) -> None:
    """Raise ValueError unless a batch fits a model's input and the model has these outputs."""
    if batch.shape[1:] != (*info.size, 3) or batch.dtype != np.uint8:
        raise ValueError(
            f"batch is {batch.dtype} {batch.shape}; {info.name} expects uint8 "
            f"(n, {info.size.height}, {info.size.width}, 3)"
        )
    unknown = [name for name in outputs if name not in available]
    if unknown:
        raise ValueError(
            f"{info.name} has no output {', '.join(unknown)}; expected some of "
            f"{', '.join(available)}"
        )


def models_of_task(task: Task, paths: Iterable[Path]) -> list[Path]:
    """Return those model files that are for a task.

    Raises:
        ValueError: If one is not a model file of slimpose.
    """
    return [path for path in paths if read_info(path, read_metadata(path)).task == task]


def read_info(path: Path, metadata: Mapping[str, str]) -> ModelInfo:
    """Parse the metadata, keys and values as text, of a model file that error messages name.

    Raises:
        ValueError: If it is not the metadata of a slimpose model of this format.
    """
    if "slimpose" not in metadata:
        raise ValueError(
            f"{path} is not a slimpose model: its metadata has no entry 'slimpose'; "
            "expected a file of slimpose export (slimpose compare reads other models)"
        )
    if metadata["slimpose"] != FORMAT:
        raise ValueError(
            f"{path} has format {metadata['slimpose']}; this slimpose reads {FORMAT}: "
            "install a newer one"
        )
    try:
        return _parse_info(metadata)
    except KeyError as error:
        raise ValueError(
            f"{path}: its slimpose metadata lacks {error}; expected a file of slimpose export"
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its slimpose metadata is broken: {error}") from error


def _parse_info(metadata: Mapping[str, str]) -> ModelInfo:
    card = json.loads(metadata["card"])
    if not isinstance(card, dict):
        raise ValueError(f"card is a JSON {type(card).__name__}; expected an object")
    task = parse_task(metadata["task"])
    if min(int(metadata["height"]), int(metadata["width"])) < 1:
        raise ValueError(f"the input is {metadata['height']}x{metadata['width']} pixels")
    return ModelInfo(
        name=metadata["name"],
        task=task,
        size=Size(int(metadata["height"]), int(metadata["width"])),
        stride=int(metadata["stride"]),
        precision=metadata["precision"],
        gmac=float(metadata["gmac"]),
        params=int(metadata["params"]),
        card=card,
        skeleton=Skeleton.from_json(metadata["skeleton"]) if "skeleton" in metadata else COCO17,
        fit=_parse_fit(metadata.get("fit", "letterbox")),
        score_threshold=float(metadata.get("score_threshold", "0")),
        nms_iou_threshold=float(metadata.get("nms_iou_threshold", "1")),
        kind=metadata.get("kind", ""),
    )


def _parse_fit(text: str) -> CanvasFit:
    for fit in get_args(CanvasFit):
        if text == fit:
            return fit
    raise ValueError(f"fit is {text!r}; expected one of {', '.join(get_args(CanvasFit))}")
