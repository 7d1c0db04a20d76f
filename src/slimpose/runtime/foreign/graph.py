"""A model file that slimpose did not write, as a ``Graph`` like those that it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from slimpose.arrays import Size
from slimpose.geometry import CanvasFit
from slimpose.runtime.backends.base import BackendError, Graph, Shapes
from slimpose.runtime.foreign import trial
from slimpose.runtime.foreign.facts import ANY_CLASS, Arrays, Facts
from slimpose.runtime.foreign.free_batch import free_batch
from slimpose.runtime.foreign.kinds import KINDS, Kind
from slimpose.runtime.foreign.metadata import foreign_metadata
from slimpose.runtime.foreign.pose_decoders import aligned, maps_shape
from slimpose.runtime.foreign.recognition import (
    check_one_class,
    kind_of,
    report_trial,
    skeleton_for,
)
from slimpose.runtime.foreign.settings import (
    ModelSettings,
    merged_settings,
    read_settings,
    write_settings,
)
from slimpose.runtime.foreign.signature import (
    Signature,
    constant_input,
    read_signature,
    settings_name,
)
from slimpose.runtime.onnx_file import INPUT_TYPES, file_metadata, open_onnx_file, reason
from slimpose.skeleton import COCO17, Skeleton
from slimpose.tasks import Task

_OUTPUTS: Mapping[Task, tuple[str, ...]] = {
    "pose": ("points", "scores", "covariances"),
    "detect": ("boxes", "scores"),
    "one-stage": ("boxes", "box_scores", "points", "scores"),
}
_TRIALS: dict[tuple[str, Path, int, int, ModelSettings], bool] = {}
"""Results of the trials of this process."""


class Recognized:
    """A recognized file: its kind, and what feeding and decoding need.

    Args:
        path: The file.
        session: The opened file.
        settings: What the user says about it; what FILE.toml says by default.

    Attributes:
        kind: Its name in ``kinds.KINDS``.
        signature: Its inputs and outputs.
        metadata: What the metadata of a file of slimpose would be.
        mean: Mean of R, G, B.
        factor: The reciprocal of their deviation.
        bgr: Whether the file takes BGR.
        facts: What its decoder knows.

    Raises:
        ValueError: If no kind fits, several do, or the settings do not fit the file.
    """

    def __init__(
        self,
        path: Path,
        session: onnxruntime.InferenceSession,
        settings: ModelSettings | None = None,
    ) -> None:
        settings = read_settings(path) if settings is None else settings
        size = None if settings.size is None else Size.parse(settings.size)
        self.signature = signature = read_signature(session, path, size=size)
        self.kind, joints = kind_of(signature, settings.kind)
        kind = KINDS[self.kind]
        skeleton = skeleton_for(signature, joints, settings) if joints else COCO17
        mean, std = kind.normalization
        self.mean = np.array(settings.value("mean", mean), np.float32)
        self.factor = 1 / np.array(settings.value("std", std), np.float32)
        self.bgr = settings.value("bgr", kind.bgr)
        self.facts = Facts(
            size=signature.size,
            names=tuple(port.name for port in signature.outputs),
            joints=joints,
            stride=_stride(kind, signature),
            alignment=settings.value("alignment", kind.alignment),
            values=signature.export.values,
            person=signature.export.person,
        )
        if kind.task == "detect" and self.facts.person == ANY_CLASS:
            check_one_class(signature)
        is_open = self.kind == "heatmaps" and settings.kind is None and settings.alignment is None
        if is_open and self._has_corner_cells(session, skeleton, settings):
            self.kind, self.facts = "vitpose", replace(self.facts, alignment="corners")
            kind = KINDS[self.kind]
        fit: CanvasFit = settings.value("fit", kind.fit)
        threshold = settings.value("score_threshold", kind.score_threshold)
        if self._is_normalized(session, settings, fit, threshold):
            self.facts = replace(self.facts, is_normalized=True)
        self._confirm_joints(session, skeleton, settings)
        self.metadata = foreign_metadata(
            path,
            kind=self.kind,
            task=kind.task,
            size=signature.size,
            skeleton=skeleton,
            start=kind.about,
            stride=self.facts.stride,
            precision="fp16" if signature.image.type == "tensor(float16)" else "fp32",
            fit=fit,
            score_threshold=threshold,
            nms_iou_threshold=settings.value("nms_iou_threshold", kind.nms_iou_threshold),
        )

    def _has_corner_cells(
        self, session: onnxruntime.InferenceSession, skeleton: Skeleton, settings: ModelSettings
    ) -> bool:
        """Whether a trial on a sample photo shows it."""
        return self._try(
            "corner cells",
            session,
            settings,
            lambda run, photo: trial.has_corner_cells(run, photo, self.facts, skeleton),
        )

    def _is_normalized(
        self,
        session: onnxruntime.InferenceSession,
        settings: ModelSettings,
        fit: CanvasFit,
        score_threshold: float,
    ) -> bool:
        """Whether boxes and points are shares of the input: said, or shown by a trial.

        The trial also confirms the kind of a model of whole images.
        """
        path, kind = self.signature.path, KINDS[self.kind]
        if not kind.in_pixels and settings.coordinates == "normalized":
            raise ValueError(
                f"{settings_name(path)} says that coordinates are normalized; expected this only "
                f"of a kind that gives them in pixels (got {self.kind})"
            )
        is_confirmed = settings.kind is not None and not kind.in_pixels
        if settings.coordinates is not None or kind.task == "pose" or is_confirmed:
            return settings.coordinates == "normalized"
        names = ("boxes", "box_scores" if kind.task == "one-stage" else "scores")

        def test(run: trial.Run, photo: np.ndarray) -> bool:
            def detect(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                boxes, scores = self.decode(run(canvas[None]), names)
                return boxes[0], scores[0]

            found = trial.find_boxes(detect, photo, self.signature.size, fit, score_threshold)
            if settings.kind is None or found == "elsewhere":
                report_trial(path, self.kind, found)
            return found == "normalized"

        return self._try("boxes", session, settings, test)

    def _confirm_joints(
        self, session: onnxruntime.InferenceSession, skeleton: Skeleton, settings: ModelSettings
    ) -> None:
        """Report a pose network of a guessed kind that does not find a person's joints."""

        def test(run: trial.Run, photo: np.ndarray) -> bool:
            def estimate(crops: np.ndarray) -> np.ndarray:
                return self.decode(run(crops), ("points",))[0]

            found = trial.finds_person(estimate, photo, self.signature.size)
            report_trial(self.signature.path, self.kind, "pixels" if found else "elsewhere")
            return found

        is_open = KINDS[self.kind].task == "pose" and settings.kind is None
        if is_open and trial.begins_with_coco(skeleton):
            self._try("joints", session, settings, test)

    def _try(
        self,
        about: str,
        session: onnxruntime.InferenceSession,
        settings: ModelSettings,
        test: Callable[[trial.Run, np.ndarray], bool],
    ) -> bool:
        """Return the result of a file's trial on the sample photo, one in a process."""
        path, status = self.signature.path, self.signature.path.stat()
        key = (about, path.resolve(), status.st_mtime_ns, status.st_size, settings)
        photo = trial.sample_photo() if key not in _TRIALS else None
        if photo is not None:

            def run(images: np.ndarray) -> list[np.ndarray]:
                return self.run(lambda batch: _run_once(session, self.signature, batch), images)

            _TRIALS[key] = test(run, photo)
        return _TRIALS.get(key, False)

    def run(
        self,
        run: Callable[[np.ndarray], Sequence[np.ndarray]],
        images: np.ndarray,
        size: int | None = None,
    ) -> list[np.ndarray]:
        """Return the file's outputs for uint8 RGB images, in parts of its batch size.

        Args:
            run: Runs the file on its input.
            images: (n, height, width, 3), at least one.
            size: The batch size; the file's own by default.
        """
        if size is None:
            size = self.signature.batch if self.signature.batch > 0 else len(images)
        parts = [
            run(self.feed(_padded(images[start : start + size], size)))
            for start in range(0, len(images), size)
        ]
        return [
            np.concatenate(_same_count(arrays))[: len(images)]
            for arrays in zip(*parts, strict=True)
        ]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the decoded outputs."""
        kind = KINDS[self.kind]
        return (*_OUTPUTS[kind.task], *(("heatmaps",) if _gives_heatmaps(kind) else ()))

    @property
    def normalizes(self) -> bool:
        """Whether pixels are normalized: integer inputs take them as they are."""
        return "float" in self.signature.image.type

    def feed(self, batch: np.ndarray) -> np.ndarray:
        """Return uint8 RGB images (n, height, width, 3) as the file takes them."""
        pixels = batch[..., ::-1] if self.bgr else batch
        if self.normalizes:
            order = slice(None, None, -1 if self.bgr else 1)
            pixels = (pixels - self.mean[order]) * self.factor[order]
        if not self.signature.is_channels_last:
            pixels = pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels, INPUT_TYPES[self.signature.image.type])

    def decode(self, raw: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Return these of the decoded outputs; ``raw`` are those of the file."""
        raw = [array.astype(np.float32) if array.dtype == np.float16 else array for array in raw]
        decoded: Arrays = {}
        if "heatmaps" in names:
            decoded["heatmaps"] = aligned(raw[0], self.facts)
        if set(names) - {"heatmaps"}:
            decoded |= KINDS[self.kind].decode(raw, self.facts)
        if self.facts.is_normalized:
            scale = np.array(self.signature.size[::-1], np.float32)
            for name in {"boxes", "points"} & decoded.keys():
                decoded[name] = decoded[name] * np.tile(scale, decoded[name].shape[-1] // 2)
        return [decoded[name] for name in names]


class ForeignGraph:
    """A recognized ONNX file in any backend: a ``Graph`` that takes uint8 RGB images.

    A file of a fixed batch size is rewritten to a free one where its graph permits
    (``free_batch``), otherwise run in parts of that size.

    Args:
        path: The file.
        open_file: Opens an ONNX file in the backend.

    Raises:
        BackendError: If the file has inputs that only ONNX Runtime is given here.
        ValueError: If it is not a file that slimpose knows, or is ambiguous.
    """

    def __init__(self, path: Path, open_file: Callable[[Path], Graph]) -> None:
        file = self.recognized = Recognized(path, open_onnx_file(path, optimize=False))
        self._batch = file.signature.batch
        freed = free_batch(path, file.signature) if self._batch > 0 else None
        if freed is not None:
            self._batch = -1
        self._graph = open_file(freed or path)
        self.metadata: Mapping[str, str] = file.metadata
        inputs = {"pose": "crops"}.get(file.metadata["task"], "images")
        self.inputs: Sequence[tuple[str, str]] = ((inputs, "tensor(uint8)"),)
        self.outputs: Sequence[str] = file.outputs
        self.shapes: Shapes = {}
        self.precision = self._graph.precision
        if file.signature.others:
            self._give_sizes()

    def _give_sizes(self) -> None:
        file = self.recognized
        if not hasattr(self._graph, "constants"):
            raise BackendError(
                f"{file.signature.path} has further inputs besides images, which only ONNX "
                "Runtime is given here; expected --backend onnxruntime"
            )
        constants = {
            port.name: constant_input(port, file.signature, 1) for port in file.signature.others
        }
        self._graph.constants = constants  # pyright: ignore[reportAttributeAccessIssue]

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch."""
        if len(batch) == 0:
            one = self.run(np.zeros((1, *batch.shape[1:]), np.uint8), outputs)
            return [output[:0] for output in one]
        names = list(self.recognized.facts.names)
        raw = self.recognized.run(
            lambda images: self._graph.run(images, names),
            batch,
            self._batch if self._batch > 0 else len(batch),
        )
        return self.recognized.decode(raw, outputs)


def remember(path: Path, settings: ModelSettings) -> Path:
    """Write settings of a model file to FILE.toml next to it, if they fit it; return that file.

    Raises:
        FileNotFoundError: If there is no such model file.
        ValueError: If the settings do not fit the file, or slimpose wrote it.
    """
    session = open_onnx_file(path, optimize=False)
    if "slimpose" in file_metadata(session):
        raise ValueError(
            f"{path} was written by slimpose and says itself how it is run; expected no "
            f"{', '.join(settings.given)}"
        )
    merged = merged_settings(path, settings)
    Recognized(path, session, merged)
    return write_settings(path, merged)


def _run_once(
    session: onnxruntime.InferenceSession, signature: Signature, batch: np.ndarray
) -> list[np.ndarray]:
    """Return the outputs of an opened file for its input."""
    feed = {signature.image.name: batch}
    for port in signature.others:
        feed[port.name] = constant_input(port, signature, len(batch))
    try:
        return [np.asarray(output) for output in session.run(None, feed)]
    except Exception as error:  # onnxruntime's errors share no public base
        raise ValueError(f"{signature.path} fails on a sample photo: {reason(error)}") from error


def _padded(batch: np.ndarray, size: int) -> np.ndarray:
    """Return a batch of this size, the last image repeated."""
    missing = size - len(batch)
    return batch if missing <= 0 else np.concatenate([batch, *[batch[-1:]] * missing])


def _same_count(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Return arrays (n, k, ...) filled with zeros to the largest k: NMS gives any number."""
    counts = {array.shape[1] for array in arrays}
    if len(counts) == 1:
        return arrays
    most = max(counts)
    return [
        np.pad(array, [(0, 0), (0, most - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])
        for array in arrays
    ]


def _gives_heatmaps(kind: Kind) -> bool:
    return kind.outputs == KINDS["heatmaps"].outputs


def _stride(kind: Kind, signature: Signature) -> int:
    if not _gives_heatmaps(kind):
        return 1
    return signature.size.height // maps_shape(signature.shapes[0], signature.size)[1]
