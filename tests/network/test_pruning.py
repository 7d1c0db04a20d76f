"""Smaller nets out of trained ones: what may be lost, what must not be."""

from __future__ import annotations

import copy
import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from slimpose.arrays import Crops
from slimpose.cli import train as train_verb
from slimpose.cli.prune import prune as prune_verb
from slimpose.network.build import net_from_metadata
from slimpose.network.cost import cost_of, cost_of_spec
from slimpose.network.encoder import Encoder
from slimpose.network.family import family_spec
from slimpose.network.narrowing import hidden_layers
from slimpose.network.pose_net import PoseNet
from slimpose.network.pruning import prune
from slimpose.network.spec import NetSpec
from slimpose.network.weights import load_checkpoint, read_metadata, save_checkpoint
from slimpose.skeleton import COCO17
from slimpose.train import checkpoint
from slimpose.train.recipe import RecipeOptions
from slimpose.train.recipes import RECIPES
from slimpose.train.run import BEST, CHECKPOINT
from tiny_training import NET, tiny_recipe, write_people

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pictures() -> list[Crops]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (8, *NET.size, 3)).astype(np.uint8) for _ in range(8)]


@pytest.fixture(scope="module")
def net(pictures: list[Crops]) -> PoseNet:
    """Random weights, batch norms that have seen the pictures."""
    torch.manual_seed(0)
    net = PoseNet(NET).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            setattr(module, "momentum", 0.5)  # noqa: B010 - nn.Module takes floats, whatever its stubs say
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        for batch in pictures:
            net(torch.from_numpy(batch))
    return net.eval()


@pytest.fixture(scope="module")
def small(net: PoseNet, pictures: list[Crops]) -> PoseNet:
    return prune(net, pictures, gmac=0.7 * cost_of(net, NET.size).gmac)


@torch.no_grad()
def encoded(net: PoseNet, pictures: list[Crops]) -> Tensor:
    return net.encoder(torch.from_numpy(np.concatenate(pictures)).float().permute(0, 3, 1, 2))[-1]


def lost(small: PoseNet, net: PoseNet, pictures: list[Crops]) -> float:
    """The share of the coarsest map's variance that is gone."""
    before, after = encoded(net, pictures), encoded(small, pictures)
    return float((after - before).square().mean() / before.var())


@torch.no_grad()
def test_channels_that_others_repeat_go_first_and_nothing_is_lost(
    net: PoseNet, pictures: list[Crops]
) -> None:
    net = copy.deepcopy(net)
    for inner in hidden_layers(net.encoder.body):
        half = inner.width // 2
        for module in (inner.expand, inner.expand_norm, inner.depthwise, inner.depthwise_norm):
            for tensor in module.state_dict().values():
                if tensor.ndim:
                    tensor[half:] = tensor[:half]  # the mixing weights stay unlike
    halved = dataclasses.replace(
        NET, inner_widths=tuple(inner.width // 2 for inner in hidden_layers(net.encoder.body))
    )
    small = prune(net, pictures, gmac=cost_of_spec(halved).gmac + 1e-9)
    assert small.spec.inner_widths == halved.inner_widths
    assert lost(small, net, pictures) < 1e-3


def test_what_is_left_costs_at_most_what_was_asked_and_is_what_its_spec_says(
    net: PoseNet, small: PoseNet, pictures: list[Crops]
) -> None:
    whole = cost_of(net, NET.size).gmac
    assert 0.63 * whole < cost_of(small, NET.size).gmac <= 0.7 * whole
    assert all(width % 8 == 0 for width in small.spec.inner_widths)
    again = PoseNet(NetSpec.from_json(small.spec.to_json())).eval()
    again.load_state_dict(small.state_dict())
    torch.testing.assert_close(encoded(again, pictures), encoded(small, pictures))
    assert net.spec.inner_widths == ()  # the net itself is as it was


def test_less_is_lost_than_where_the_same_number_of_channels_is_cut_off(
    net: PoseNet, small: PoseNet, pictures: list[Crops]
) -> None:
    cut = PoseNet(NET).eval()
    cut.load_state_dict(net.state_dict())
    for inner, width in zip(hidden_layers(cut.encoder.body), small.spec.inner_widths, strict=True):
        inner.keep(torch.arange(width))
    assert lost(small, net, pictures) < 0.5 * lost(cut, net, pictures)


def test_a_pruned_net_learns(small: PoseNet, pictures: list[Crops]) -> None:
    small = copy.deepcopy(small).train()
    small(torch.from_numpy(pictures[0])).square().mean().backward()
    assert all(parameter.grad is not None for parameter in small.encoder.parameters())


# errors


@pytest.mark.parametrize("share", [0.01, 1.0, 2.0])
def test_a_size_that_cannot_be_is_refused_with_the_range(
    net: PoseNet, pictures: list[Crops], share: float
) -> None:
    with pytest.raises(ValueError, match=r"could be pruned to 0\.\d+: expected a number between"):
        prune(net, pictures, gmac=share * cost_of(net, NET.size).gmac)


@pytest.mark.parametrize("name", ["b0", "r18"])
def test_an_encoder_of_other_blocks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"plain inverted residual blocks only"):
        hidden_layers(Encoder(family_spec(name)).body)


