from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from shuffle_pose import export_graph
from slimpose.arrays import Size
from slimpose.network.published.picodet import import_picodet
from slimpose.network.pyramid_detector import PYRAMID, Head, PyramidDetector, PyramidSpec

PUBLISHED = Path("../shared/peers/picodet-s-320-person.onnx")
SPEC = PyramidSpec(
    widths=(4, 6, 8, 12, 16, 20), depths=(1, 2, 2, 2), neck_width=8, size=Size(64, 64)
)


class Published(nn.Module):
    """A detector's maps as its graph is published: normalized images in."""

    def __init__(self, net: PyramidDetector) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        for head in self.net.heads:
            assert isinstance(head, Head)
            whole = nn.Conv2d(head.total.in_channels, 1, 5, padding=2)
            weight = head.total.weight * head.per_channel.weight.transpose(0, 1)
            whole.load_state_dict({"weight": weight, "bias": head.total.bias})
            head.total = whole
            head.add_module("per_channel", nn.Identity())

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.net.neck(self.net.trunk(images))
        return [out for head, m in zip(self.net.heads, maps, strict=True) for out in head(m)]


def test_weights_are_read_from_a_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = PyramidDetector(SPEC).eval(), PyramidDetector(SPEC).eval()
    path = export_graph(Published(source), torch.zeros(1, 3, 64, 64), tmp_path / "graph.onnx")
    import_picodet(path, target)
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for expected, got in zip(source(images), target(images), strict=True):
            np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs the published file")
def test_published_boxes_and_scores_are_kept() -> None:
    net = PyramidDetector(PYRAMID).eval()
    import_picodet(PUBLISHED, net)
    images = torch.randint(0, 256, (1, 320, 320, 3), dtype=torch.uint8)
    normalized = net.normalized(images)
    session = onnxruntime.InferenceSession(str(PUBLISHED), providers=["CPUExecutionProvider"])
    outputs = session.run(["boxes", "scores"], {"image": normalized.numpy()})
    boxes, scores = map(np.asarray, outputs)
    with torch.inference_mode():
        logits, own_boxes = net(images)
    np.testing.assert_allclose(torch.sigmoid(logits).numpy(), scores, atol=1e-4)
    # The graph's boxes count from pixel corners, this project's from pixel centers.
    np.testing.assert_allclose(own_boxes.numpy(), boxes - 0.5, atol=0.01)
