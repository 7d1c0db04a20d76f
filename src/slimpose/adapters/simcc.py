"""SimCC networks as ONNX files (RTMPose and alike): x and y are classified along the two axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.adapters import base
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.runtime.session import check_request
from slimpose.skeleton import COCO17, Skeleton


class SimccNet:
    """A network with two outputs (n, joints, bins), x then y: a ``slimpose.runtime.session.Model``.

    The bins divide the crop evenly, with bin 0 on pixel 0; RTMPose has two per pixel. A joint's
    score is the lower of its two maxima.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a model, or its number of joints is not the skeleton's.

    Source:
        Li et al., "SimCC: a Simple Coordinate Classification Perspective for Human Pose
        Estimation", ECCV 2022.
    """

    def __init__(
        self, path: Path, *, threads: int | None = None, skeleton: Skeleton = COCO17
    ) -> None:
        self._session = open_onnx_file(path, threads=threads)
        self._input, size = base.image_input(self._session, path)
        found = self._session.get_outputs()
        joints = len(skeleton.joints)
        fits = len(found) == 2 and all(
            len(tensor.shape) == 3
            and tensor.shape[1] == joints
            and isinstance(tensor.shape[2], int)
            and tensor.shape[2] % side == 0
            for tensor, side in zip(found, (size.width, size.height), strict=True)
        )
        if not fits:
            raise ValueError(
                f"{path} gives {[(tensor.name, tensor.shape) for tensor in found]}; expected two "
                f"outputs (n, {joints}, bins), whole multiples of the width {size.width} and of "
                f"the height {size.height}"
            )
        self._output_names = [tensor.name for tensor in found]
        self._bins_per_px = np.array(
            [found[0].shape[2] / size.width, found[1].shape[2] / size.height], np.float32
        )
        self.outputs: tuple[str, ...] = base.OUTPUTS
        self.info = base.model_info(
            path, size=size, stride=1, skeleton=skeleton, origin="a SimCC net (RTMPose or alike)"
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return outputs of a batch; see ``Session.run``."""
        check_request(self.info, batch, outputs, self.outputs)
        axes = self._session.run(self._output_names, {self._input: base.normalize_imagenet(batch)})
        along_x, along_y = (np.asarray(axis) for axis in axes)
        bins = np.stack([along_x.argmax(axis=2), along_y.argmax(axis=2)], axis=2)
        points = (bins / self._bins_per_px).astype(np.float32)
        scores = np.minimum(along_x.max(axis=2), along_y.max(axis=2)).clip(0, 1)
        return base.select_outputs(self.info, points, scores.astype(np.float32), outputs)
