"""The search for a net that fits, and the nets it scales."""

from __future__ import annotations

import dataclasses
import json

import pytest
import timm
import torch
from timm.models.efficientnet import _gen_mobilenet_v2

from slimpose.cli.main import main
from slimpose.export.hardware.arithmetic import layers_of_spec, macs_of_spec
from slimpose.export.hardware.fit import NEAR, fit, has_finding, inherited_share, parent_layers
from slimpose.export.hardware.target import load_target
from slimpose.network import scaled
from slimpose.network.cost import cost_of_spec
from slimpose.network.encoder import Encoder
from slimpose.network.family import FAMILY, family_spec
from slimpose.network.spec import NetSpec

SCALED = (
    NetSpec(encoder="mobilenetv2_100", activation="relu", width_multiplier=1.75),
    NetSpec(
        encoder="mobilenetv2_100",
        activation="relu",
        width_multiplier=0.7,
        depth_multiplier=1.5,
        round_to=12,
    ),
    NetSpec(
        encoder="tf_efficientnet_lite0",
        activation="relu",
        width_multiplier=1.1,
        depth_multiplier=1.2,
    ),
    NetSpec(
        encoder="tf_efficientnet_lite0",
        activation="relu",
        width_multiplier=0.6,
        depth_multiplier=0.5,
        round_to=16,
    ),
    NetSpec(
        encoder="mobilenetv2_100",
        activation="relu",
        depth_multiplier=0.7,
        encoder_stride=16,
        deconv_widths=(32, 32),
    ),
)


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("width", [0.35, 1.75])
def test_a_wider_mobilenet_is_the_one_timm_makes(width: float) -> None:
    with torch.device("meta"):
        theirs = _gen_mobilenet_v2(
            "mobilenetv2_100",
            channel_multiplier=width,
            features_only=True,
            out_indices=(1, 2, 3, 4),
            pad_type="same",
        )
        mine = scaled.build(
            NetSpec(encoder="mobilenetv2_100", width_multiplier=width), out_indices=(1, 2, 3, 4)
        )
    assert _shapes(mine) == _shapes(theirs)
    assert str(mine) == str(theirs)


def test_lite0_at_the_papers_scale_is_lite2() -> None:
    with torch.device("meta"):
        theirs = timm.create_model(
            "tf_efficientnet_lite2", features_only=True, out_indices=(1, 2, 3, 4)
        )
        spec = NetSpec(encoder="tf_efficientnet_lite0", width_multiplier=1.1, depth_multiplier=1.2)
        mine = scaled.build(spec, out_indices=(1, 2, 3, 4))
    assert _shapes(mine) == _shapes(theirs)
    assert str(mine) == str(theirs)


@pytest.mark.parametrize(
    "spec", SCALED, ids=lambda spec: f"{spec.encoder} {spec.width_multiplier} {spec.round_to}"
)
def test_the_arithmetic_counts_what_the_net_computes(spec: NetSpec) -> None:
    counted = cost_of_spec(spec).macs
    assert macs_of_spec(spec) == counted
    assert sum(layer.macs for layer in layers_of_spec(spec)) == counted


@pytest.mark.parametrize(
    "spec", SCALED, ids=lambda spec: f"{spec.encoder} {spec.width_multiplier} {spec.round_to}"
)
def test_channels_are_in_the_multiple_asked_for(spec: NetSpec) -> None:
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
        ({"encoder": "mobilenetv2_100", "round_to": 6}, "round_to is 6; expected a multiple of 4"),
    ],
)
def test_what_cannot_be_scaled_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(NetSpec(**changes))  # pyright: ignore[reportArgumentType]


def test_metadata_without_the_new_fields_is_read_as_before() -> None:
    old = json.loads(FAMILY["mnv2"].to_json())
    del old["depth_multiplier"], old["round_to"]
    assert NetSpec.from_json(json.dumps(old)) == FAMILY["mnv2"]
    assert NetSpec.from_json(FAMILY["dpu-b2304"].to_json()) == FAMILY["dpu-b2304"]


@pytest.mark.parametrize(("name", "target"), [("dpu", "dpu-b1024"), ("dpu-b2304", "dpu-b2304")])
def test_the_family_holds_what_the_search_finds_near_the_papers_fpga_net(
    name: str, target: str
) -> None:
    chip = load_target(target)
    found = fit(chip, gmac=0.43, parent=family_spec("mnv2"))
    assert found[0].spec == FAMILY[name]
    for candidate in found:
        assert abs(candidate.macs - 0.43e9) <= NEAR * 0.43e9
        assert not has_finding(layers_of_spec(candidate.spec), chip)
    assert cost_of_spec(FAMILY[name]).paper_gflops == pytest.approx(0.46, abs=0.01)


def test_the_small_fpgas_net_can_start_from_the_whole_shipped_net() -> None:
    parent = parent_layers(family_spec("mnv2"))
    assert inherited_share(parent, layers_of_spec(FAMILY["dpu"])) == 1
    narrower = dataclasses.replace(FAMILY["dpu"], width_multiplier=0.5)
    assert inherited_share(parent, layers_of_spec(narrower)) < 0.1
    assert inherited_share(parent_layers(family_spec("b1")), layers_of_spec(FAMILY["dpu"])) == 0


def test_far_from_every_net_the_nearest_that_fits_is_taken() -> None:
    (only,) = fit(load_target("dpu-b1024"), gmac=50.0, parent=family_spec("mnv2"))
    assert only.macs < 5e9
    (least,) = fit(load_target("dpu-b1024"), gmac=0.001, parent=family_spec("mnv2"))
    assert least.macs < only.macs


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
def test_bad_input_to_the_verb_ends_in_one_line_and_exit_code_two(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == 1


@pytest.mark.slow
def test_the_verb_prints_the_net_its_cost_and_the_verdict_on_its_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--target", "dpu-b1024", "--gmac", "0.43", "--json"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["inherited"], told["parent"]) == ("dpu", 1.0, "mnv2")
    assert NetSpec.from_json(json.dumps(told["net"])) == FAMILY["dpu"]
    assert told["gmac"] == pytest.approx(0.4344, abs=1e-4)
    assert told["verdict"]["fits"]
    assert told["verdict"]["layers_leaving"] == told["verdict"]["layers_advised"] == 0
