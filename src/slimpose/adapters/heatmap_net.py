"""Heatmap networks as ONNX files (HRNet, SimpleBaseline, ViTPose and alike), decoded with DARK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose import heatmap
from slimpose.adapters import base
from slimpose.geometry import CellAlignment
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.runtime.session import check_request
from slimpose.skeleton import COCO17, Skeleton


class HeatmapNet:
    """A network with one output (n, joints, height, width): a ``slimpose.runtime.session.Model``.

    Args:
        path: The ONNX file.
        threads: CPU threads; 0 leaves the runtime's choice.
        skeleton: Its joints, in the order of the heatmaps.
        alignment: Where its heatmap cells lie in the crop.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a model, or its number of joints is not the skeleton's.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        skeleton: Skeleton = COCO17,
        alignment: CellAlignment = "multiples",
    ) -> None:
        self._session = open_onnx_file(path, threads=threads)
        self._input, size = base.image_input(self._session, path)
        found = self._session.get_outputs()
        shape = found[0].shape
        joints = len(skeleton.joints)
        fits = len(shape) == 4 and shape[1] == joints and all(isinstance(n, int) for n in shape[2:])
        stride = size.height // shape[2] if fits else 0
        if not fits or stride < 1 or (shape[2] * stride, shape[3] * stride) != size:
            raise ValueError(
                f"{path} gives {[(tensor.name, tensor.shape) for tensor in found]}; expected "
                f"heatmaps (n, {joints}, height, width), a whole part of {size}"
            )
        self._output = found[0].name
        maps = np.array([shape[3], shape[2]], np.float32)
        crop = np.array([size.width, size.height], np.float32)
        even = np.full(2, stride, np.float32)
        self._step_px = (crop - 1) / (maps - 1) if alignment == "corners" else even
        self._start_px = (even - 1) / 2 if alignment == "centers" else np.zeros(2, np.float32)
        self.outputs: tuple[str, ...] = base.OUTPUTS
        self.info = base.model_info(
            path, size=size, stride=stride, skeleton=skeleton, origin="a heatmap net"
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return outputs of a batch; see ``Session.run``."""
        check_request(self.info, batch, outputs, self.outputs)
        (maps,) = self._session.run([self._output], {self._input: base.normalize_imagenet(batch)})
        decoded = heatmap.decode(np.asarray(maps, np.float32))
        points = decoded.points_heatmap * self._step_px + self._start_px
        covariances = decoded.covariances_heatmap * np.outer(self._step_px, self._step_px)
        return base.select_outputs(
            self.info,
            points.astype(np.float32),
            decoded.scores,
            outputs,
            covariances=covariances.astype(np.float32),
        )
