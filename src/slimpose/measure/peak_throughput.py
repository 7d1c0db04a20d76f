"""The most this machine computes: a large matrix product, FP32 and INT8, by the same kernels that run the networks.

ONNX Runtime multiplies: FP32 by ``MatMul``, INT8 (bytes by signed bytes, into 32 bits) by
``MatMulInteger``. Its graphs are a few bytes of Protocol Buffers, written here, so that no package
is needed that writes ONNX files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnxruntime

from slimpose.runtime.onnx_file import CPU, session_options
from slimpose.runtime.timing import time_interleaved

SIDE = 1024
_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6
"""ONNX's numbers of types."""
_OPSET, _IR_VERSION = 17, 8


def peak_gmac_per_s(threads: int, *, side: int = SIDE, rounds: int = 15) -> dict[str, float]:
    """Return multiply-adds a second, in 1e9, of square matrix products by precision: the best of some runs.

    Args:
        threads: CPU threads.
        side: Of the matrices.
        rounds: Products of each kind.
    """
    rng = np.random.default_rng(0)
    fp32 = rng.standard_normal((side, side)).astype(np.float32)
    whole = rng.integers(0, 128, (side, side), dtype=np.uint8)
    signed = rng.integers(-127, 128, (side, side)).astype(np.int8)
    products: Mapping[str, tuple[onnxruntime.InferenceSession, np.ndarray]] = {
        "fp32": (_product("MatMul", fp32, (_FLOAT, _FLOAT, _FLOAT), threads), fp32),
        "int8": (_product("MatMulInteger", signed, (_UINT8, _INT8, _INT32), threads), whole),
    }
    peaks: dict[str, float] = {}
    for name, (session, left) in products.items():
        times = time_interleaved(
            {name: lambda session=session, left=left: session.run(None, {"a": left})}, rounds=rounds
        )
        peaks[name] = side**3 / (times[name].min_ms * 1e6)
    return peaks


def _product(
    kind: str, right: np.ndarray, types: tuple[int, int, int], threads: int
) -> onnxruntime.InferenceSession:
    """``y = a @ right``; the right matrix is a constant, as weights are, which may be laid out beforehand."""
    return onnxruntime.InferenceSession(
        _model(kind, right, types), session_options(threads), providers=CPU
    )


def _model(kind: str, right: np.ndarray, types: tuple[int, int, int]) -> bytes:
    """An ONNX file of one node; the numbers are those of the fields in onnx.proto."""
    given, constant, answer = types
    rows, columns = right.shape
    node = _texts(1, ("a", "b")) + _text(2, "y") + _text(4, kind)
    tensor = (
        _number(1, rows)
        + _number(1, columns)
        + _number(2, constant)
        + _text(8, "b")
        + _part(9, right.tobytes())
    )
    graph = (
        _part(1, node)
        + _text(2, "product")
        + _part(5, tensor)
        + _part(11, _value("a", given, (rows, rows)))
        + _part(12, _value("y", answer, (rows, columns)))
    )
    return _number(1, _IR_VERSION) + _part(7, graph) + _part(8, _text(1, "") + _number(2, _OPSET))


def _value(name: str, kind: int, shape: tuple[int, int]) -> bytes:
    """A ValueInfoProto: name, and a tensor type of element kind and shape."""
    sizes = b"".join(_part(1, _number(1, size)) for size in shape)
    return _text(1, name) + _part(2, _part(1, _number(1, kind) + _part(2, sizes)))


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _texts(field: int, texts: Iterable[str]) -> bytes:
    return b"".join(_text(field, text) for text in texts)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    coded = bytearray()
    while number > 127:
        coded.append(number & 127 | 128)
        number >>= 7
    return bytes(coded + bytes([number]))
