from __future__ import annotations

import pytest

from slimpose.runtime.backends.base import BackendError, resolve_precision


@pytest.mark.parametrize(
    ("file_precision", "requested", "supported", "expected"),
    [
        ("fp32", None, ("fp32", "bf16"), "fp32"),
        ("fp32", "fp32", (), "fp32"),
        ("int8", None, (), "int8"),  # the file's own layers, in any backend
        ("int8", "int8", (), "int8"),
        ("fp32", "bf16", ("fp32", "bf16"), "bf16"),
        ("int8", "bf16", ("fp32", "bf16"), "int8+bf16"),  # the layers left in float
    ],
)
def test_file_is_computed_in_its_own_or_the_requested_precision(
    file_precision: str, requested: str | None, supported: tuple[str, ...], expected: str
) -> None:
    resolved = resolve_precision(
        "openvino", file_precision=file_precision, requested=requested, supported=supported
    )
    assert resolved == expected


@pytest.mark.parametrize(
    ("file_precision", "requested", "message"),
    [
        ("fp32", "int8", "the file is fp32; expected an INT8 file for int8.*slimpose quantize"),
        ("int8", "fp32", "the file is int8, and its layers stay so; expected an FP32 file"),
        ("fp32", "bf16", "onnxruntime does not compute in bf16 on this machine; expected fp32, or"),
        ("fp32", "fp7", "no precision is named 'fp7'; expected one of fp32, fp16, bf16, int8"),
    ],
)
def test_unavailable_precision_is_rejected(
    file_precision: str, requested: str, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        resolve_precision(
            "onnxruntime", file_precision=file_precision, requested=requested, supported=("fp32",)
        )
