from __future__ import annotations

import dataclasses

import pytest
import torch

from slimpose.arrays import Size
from slimpose.network.build import net_from_metadata, spec_from_json
from slimpose.network.cells import grid_cells
from slimpose.network.detector_net import BoxDecoder
from slimpose.network.pyramid_detector import PYRAMID, Head, PyramidDetector, PyramidSpec

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = PyramidSpec(widths=(4, 6, 8, 12, 16, 20), depths=(1, 2, 2, 2), neck_width=8)


def test_one_prediction_per_cell_of_four_strides() -> None:
    net = PyramidDetector(SMALL).eval()
    images = torch.randint(0, 256, (2, 96, 160, 3), dtype=torch.uint8)
    with torch.inference_mode():
        logits, boxes = net(images)
    cells = 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3
    assert logits.shape == (2, cells)
    assert boxes.shape == (2, cells, 4)
    assert (boxes[..., 2:] >= boxes[..., :2]).all()


def test_boxes_lie_about_their_cells() -> None:
    """With equal weights of all distances each edge is 3.5 cells away."""
    net = PyramidDetector(SMALL).eval()
    with torch.no_grad():
        for head in net.heads:
            for parameter in head.edges.parameters():  # pyright: ignore[reportAttributeAccessIssue]
                parameter.zero_()
        _, boxes = net(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    centers, strides = grid_cells(Size(64, 64), (8, 16, 32, 64), torch.device("cpu"))
    expected = torch.cat(
        [centers - 3.5 * strides[:, None], centers + 3.5 * strides[:, None]], dim=1
    )
    assert torch.allclose(boxes[0], expected)


def test_scores_are_geometric_means_of_two_probabilities() -> None:
    net = PyramidDetector(SMALL).eval()
    head = net.heads[0]
    assert isinstance(head, Head)
    with torch.no_grad():
        for layer, bias in ((head.score, 2.0), (head.aligned, -1.0)):
            for name, parameter in layer.named_parameters():
                parameter.fill_(bias if name == "bias" else 0.0)
        logits, _ = head(torch.rand(1, 8, 3, 3))
    expected = (torch.sigmoid(torch.tensor(2.0)) * torch.sigmoid(torch.tensor(-1.0))).sqrt()
    assert torch.allclose(torch.sigmoid(logits), expected)


def test_decoder_returns_the_best_cells_of_all_strides() -> None:
    decoder = BoxDecoder(PyramidDetector(SMALL.at(Size(64, 64))).eval(), max_boxes=30)
    with torch.inference_mode():
        boxes, scores = decoder(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert boxes.shape == (2, 30, 4)
    assert (scores[:, :-1] >= scores[:, 1:]).all()


def test_unknown_architecture_is_rejected() -> None:
    text = PYRAMID.to_json().replace("pyramid-detector", "pyramid")
    with pytest.raises(ValueError, match=r"net.architecture is 'pyramid'; expected one of high-"):
        spec_from_json(text)


def test_spec_is_read_back_from_metadata() -> None:
    assert spec_from_json(PYRAMID.to_json()) == PYRAMID
    assert isinstance(net_from_metadata({"net": SMALL.to_json()}), PyramidDetector)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": Size(300, 320)}, "input size 300x320 is not a multiple of 32"),
        ({"depths": (1, 2)}, "6 widths and 2 depths; expected two widths more"),
        ({"joints": 17}, "net.joints is 17; expected an integer 0..0"),
        ({"neck_width": "96"}, "net.neck_width is '96'; expected an integer"),
        ({"widths": (2, 24, 48, 96, 192, 384)}, r"net.widths\[0\] is 2; expected an integer 4"),
    ],
)
def test_invalid_spec_is_rejected(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PYRAMID, **change)  # pyright: ignore[reportArgumentType]
