from pathlib import Path

import numpy as np
import pytest

from foreign_models import CROPS, JOINTS_PX, write_simcc
from slimpose.adapters.simcc import SimccNet
from slimpose.skeleton import Skeleton


@pytest.mark.parametrize("bins", [1, 2])
def test_bins_become_pixels_and_the_lower_axis_scores(tmp_path: Path, bins: int) -> None:
    model = SimccNet(write_simcc(tmp_path / "net.onnx", bins=bins))
    points, scores = model.run(CROPS, ("points", "scores"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(scores, 0.6)


def test_joints_of_another_skeleton_are_rejected(tmp_path: Path) -> None:
    skeleton = Skeleton(name="two", joints=("a", "b"), limbs=(), sigmas=(0.1, 0.1), upper_body=())
    with pytest.raises(ValueError, match=r"expected two outputs \(n, 2, bins\)"):
        SimccNet(write_simcc(tmp_path / "net.onnx"), skeleton=skeleton)
