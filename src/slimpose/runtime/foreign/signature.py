"""What a model file takes and gives: names, types and shapes of its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from slimpose.arrays import Size
from slimpose.runtime.backends.base import MAX_INPUT_PX
from slimpose.runtime.foreign.ultralytics import Export, read_export
from slimpose.runtime.onnx_file import INPUT_TYPES, reason

_MIN_SIDE_PX = 16


class Port(NamedTuple):
    """An input or output; ``shape`` has -1 where a side is free."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A file's inputs and outputs.

    Attributes:
        path: The file.
        image: The input that takes images.
        size: Its height and width.
        is_channels_last: Whether it is (n, height, width, 3), not (n, 3, height, width).
        others: Further inputs.
        outputs: The outputs; free sides other than the batch were found by running the file once.
        export: What its metadata say.
    """

    path: Path
    image: Port
    size: Size
    is_channels_last: bool
    others: tuple[Port, ...]
    outputs: tuple[Port, ...]
    export: Export

    @property
    def batch(self) -> int:
        """The fixed batch size; -1 if it is free."""
        return self.image.shape[0]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The outputs' shapes."""
        return [port.shape for port in self.outputs]

    def named(self, *names: str) -> list[tuple[int, ...]]:
        """Return the shapes of the outputs of these names, in this order; [] if one is missing."""
        found = {port.name: port.shape for port in self.outputs}
        return [found[name] for name in names] if set(names) <= set(found) else []

    def __str__(self) -> str:
        inputs = ", ".join(_described(port) for port in (self.image, *self.others))
        return f"takes {inputs} and gives {', '.join(map(_described, self.outputs))}"


def _described(port: Port) -> str:
    return f"{port.name[:40]} ({', '.join('n' if n < 0 else str(n) for n in port.shape)})"


def read_signature(
    session: onnxruntime.InferenceSession, path: Path, *, size: Size | None = None
) -> Signature:
    """Return the signature of an opened ONNX file.

    ``size`` is the input size to run a file of free height and width at.

    Raises:
        ValueError: If the file does not take images, or its input has no size or too large a one.
    """
    inputs = [_port(tensor) for tensor in session.get_inputs()]
    images = [
        port for port in inputs if len(port.shape) == 4 and 3 in (port.shape[1], port.shape[3])
    ]
    if len(images) != 1 or images[0].type not in INPUT_TYPES:
        quantized = any(port.type == "tensor(int8)" for port in images)
        raise ValueError(
            f"{path} takes {', '.join(f'{_described(port)} {port.type}' for port in inputs)}; "
            f"expected one input of images, (n, 3, height, width) or (n, height, width, 3), of "
            f"{', '.join(kind[7:-1] for kind in INPUT_TYPES)}"
            f"{' (INT8 inputs: export the net with float or uint8 inputs)' if quantized else ''}"
        )
    image = images[0]
    is_last = image.shape[3] == 3 and image.shape[1] != 3
    sides = Size(*(image.shape[1:3] if is_last else image.shape[2:]))
    try:
        export = read_export(session.get_modelmeta().custom_metadata_map)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    sides = _input_size(sides, size or (export.size if min(sides) < 0 else None), path)
    outputs = [_port(tensor) for tensor in session.get_outputs()]
    signature = Signature(
        path=path,
        image=image,
        size=sides,
        is_channels_last=is_last,
        others=tuple(port for port in inputs if port is not image),
        outputs=tuple(outputs),
        export=export,
    )
    if any(not port.shape or min(port.shape[1:], default=0) < 0 for port in outputs):
        return _with_true_shapes(signature, session)
    return signature


def _port(tensor: Any) -> Port:
    shape = tuple(side if isinstance(side, int) and side >= 0 else -1 for side in tensor.shape)
    return Port(tensor.name, tensor.type, shape)


def _input_size(own: Size, requested: Size | None, path: Path) -> Size:
    free = min(own) < 0
    if free and requested is None:
        raise ValueError(
            f"{path} was exported with free height and width; expected the size to run it at: "
            f'size = "640x640" in {settings_name(path)} next to it'
        )
    if not free and requested not in (None, own):
        raise ValueError(f"{path} takes {own} pixels; its settings say {requested}")
    size = requested if free and requested is not None else own
    if not _MIN_SIDE_PX <= min(size) <= max(size) <= MAX_INPUT_PX:
        raise ValueError(
            f"{path} takes images of {size}; expected sides of {_MIN_SIDE_PX}..{MAX_INPUT_PX} "
            "pixels"
        )
    return size


def settings_name(path: Path) -> str:
    """Return the name of the file of a model file's settings."""
    return f"{path.stem}.toml"


def _with_true_shapes(signature: Signature, session: onnxruntime.InferenceSession) -> Signature:
    """Return the signature with the shapes that the file gives for one black image."""
    sides = tuple(signature.size)
    shape = (*sides, 3) if signature.is_channels_last else (3, *sides)
    batch = max(1, signature.batch)
    feed = {signature.image.name: np.zeros((batch, *shape), INPUT_TYPES[signature.image.type])}
    for port in signature.others:
        feed[port.name] = constant_input(port, signature, batch)
    try:
        results = session.run(None, feed)
    except Exception as error:  # onnxruntime's errors share no public base
        raise ValueError(f"{signature.path} fails on a black image: {reason(error)}") from error
    outputs = tuple(
        Port(
            port.name,
            port.type,
            (port.shape[0] if port.shape else -1, *np.asarray(result).shape[1:]),
        )
        for port, result in zip(signature.outputs, results, strict=True)
    )
    return Signature(
        **{
            **{name: getattr(signature, name) for name in Signature.__slots__},
            "outputs": outputs,
        }
    )


def constant_input(port: Port, signature: Signature, batch: int) -> np.ndarray:
    """Return the value of an input next to the images: their width and height, as DETRs take it.

    Raises:
        ValueError: If it is another input.
    """
    if port.type != "tensor(int64)" or len(port.shape) != 2 or port.shape[1] != 2:
        raise ValueError(
            f"{signature.path} takes {_described(port)} {port.type} besides images; expected "
            "images alone, or int64 (n, 2) with their width and height"
        )
    return np.tile(np.array([[signature.size.width, signature.size.height]], np.int64), (batch, 1))