@pytest.mark.parametrize(
    ("widths", "told"),
    [
        ((8,) * 3, "names 3 blocks; this encoder has 17"),
        ((8,) * 16 + (9999,), "block 16 for 9999 channels; expected"),
    ],
)
def test_widths_that_do_not_fit_the_encoder_are_refused(widths: tuple[int, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Encoder(dataclasses.replace(NET, inner_widths=widths))


# the verb, and training from what it wrote


def test_a_pruned_file_is_trained_and_resumed_as_what_it_is(
    net: PoseNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    people, whole, small = (
        write_people(tmp_path),
        tmp_path / "whole.safetensors",
        tmp_path / "small.safetensors",
    )
    metadata = {
        "task": "pose",
        "net": NET.to_json(),
        "skeleton": COCO17.to_json(),
        "start": "a test",
    }
    save_checkpoint(whole, net.state_dict(), metadata)
    asked = 0.7 * cost_of_spec(NET).gmac
    prune_verb(whole, gmac=asked, images=tmp_path, annotations=people, out=small)
    assert "GMAC" in capsys.readouterr().out
    written = load_checkpoint(small)
    pruned = net_from_metadata(written.metadata)
    pruned.load_state_dict(written.tensors)
    assert cost_of(pruned, NET.size).gmac <= asked
    assert "whole.safetensors pruned to" in written.metadata["start"]

    monkeypatch.setitem(RECIPES, "tiny", tiny_recipe)
    run = tmp_path / "run"
    begin = partial(
        train_verb.train,
        "tiny",
        out=run,
        data=train_verb.DataOptions(train=people, images=tmp_path, val=people, val_images=tmp_path),
        options=RecipeOptions(length=0.5),
    )
    begin(start=str(small))
    (run / BEST).unlink()
    begin(resume=True)
    assert net_from_metadata(read_metadata(run / CHECKPOINT)).spec == pruned.spec


@pytest.mark.parametrize("name", ["whole.safetensors", "people.json"])
def test_what_it_reads_is_not_overwritten(name: str, tmp_path: Path) -> None:
    whole, people = tmp_path / "whole.safetensors", tmp_path / "people.json"
    for path in (whole, people):
        path.write_bytes(b"is read")
    with pytest.raises(ValueError, match=f"--out .*{name} is an input of this call"):
        prune_verb(whole, gmac=0.1, images=tmp_path, annotations=people, out=tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"is read"


def test_a_file_of_another_net_does_not_narrow_a_recipes() -> None:
    recipe = tiny_recipe()
    other = dataclasses.replace(NET, head_width=24, inner_widths=(8,) * 17)
    assert recipe.with_pruned_net(other) == recipe
    assert (
        recipe.with_pruned_net(dataclasses.replace(NET, inner_widths=(8,) * 17)).net != recipe.net
    )
