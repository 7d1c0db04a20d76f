"""Specs of the family: strides, JSON, and what is rejected."""

from __future__ import annotations

import re

import pytest

from slimpose.arrays import Size
from slimpose.network.build import spec_from_json
from slimpose.network.family import FAMILY, detector_of, family_spec
from slimpose.network.spec import NetSpec
from small_network import changed


def test_stride_follows_from_the_deconvolutions() -> None:
    assert family_spec("b1").stride == 4
    assert detector_of(family_spec("b1")).stride == 8
    assert NetSpec(encoder="resnet18", encoder_stride=16, deconv_widths=(32, 32)).stride == 4


@pytest.mark.parametrize("name", FAMILY)
def test_spec_survives_json_round_trip(name: str) -> None:
    spec = family_spec(name, size=Size(128, 96))
    assert spec_from_json(spec.to_json()) == spec


@pytest.mark.parametrize("size", [Size(250, 192), Size(256, 190), Size(0, 192), Size(16, 16)])
def test_size_that_is_not_a_multiple_of_the_stride_is_rejected(size: Size) -> None:
    message = (
        f"input size {size} is not a multiple of the encoder's stride 32; expected for example"
    )
    with pytest.raises(ValueError, match=re.escape(f"{message} 128x96")):
        family_spec("b1", size=size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_stride": 8}, "encoder_stride is 8; expected 16 or 32"),
        ({"deconv_widths": ()}, "0 deconvolutions after an encoder of stride 32; expected 1 to 5"),
        (
            {"deconv_widths": (8,) * 6},
            "6 deconvolutions after an encoder of stride 32; expected 1 to 5",
        ),
    ],
)
def test_invalid_spec_is_rejected(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        changed(**changes)


def test_unknown_name_is_rejected_with_the_known_names() -> None:
    with pytest.raises(
        ValueError, match=re.escape("no network is named 'b9'; expected one of b0, b1")
    ):
        family_spec("b9")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"encoder": "x", "size": [32, 32], "deconv_widths": [8], "color": 1}'],
)
def test_invalid_json_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="metadata does not describe a slimpose network"):
        spec_from_json(text)
