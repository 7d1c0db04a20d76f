"""The compared networks: cost against published numbers, inputs and outputs, gradients."""

from __future__ import annotations

import json
import re
from typing import cast

import numpy as np
import pytest
import timm
import torch
from timm.models.hrnet import HighResolutionNet
from torch import Tensor, nn

from run_main import run_main
from slimpose.arrays import Size
from slimpose.compare.published_results import ROWS, PublishedRow
from slimpose.network.baselines.hrnet import Hrnet
from slimpose.network.baselines.lightweight_openpose import LIMBS, LightweightOpenPose
from slimpose.network.baselines.lpn import _GlobalContext
from slimpose.network.baselines.net import ARCHITECTURES, BaselineNet, BaselineSpec
from slimpose.network.build import BASELINES, build, net_from_metadata, spec_from_json, spec_named
from slimpose.network.cost import cost_of_spec
from slimpose.network.family import FAMILY
from slimpose.network.pose_net import PoseNet

SMALL = ("hrnet-w32", "lpn-50", "efficientpose-a", "lightweight-openpose", "simplebaseline-r50")
LARGE = tuple(name for name in BASELINES if name not in SMALL)
ALL = (*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE))


def crops(n: int, size: Size) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, *size, 3)).astype(np.uint8))


def _row_id(row: PublishedRow) -> str:
    return f"{row.system} {row.size}"


# cost


def agrees(printed: float | None, counted: float) -> bool:
    """Within 1 %, or a unit of the last digit: papers round or truncate."""
    if printed is None:
        return True
    unit = 10.0 ** -len(str(printed).partition(".")[2])
    return abs(counted - printed) <= max(0.01 * printed, unit)


@pytest.mark.parametrize("row", [row for row in ROWS if row.net], ids=_row_id)
def test_cost_matches_the_published_cost_or_the_row_explains_why_not(row: PublishedRow) -> None:
    cost = cost_of_spec(spec_named(row.net, size=row.size))
    matches = (
        agrees(row.params_m, cost.params / 1e6)
        and agrees(row.tool, cost.paper_gflops)
        and agrees(row.gmac, cost.gmac)
    )
    assert matches or row.net in ("hourglass-8", "efficientpose-c")
    assert matches or row.note


def test_notes_about_different_counts_are_correct() -> None:
    hourglass = cost_of_spec(spec_named("hourglass-8"))
    with torch.device("meta"):
        net = build(spec_named("hourglass-8"))
    assert isinstance(net, BaselineNet)
    stem = sum(parameter.numel() for parameter in net.body.get_submodule("stem").parameters())
    assert (hourglass.params - stem) / 1e6 == pytest.approx(25.1, abs=0.05)
    assert hourglass.paper_gflops == pytest.approx(19.2, abs=0.05)
    assert hourglass.gmac == pytest.approx(20.6, abs=0.05)
    assert cost_of_spec(
        spec_named("hourglass-8", size=Size(192, 192))
    ).paper_gflops == pytest.approx(14.38, abs=0.005)
    searched = [
        cost_of_spec(spec_named(f"efficientpose-{variant}", size=Size(256, 256))).paper_gflops
        for variant in "abc"
    ]
    assert searched == pytest.approx([0.7, 1.5, 2.0], abs=0.06)  # the authors' table for 256x256
    assert cost_of_spec(spec_named("lightweight-openpose")).gmac == pytest.approx(8.88, abs=0.005)


def test_every_baseline_has_a_row_and_ikdnet_explains_why_it_has_no_network() -> None:
    assert {row.net for row in ROWS} - {""} == set(BASELINES)
    (without,) = (row for row in ROWS if not row.net)
    assert without.system == "IKDNet"
    assert "No public code" in without.note


