"""Pruning: accuracy of the refit, cost and spec of the result, and ``slimpose prune``."""

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
from slimpose.network.weights import load_checkpoint, read_metadata, save_checkpoint
from slimpose.skeleton import COCO17
from slimpose.train.options import RecipeOptions
from slimpose.train.recipes import RECIPES
from slimpose.train.run import BEST, CHECKPOINT
from tiny_training import NET, tiny_recipe, write_people

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images() -> list[Crops]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (8, *NET.size, 3)).astype(np.uint8) for _ in range(8)]


@pytest.fixture(scope="module")
def net(images: list[Crops]) -> PoseNet:
    """Random weights, and batch norms with the statistics of the images."""
    torch.manual_seed(0)
    net = PoseNet(NET).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            setattr(module, "momentum", 0.5)  # noqa: B010 - the stubs reject floats
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        for batch in images:
            net(torch.from_numpy(batch))
    return net.eval()


@pytest.fixture(scope="module")
def small(net: PoseNet, images: list[Crops]) -> PoseNet:
    return prune(net, images, gmac=0.7 * cost_of(net, NET.size).gmac)


@torch.no_grad()
def encoded(net: PoseNet, images: list[Crops]) -> Tensor:
    return net.encoder(torch.from_numpy(np.concatenate(images)).float().permute(0, 3, 1, 2))[-1]


def loss(small: PoseNet, net: PoseNet, images: list[Crops]) -> float:
    """The share of the coarsest map's variance that is lost."""
    before, after = encoded(net, images), encoded(small, images)
    return float((after - before).square().mean() / before.var())


@torch.no_grad()
def test_duplicate_channels_are_removed_first_without_loss(
    net: PoseNet, images: list[Crops]
) -> None:
    net = copy.deepcopy(net)
    for layer in hidden_layers(net.encoder.body):
        half = layer.width // 2
        for module in (layer.expand, layer.expand_norm, layer.depthwise, layer.depthwise_norm):
            for tensor in module.state_dict().values():
                if tensor.ndim:
                    tensor[half:] = tensor[:half]  # the projection weights stay different
    widths = tuple(layer.width // 2 for layer in hidden_layers(net.encoder.body))
    half_net = dataclasses.replace(NET, inner_widths=widths)
    small = prune(net, images, gmac=cost_of_spec(half_net).gmac + 1e-9)
    assert small.spec.inner_widths == half_net.inner_widths
    assert loss(small, net, images) < 1e-3


def test_pruned_network_has_the_requested_cost_and_matches_its_spec(
    net: PoseNet, small: PoseNet, images: list[Crops]
) -> None:
    whole = cost_of(net, NET.size).gmac
    assert 0.63 * whole < cost_of(small, NET.size).gmac <= 0.7 * whole
    assert all(width % 8 == 0 for width in small.spec.inner_widths)
    again = net_from_metadata({"net": small.spec.to_json()}).eval()
    assert isinstance(again, PoseNet)
    again.load_state_dict(small.state_dict())
    torch.testing.assert_close(encoded(again, images), encoded(small, images))
    assert net.spec.inner_widths == ()  # the input network is unchanged


def test_loss_is_smaller_than_when_the_last_channels_are_removed(
    net: PoseNet, small: PoseNet, images: list[Crops]
) -> None:
    cut = PoseNet(NET).eval()
    cut.load_state_dict(net.state_dict())
    for layer, width in zip(hidden_layers(cut.encoder.body), small.spec.inner_widths, strict=True):
        layer.keep(torch.arange(width))
    assert loss(small, net, images) < 0.5 * loss(cut, net, images)


def test_pruned_network_has_gradients(small: PoseNet, images: list[Crops]) -> None:
    small = copy.deepcopy(small).train()
    small(torch.from_numpy(images[0])).square().mean().backward()
    assert all(parameter.grad is not None for parameter in small.encoder.parameters())


# errors


@pytest.mark.parametrize("share", [0.01, 1.0, 2.0])
def test_unreachable_cost_is_rejected_with_the_range(
    net: PoseNet, images: list[Crops], share: float
) -> None:
    with pytest.raises(ValueError, match=r"can be pruned to 0\.\d+: expected a number between"):
        prune(net, images, gmac=share * cost_of(net, NET.size).gmac)


@pytest.mark.parametrize("name", ["b0", "r18"])
def test_encoder_of_other_blocks_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=r"plain inverted residual blocks only"):
        hidden_layers(Encoder(family_spec(name)).body)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((8,) * 3, "names 3 blocks; this encoder has 17"),
        ((8,) * 16 + (9999,), "block 16 for 9999 channels; expected"),
    ],
)
def test_widths_that_do_not_fit_the_encoder_are_rejected(
    widths: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(dataclasses.replace(NET, inner_widths=widths))


# the command, and training from its output


def test_pruned_file_can_be_trained_and_resumed(
    net: PoseNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    people = write_people(tmp_path)
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    described = {"net": NET.to_json(), "skeleton": COCO17.to_json()}
    save_checkpoint(whole, net.state_dict(), {"task": "pose", "start": "a test", **described})
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
    train = partial(
        train_verb.train,
        "tiny",
        out=run,
        data=train_verb.DataOptions(train=people, images=tmp_path, val=people, val_images=tmp_path),
        options=RecipeOptions(length=0.5),
    )
    train(start=str(small))
    (run / BEST).unlink()
    train(resume=True)
    assert net_from_metadata(read_metadata(run / CHECKPOINT)).spec == pruned.spec


@pytest.mark.parametrize("name", ["whole.safetensors", "people.json"])
def test_input_file_is_not_overwritten(name: str, tmp_path: Path) -> None:
    whole, people = tmp_path / "whole.safetensors", tmp_path / "people.json"
    for path in (whole, people):
        path.write_bytes(b"is read")
    with pytest.raises(ValueError, match=f"--out .*{name} is an input of this call"):
        prune_verb(whole, gmac=0.1, images=tmp_path, annotations=people, out=tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"is read"


def test_widths_of_another_network_do_not_change_the_recipe() -> None:
    recipe = tiny_recipe()
    other = dataclasses.replace(NET, head_width=24, inner_widths=(8,) * 17)
    assert recipe.with_pruned_net(other) == recipe
    pruned = dataclasses.replace(NET, inner_widths=(8,) * 17)
    assert recipe.with_pruned_net(pruned).net == pruned
    other_joints = dataclasses.replace(pruned, joints=5)
    assert recipe.with_pruned_net(other_joints).net == pruned, "its head will be new"
