"""A free batch size for ONNX files that were exported with a fixed one.

The inputs' and outputs' first sides are freed, and constant shapes of Reshape that begin with the
old batch size copy it from their input instead. The result is used only if it computes two images
at once as it computes each alone. It is kept in the cache folder. Needs the package onnx; without
it, or where it fails, files run in parts of their own batch size. So do files whose weights are in
another file: these may change while the file, which identifies the copy, stays the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimpose.formats.files import write_bytes
from slimpose.runtime.backends.base import BackendError, import_package
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.foreign.signature import Signature, constant_input
from slimpose.runtime.onnx_file import INPUT_TYPES, open_onnx_file

_TOLERANCE = 1e-3
_MAX_BYTES = 2**30
_VERSION = "2"


def free_batch(path: Path, signature: Signature) -> Path | None:
    """Return a copy of a file with a free batch size; None if it cannot be made."""
    if path.stat().st_size > _MAX_BYTES:
        return None
    digest = hashlib.sha256(_VERSION.encode() + path.read_bytes()).hexdigest()[:24]
    copy = cache_folder() / "free-batch" / f"{digest}.onnx"
    if not copy.is_file():
        try:
            data = _rewritten(path, signature)
        except BackendError:  # onnx is not installed now; it may be later
            return None
        try:  # a copy of no bytes: it was tried
            write_bytes(copy, data if data and _computes_the_same(data, signature) else b"")
        except (OSError, ValueError):
            return None
    return copy if copy.stat().st_size else None


def _rewritten(path: Path, signature: Signature) -> bytes | None:
    """Return the file with a free batch size; None if it cannot be read or written."""
    onnx = import_package("onnx", missing="onnx is not installed: pip install onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
        graph = model.graph
        if any(tensor.data_location == tensor.EXTERNAL for tensor in graph.initializer):
            return None
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            sides = value.type.tensor_type.shape.dim
            if sides and sides[0].dim_value == signature.batch:
                sides[0].dim_param = "n"
        constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                constants[node.output[0]] = node.attribute[0].t
        for number, node in enumerate(graph.node):
            if node.op_type == "Reshape" and node.input[1] in constants:
                _free_reshape(onnx, graph, node, constants[node.input[1]], signature, number)
        return model.SerializeToString()
    except Exception:  # noqa: BLE001 - onnx and protobuf raise errors of many kinds
        return None


def _free_reshape(
    onnx: Any, graph: Any, node: Any, shape: Any, signature: Signature, number: int
) -> None:
    sides = onnx.numpy_helper.to_array(shape).copy()
    copies_zeros = not any(one.name == "allowzero" and one.i for one in node.attribute)
    if len(sides) < 2 or sides[0] != signature.batch or not copies_zeros:
        return
    sides[0] = 0
    name = f"{node.input[1]}_free_batch_{number}"
    graph.initializer.append(onnx.numpy_helper.from_array(sides, name))
    node.input[1] = name


def _computes_the_same(data: bytes, signature: Signature) -> bool:
    """Whether a batch gives what its images give alone, in the original file."""
    batch, image = signature.batch, signature.image
    shape = (2 * batch, *image.shape[1:])
    if min(shape) < 0:
        sides = tuple(signature.size)
        shape = (2 * batch, *((*sides, 3) if signature.is_channels_last else (3, *sides)))
    scale = 255 if np.issubdtype(INPUT_TYPES[image.type], np.integer) else 1
    images = (np.random.default_rng(0).random(shape) * scale).astype(INPUT_TYPES[image.type])
    temporary = (
        cache_folder() / "free-batch" / f"trial-{hashlib.sha256(data).hexdigest()[:16]}.onnx"
    )
    try:
        write_bytes(temporary, data)
        whole = _run(temporary, signature, images)
        parts = [_run(signature.path, signature, part) for part in np.split(images, 2)]
        return all(
            np.allclose(together, np.concatenate(alone), rtol=_TOLERANCE, atol=_TOLERANCE)
            for together, alone in zip(whole, zip(*parts, strict=True), strict=True)
        )
    except Exception:  # noqa: BLE001 - onnxruntime's errors share no public base
        return False
    finally:
        temporary.unlink(missing_ok=True)


def _run(path: Path, signature: Signature, images: np.ndarray) -> list[np.ndarray]:
    feed = {signature.image.name: images}
    for port in signature.others:
        feed[port.name] = constant_input(port, signature, len(images))
    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4  # it may fail
    results = open_onnx_file(path, optimize=False).run(None, feed, quiet)
    return [np.asarray(one) for one in results]
