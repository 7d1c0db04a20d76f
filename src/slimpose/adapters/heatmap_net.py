"""Nets that give heatmaps: HRNet, SimpleBaseline, ViTPose and their kin, as ONNX; decoded with DARK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from slimpose import heatmap
from slimpose.adapters.base import OUTPUTS, check_batch, model_info, select_outputs
from slimpose.adapters.imagenet import image_input, normalize_imagenet
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.skeleton import COCO17, Skeleton

Cells = Literal["multiples", "corners", "centers"]
"""Where a net was taught that heatmap cells lie. "multiples": cell 0 on pixel 0, the next a stride further (the
published HRNet and SimpleBaseline, and mmpose's plain codec); "corners": first and last cell on
first and last pixel (UDP: ViTPose); "centers": each cell on the middle of its square of pixels
(slimpose)."""


class HeatmapNet:
    """A net with one output (n, joints, height, width): a ``slimpose.runtime.session.Model``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such model, or has another number of joints than the skeleton.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        skeleton: Skeleton = COCO17,
        cells: Cells = "multiples",
    ) -> None:
        self._session = open_onnx_file(path, threads=threads)
        self._input, size = image_input(self._session, path)
        given = self._session.get_outputs()
        shape = given[0].shape
        joints = len(skeleton.joints)
        fits = len(shape) == 4 and shape[1] == joints and all(isinstance(n, int) for n in shape[2:])
        stride = size.height // shape[2] if fits else 0
        if not fits or stride < 1 or (shape[2] * stride, shape[3] * stride) != size:
            raise ValueError(
                f"{path} gives {[(put.name, put.shape) for put in given]}; expected heatmaps (n, {joints}, height, "
                f"width), a whole part of {size}"
            )
        self._answer = given[0].name
        maps = np.array([shape[3], shape[2]], np.float32)
        crop = np.array([size.width, size.height], np.float32)
        even = np.full(2, stride, np.float32)
        self._step_px = (crop - 1) / (maps - 1) if cells == "corners" else even
        self._start_px = (even - 1) / 2 if cells == "centers" else np.zeros(2, np.float32)
        self.outputs: tuple[str, ...] = OUTPUTS
        self.info = model_info(
            path, size=size, stride=stride, skeleton=skeleton, origin="a heatmap net"
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
        """
        check_batch(self.info, batch)
        (maps,) = self._session.run([self._answer], {self._input: normalize_imagenet(batch)})
        decoded = heatmap.decode(np.asarray(maps, np.float32))
        points = decoded.points_heatmap * self._step_px + self._start_px
        covariances = decoded.covariances_heatmap * np.outer(self._step_px, self._step_px)
        return select_outputs(
            self.info,
            points.astype(np.float32),
            decoded.scores,
            outputs,
            covariances=covariances.astype(np.float32),
        )
