"""The search for a network that fits, and the scaled networks."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import timm
import torch
from timm.models.efficientnet import _gen_mobilenet_v2

from run_main import run_main
from slimpose.export.hardware.arithmetic import layers_of_spec, macs_of_spec
from slimpose.export.hardware.fit import (
    MACS_TOLERANCE,
    fit,
    has_finding,
    inherited_share,
    parent_layers,
)
from slimpose.export.hardware.target import load_target
from slimpose.network import scaled
from slimpose.network.build import spec_from_json
from slimpose.network.cost import cost_of_spec
from slimpose.network.encoder import Encoder
from slimpose.network.family import FAMILY, family_spec
from slimpose.network.spec import NetSpec

MOBILENET, LITE = "mobilenetv2_100", "tf_efficientnet_lite0"
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    (MOBILENET, {"width_multiplier": 1.75}),
    (MOBILENET, {"width_multiplier": 0.7, "depth_multiplier": 1.5, "round_to": 12}),
    (LITE, {"width_multiplier": 1.1, "depth_multiplier": 1.2}),
    (LITE, {"width_multiplier": 0.6, "depth_multiplier": 0.5, "round_to": 16}),
    (MOBILENET, {"depth_multiplier": 0.7, "encoder_stride": 16, "deconv_widths": (32, 32)}),
]
SCALED = [NetSpec(encoder=name, activation="relu", **options) for name, options in OPTIONS]


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("width", [0.35, 1.75])
def test_a_wider_mobilenet_is_equal_to_timms(width: float) -> None:
    with torch.device("meta"):
        expected = _gen_mobilenet_v2(
            "mobilenetv2_100",
            channel_multiplier=width,
            features_only=True,
            out_indices=(1, 2, 3, 4),
            pad_type="same",
        )
        built = scaled.build(
            NetSpec(encoder=MOBILENET, width_multiplier=width), out_indices=(1, 2, 3, 4)
        )
    assert _shapes(built) == _shapes(expected)
    assert str(built) == str(expected)


def test_lite0_at_the_papers_scale_is_lite2() -> None:
    with torch.device("meta"):
        expected = timm.create_model(
            "tf_efficientnet_lite2", features_only=True, out_indices=(1, 2, 3, 4)
        )
        spec = NetSpec(encoder=LITE, width_multiplier=1.1, depth_multiplier=1.2)
        built = scaled.build(spec, out_indices=(1, 2, 3, 4))
    assert _shapes(built) == _shapes(expected)
    assert str(built) == str(expected)


@pytest.mark.parametrize(
    "spec", SCALED, ids=lambda spec: f"{spec.encoder} {spec.width_multiplier} {spec.round_to}"
)
def test_the_arithmetic_agrees_with_the_count_of_the_network(spec: NetSpec) -> None:
    counted = cost_of_spec(spec).macs
    assert macs_of_spec(spec) == counted
    assert sum(layer.macs for layer in layers_of_spec(spec)) == counted


@pytest.mark.parametrize(
    "spec", SCALED, ids=lambda spec: f"{spec.encoder} {spec.width_multiplier} {spec.round_to}"
)
def test_channels_are_multiples_of_round_to(spec: NetSpec) -> None:
    with torch.device("meta"):
        encoder = Encoder(spec)
    convolutions = [module for module in encoder.modules() if isinstance(module, torch.nn.Conv2d)]
    if spec.round_to == 8 or not scaled.DESIGNS[spec.encoder].fixed_stem:
        assert convolutions[0].out_channels == scaled.stem_channels(spec)
    assert not [layer.out_channels for layer in convolutions if layer.out_channels % spec.round_to]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder": "resnet18", "depth_multiplier": 2.0},
            "depth_multiplier 2 needs mobilenetv2_100, got 'resnet18'",
        ),
        (
            {"encoder": "resnet18", "round_to": 12},
            "round_to 12 needs mobilenetv2_100, got 'resnet18'",
        ),
        ({"encoder": MOBILENET, "round_to": 6}, "round_to is 6; expected a multiple of 4"),
    ],
)
def test_unsupported_scaling_is_rejected(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(NetSpec(**changes))  # pyright: ignore[reportArgumentType]


def test_metadata_without_scaling_fields_is_read() -> None:
    old = json.loads(FAMILY["mnv2"].to_json())
    del old["depth_multiplier"], old["round_to"]
    assert spec_from_json(json.dumps(old)) == FAMILY["mnv2"]
    assert spec_from_json(FAMILY["dpu-b2304"].to_json()) == FAMILY["dpu-b2304"]


@pytest.mark.parametrize(("name", "target"), [("dpu", "dpu-b1024"), ("dpu-b2304", "dpu-b2304")])
def test_the_family_has_the_result_of_the_search_near_the_papers_fpga_network(
    name: str, target: str
) -> None:
    hardware = load_target(target)
    found = fit(hardware, gmac=0.43, parent=family_spec("mnv2"))
    assert found[0].spec == FAMILY[name]
    for candidate in found:
        assert abs(candidate.macs - 0.43e9) <= MACS_TOLERANCE * 0.43e9
        assert not has_finding(layers_of_spec(candidate.spec), hardware)
    assert cost_of_spec(FAMILY[name]).paper_gflops == pytest.approx(0.46, abs=0.01)


def test_the_dpu_network_inherits_all_layers_of_the_shipped_one() -> None:
    parent = parent_layers(family_spec("mnv2"))
    assert inherited_share(parent, layers_of_spec(FAMILY["dpu"])) == 1
    narrower = dataclasses.replace(FAMILY["dpu"], width_multiplier=0.5)
    assert inherited_share(parent, layers_of_spec(narrower)) < 0.1
    assert inherited_share(parent_layers(family_spec("b1")), layers_of_spec(FAMILY["dpu"])) == 0


def test_the_nearest_network_is_taken_if_none_is_within_the_tolerance() -> None:
    (only,) = fit(load_target("dpu-b1024"), gmac=50.0, parent=family_spec("mnv2"))
    assert only.macs < 5e9
    (smallest,) = fit(load_target("dpu-b1024"), gmac=0.001, parent=family_spec("mnv2"))
    assert smallest.macs < only.macs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "dpu-b1024", "--gmac", "0"), "--gmac is 0; expected 1e9 multiply-adds"),
        (("--target", "dpu-b1", "--gmac", "0.4"), "no target is named 'dpu-b1'"),
        (("--target", "dpu-b1024", "--gmac", "0.4", "--parent", "b9"), "no network is named 'b9'"),
        (
            ("--target", "dpu-b1024", "--gmac", "0.4", "--size", "250x192"),
            "not a multiple of the encoder's stride",
        ),
    ],
)
def test_invalid_input_is_one_line_of_error_and_exit_code_2(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("fit", *words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.slow
def test_the_command_prints_the_network_its_cost_and_the_verdict_on_its_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main("fit", "--target", "dpu-b1024", "--gmac", "0.43", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["name"], result["inherited"], result["parent"]) == ("dpu", 1.0, "mnv2")
    assert spec_from_json(json.dumps(result["net"])) == FAMILY["dpu"]
    assert result["gmac"] == pytest.approx(0.4344, abs=1e-4)
    assert result["verdict"]["fits"]
    assert result["verdict"]["layers_leaving"] == result["verdict"]["layers_advised"] == 0
