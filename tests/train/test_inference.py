from __future__ import annotations

import sys

import pytest
import torch

import tiny_training
from slimpose.network.encoder import Encoder
from slimpose.train.inference import compile_frozen_stem

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_compiled_stem_gives_the_same_features(stages: int) -> None:
    torch.manual_seed(0)
    encoder = Encoder(tiny_training.NET).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = encoder(images)
    encoder.frozen_stem = compile_frozen_stem(encoder, stages)
    assert encoder.frozen_stem is not None
    encoder.training = True  # its norms stay in evaluation mode
    with torch.inference_mode():
        compiled = encoder(images)
    assert len(compiled) == len(expected)
    for output, reference in zip(compiled, expected, strict=True):
        assert output.shape == reference.shape
        # BF16 keeps 8 bits, over up to seven stages.
        assert (output - reference).abs().max() < 0.04 * reference.abs().max()


def test_stem_is_compiled_only_if_frozen_and_openvino_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = Encoder(tiny_training.NET)
    assert compile_frozen_stem(encoder, 0) is None
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert compile_frozen_stem(encoder, 2) is None
