"""A slimpose model file, opened: its metadata, and its outputs for a batch."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np

from slimpose import fields
from slimpose.arrays import Size
from slimpose.fields import Fields
from slimpose.geometry import CanvasFit
from slimpose.interpreter_end import finished_at_exit
from slimpose.messages import printable, quoted
from slimpose.runtime.backends.available import backend_of, open_graph, read_metadata
from slimpose.runtime.backends.base import MAX_INPUT_PX, Graph
from slimpose.runtime.onnx_file import reason
from slimpose.skeleton import COCO17, Skeleton
from slimpose.tasks import Task, parse_task

FORMAT = "1"
_log = logging.getLogger(__name__)
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


_DEFAULTS = {"fit": "letterbox", "score_threshold": "0", "nms_iou_threshold": "1"}
"""Metadata that only detectors have."""
_LONGEST_LABEL = 200


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

    Pickled sessions open the file again; so do forked processes, when they first use a session of
    their parent, whose threads they do not have. Several threads may use a session at once.

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
        self._path, self._process = path.absolute(), os.getpid()
        self._turn = Lock()
        self._options = {"threads": threads, "backend": backend, "precision": precision}
        self._graph = open_graph(path, threads=threads, backend=backend, precision=precision)
        self.info = read_info(path, self._graph.metadata)
        self.backend, self.precision, self.threads = backend, self._graph.precision, threads
        self.outputs: tuple[str, ...] = tuple(self._graph.outputs)
        _check_graph(path, self.info, self._graph)
        size, name = self.info.size, printable(self.info.name)
        _log.info("opened %s (%s, %s) with %s: %s", name, self.precision, size, backend, path)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self._path, **self._options), ()

    @finished_at_exit()
    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
            RuntimeError: If the backend fails, for lack of memory for example.
        """
        check_request(self.info, batch, outputs, self.outputs)
        if self._process != os.getpid():
            _log.info("opening %s again after a fork", printable(self.info.name))
            self._graph, self._process = open_graph(self._path, **self._options), os.getpid()
            self._turn = Lock()  # another thread of the parent may have held it
        # ONNX Runtime takes calls of several threads at once; the other runtimes do not.
        turn = nullcontext() if self.backend == "onnxruntime" else self._turn
        try:
            with turn:
                return self._graph.run(batch, outputs)
        except Exception as error:  # onnxruntime's errors share no public base
            raise RuntimeError(
                f"{self._path} failed on a batch of {len(batch)}: {reason(error)}"
            ) from error


def _check_graph(path: Path, info: ModelInfo, graph: Graph) -> None:
    """Raise ValueError unless a graph has the inputs and outputs that its metadata describes."""
    task, inputs = info.task, list(graph.inputs)
    missing = [name for name in _OUTPUTS[task] if name not in graph.outputs]
    if inputs != [(_INPUTS[task], "tensor(uint8)")] or missing:
        raise ValueError(
            f"{path} says it is a {task} model, but takes {quoted(inputs)} and returns "
            f"{quoted(list(graph.outputs))}; expected one uint8 input {_INPUTS[task]!r} and "
            f"{list(_OUTPUTS[task])} (changed after slimpose export wrote it?)"
        )
    joints, cells = len(info.skeleton.joints), [side // info.stride for side in info.size]
    shapes: dict[str, list[int | None]] = {_INPUTS[task]: [None, *info.size, 3]}
    if task == "pose":
        shapes |= {
            "points": [None, joints, 2],
            "scores": [None, joints],
            "covariances": [None, joints, 2, 2],
            "heatmaps": [None, joints, *cells],
        }
    elif task == "detect":
        shapes |= {"boxes": [None, None, 4], "scores": [None, None]}
    for name, expected in shapes.items():
        got = graph.shapes.get(name)
        if got is not None and not _fits(got, expected):
            raise ValueError(
                f"{path}: {name} has the shape {_shape(got)}; expected {_shape(expected)}, by the "
                "metadata (height, width, stride, skeleton) of the file"
            )


def _fits(got: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    return len(got) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(got, expected, strict=True)
    )


def _shape(sizes: Sequence[int | None]) -> str:
    return f"({', '.join('n' if size is None else str(size) for size in sizes)})"


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


def models_of_tasks(tasks: Collection[Task], paths: Iterable[Path]) -> list[Path]:
    """Return those model files that are for one of these tasks.

    Raises:
        ValueError: If one is not a model file of slimpose.
    """
    return [path for path in paths if read_info(path, read_metadata(path)).task in tasks]


def read_info(path: Path, metadata: Mapping[str, str]) -> ModelInfo:
    """Parse the metadata, keys and values as text, of a model file that error messages name.

    Raises:
        ValueError: If it is not the metadata of a slimpose model of this format.
    """
    if "slimpose" not in metadata:
        raise ValueError(
            f"{path} is not a slimpose model: its metadata has no entry 'slimpose'; "
            "expected a file of slimpose export (slimpose adopt makes one of a pose model of "
            "another project)"
        )
    if metadata["slimpose"] != FORMAT:
        raise ValueError(
            f"{path} has format {quoted(metadata['slimpose'])}; this slimpose reads {FORMAT!r}: "
            "install a newer one"
        )
    entry = Fields({**_DEFAULTS, **metadata}, f"{path}: metadata")
    size = Size(*(entry.integer(side, low=1, high=MAX_INPUT_PX) for side in ("height", "width")))
    card = fields.table(
        fields.from_json(entry.text("card"), entry.what("card")), entry.what("card")
    )
    try:
        task = parse_task(entry.get("task"))
        skeleton = Skeleton.from_json(metadata["skeleton"]) if "skeleton" in metadata else COCO17
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return ModelInfo(
        name=entry.line("name", longest=_LONGEST_LABEL, expected="at most"),
        task=task,
        size=size,
        stride=entry.integer("stride", low=1, high=min(size)),
        precision=entry.line("precision", longest=_LONGEST_LABEL, expected="at most"),
        gmac=float("nan") if "kind" in metadata else _number(entry, "gmac"),
        params=entry.integer("params", low=0),
        card=dict(card.values),
        skeleton=skeleton,
        fit=_fit(entry),
        score_threshold=_number(entry, "score_threshold", high=1.0),
        nms_iou_threshold=_number(entry, "nms_iou_threshold", high=1.0),
        kind=metadata.get("kind", ""),
    )


def _fit(entry: Fields) -> CanvasFit:
    known = get_args(CanvasFit)
    for fit in known:
        if entry.get("fit") == fit:
            return fit
    raise fields.fail(entry.what("fit"), entry.get("fit"), f"one of {', '.join(known)}")


def _number(entry: Fields, name: str, *, high: float = math.inf) -> float:
    """Return a number from 0 to ``high``; metadata hold it as text."""
    text = entry.get(name)
    try:
        number = float(text)
    except ValueError:
        number = text
    return fields.number(number, entry.what(name), low=0.0, high=high)