@pytest.mark.parametrize(
    ("words", "params_m", "gmac", "tool"),
    [
        (("hrnet-w48", "--size", "256x192"), 63.6, 15.77, 14.6),
        (("hrnet-w32",), 28.5, 7.7, 7.1),
        (("simplebaseline-r50",), 34.0, 5.43, 9.0),
    ],
)
def test_cost_verb_accepts_baselines(
    words: tuple[str, ...],
    params_m: float,
    gmac: float,
    tool: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main("cost", *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["params"] / 1e6 == pytest.approx(params_m, abs=0.05)
    assert found["gmac"] == pytest.approx(gmac, rel=0.01)
    assert found["tool"] == pytest.approx(tool, rel=0.01)


@pytest.mark.parametrize("width", [32, pytest.param(48, marks=pytest.mark.slow)])
def test_hrnet_has_the_branches_of_timms_hrnet(width: int) -> None:
    # timm's last module outputs all four branches, for classification; ours only the finest.
    with torch.device("meta"):
        theirs = timm.create_model(f"hrnet_w{width}", features_only=True).state_dict()
        ours = Hrnet(width, 17).state_dict()
    shared = {
        name: tensor
        for name, tensor in theirs.items()
        if not name.startswith(("incre_modules", "stage4.2.fuse"))
    }
    kept = {
        name: tensor
        for name, tensor in ours.items()
        if not name.startswith(("final_layer", "stage4.2.fuse"))
    }
    assert {name: tensor.shape for name, tensor in kept.items()} == {
        name: tensor.shape
        for name, tensor in shared.items()
        if not name.startswith(("classifier", "head"))
    }


@pytest.mark.slow
def test_hrnet_computes_the_same_features_as_timms_hrnet() -> None:
    trunk = cast(HighResolutionNet, timm.create_model("hrnet_w32", pretrained=False).eval())
    ours = Hrnet(32, 17).eval()
    shared = {
        name: tensor for name, tensor in trunk.state_dict().items() if name in ours.state_dict()
    }
    ours.load_state_dict(shared, strict=False)
    images = torch.rand(1, 3, 64, 64)
    stages: list[Tensor] = []
    ours.final_layer.register_forward_pre_hook(lambda _, inputs: stages.append(inputs[0]))
    with torch.inference_mode():
        ours(images)
        stem = trunk.act1(trunk.bn1(trunk.conv1(images)))
        expected = trunk.stages(trunk.act2(trunk.bn2(trunk.conv2(stem))))
    torch.testing.assert_close(stages[0], expected[0], atol=1e-4, rtol=1e-3)


# inputs and outputs


@pytest.mark.parametrize("name", ALL)
def test_one_heatmap_per_joint_at_the_stride_with_gradients(name: str) -> None:
    torch.manual_seed(0)
    size = Size(64, 128)
    spec = spec_named(name, size=size)
    net = build(spec).train()
    heatmaps = net(crops(2, size))
    assert heatmaps.shape == (2, spec.joints, *spec.heatmap_size)
    assert heatmaps.shape[2] == size.height // spec.stride
    assert heatmaps.abs().max() < 0.5  # nearly empty at the start
    (heatmaps - 1).square().sum().backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    # The last affinities are not used for crops of one person.
    assert all(name.startswith("body.refinement_stages.0.pafs") for name in idle)
    assert (len(idle) > 0) == (name == "lightweight-openpose")
    assert all(
        parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters()
    )
    first = next(parameter for parameter in net.parameters() if parameter.ndim == 4)
    assert first.grad is not None
    assert first.grad.abs().sum() > 0  # gradients reach the first layer


@pytest.mark.parametrize("name", ["efficientpose-a", "lightweight-openpose"])
def test_batch_gives_the_same_results_as_single_crops(name: str) -> None:
    size = Size(64, 64)
    net = build(spec_named(name, size=size)).eval()
    batch = crops(3, size)
    with torch.inference_mode():
        batched = net(batch)
        single = torch.cat([net(batch[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(batched, single, atol=1e-5, rtol=1e-3)


def test_pixels_are_normalized_with_imagenet_statistics() -> None:
    net = BaselineNet(BaselineSpec(baseline="efficientpose-a", size=Size(32, 32)))
    gray = torch.full((1, 32, 32, 3), 128, dtype=torch.uint8)
    expected = [
        (128 / 255 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
    ]
    normalized = net.normalized(gray)
    assert normalized.shape == (1, 3, 32, 32)
    assert normalized[0, :, 5, 7].tolist() == pytest.approx(expected, abs=1e-6)


def test_simplebaseline_has_wide_deconvolutions_and_no_head() -> None:
    spec = spec_named("simplebaseline-r50")
    with torch.device("meta"):
        net = build(spec)
    assert isinstance(net, PoseNet)
    widths = [
        module.out_channels
        for module in net.decoder.modules()
        if isinstance(module, nn.ConvTranspose2d)
    ]
    assert widths == [256, 256, 256]
    assert not [module for module in net.decoder.modules() if isinstance(module, nn.Conv2d)]


def test_global_context_starts_at_zero_and_is_the_same_for_every_pixel() -> None:
    torch.manual_seed(0)
    context = _GlobalContext(32)
    features = torch.randn(2, 32, 5, 4)
    torch.testing.assert_close(context(features), features)
    nn.init.normal_(context.excite.weight)
    added = context(features) - features
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    assert added.abs().min() > 0


def test_lightweight_openpose_has_background_and_affinities() -> None:
    net = LightweightOpenPose(18).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        heatmaps, affinities = net.parts(images)
        joints = net(images)
    assert heatmaps.shape == (1, 19, 8, 12)
    assert affinities.shape == (1, 2 * LIMBS, 8, 12)
    torch.testing.assert_close(joints, heatmaps[:, :18])


# specs and metadata


@pytest.mark.parametrize("name", BASELINES)
def test_spec_survives_json_round_trip(name: str) -> None:
    spec = spec_named(name, size=Size(128, 192))
    assert spec_from_json(spec.to_json()) == spec
    with torch.device("meta"):
        net = net_from_metadata({"net": spec.to_json(), "alignment": "multiples"})
    assert net.spec == spec
    assert isinstance(net, PoseNet | BaselineNet)
    assert net.alignment == "multiples"


@pytest.mark.parametrize("name", FAMILY)
def test_spec_of_the_family_is_read_from_json(name: str) -> None:
    assert spec_from_json(FAMILY[name].to_json()) == FAMILY[name] == spec_named(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: spec_named("hrnet-w18"),
            "no network is named 'hrnet-w18'; expected one of b0, b1",
        ),
        (lambda: spec_named("hrnet-w18"), "simplebaseline-r50, simplebaseline-r101"),
        (
            lambda: BaselineSpec(baseline="b1"),
            "no baseline is named 'b1'; expected one of hrnet-w32",
        ),
        (
            lambda: spec_named("hourglass-8", size=Size(128, 96)),
            "input size 128x96 is not a multiple of 64, the coarsest stride of hourglass-8",
        ),
        (
            lambda: spec_named("hrnet-w32", size=Size(0, 32)),
            "input size 0x32 is not a multiple of 32",
        ),
        (
            lambda: BaselineSpec(baseline="lpn-50", joints=0),
            "lpn-50 has 0 joints; expected at least 1",
        ),
        (lambda: spec_from_json("{"), "metadata does not describe a slimpose network"),
        (lambda: spec_from_json("[]"), "metadata does not describe a slimpose network"),
        (
            lambda: spec_from_json('{"baseline": "lpn-50"}'),
            "metadata does not describe a slimpose network: net has no size; expected",
        ),
        (
            lambda: net_from_metadata({"net": FAMILY["mnv2"].to_json(), "alignment": "edges"}),
            "metadata has the alignment 'edges'; expected one of centers, multiples, corners",
        ),
    ],
)
def test_invalid_name_or_spec_is_rejected(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_names_of_family_and_baselines_do_not_overlap() -> None:
    assert not FAMILY.keys() & BASELINES.keys()
    assert ARCHITECTURES.keys() <= BASELINES.keys()
