"""Nets that give a joint's x and y as two distributions along the axes: RTMPose and its kin, as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.adapters.base import OUTPUTS, check_batch, model_info, select_outputs
from slimpose.adapters.imagenet import image_input, normalize_imagenet
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.skeleton import COCO17, Skeleton


class SimccNet:
    """A net with two outputs (n, joints, bins), x then y: a ``slimpose.runtime.session.Model``.

    The bins divide the crop evenly, bin 0 on pixel 0; two a pixel as RTMPose is published. A
    joint's score is the lower of its two maxima.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such model, or has another number of joints than the skeleton.

    Source:
        Li et al., "SimCC: a Simple Coordinate Classification Perspective for Human Pose
        Estimation", ECCV 2022.
    """

    def __init__(self, path: Path, *, threads: int | None = None, skeleton: Skeleton = COCO17) -> None:
        self._session = open_onnx_file(path, threads=threads)
        self._input, size = image_input(self._session, path)
        given = self._session.get_outputs()
        joints = len(skeleton.joints)
        wanted = (joints, size.width), (joints, size.height)
        fits = len(given) == 2 and all(
            len(put.shape) == 3
            and put.shape[1] == count
            and isinstance(put.shape[2], int)
            and put.shape[2] % side == 0
            for put, (count, side) in zip(given, wanted, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{path} gives {[(put.name, put.shape) for put in given]}; expected two outputs (n, {joints}, bins), "
                f"whole multiples of the width {size.width} and of the height {size.height}"
            )
        self._answers = [put.name for put in given]
        self._bins_per_px = np.array(
            [given[0].shape[2] / size.width, given[1].shape[2] / size.height], np.float32
        )
        self.outputs: tuple[str, ...] = OUTPUTS
        self.info = model_info(
            path, size=size, stride=1, skeleton=skeleton, origin="a SimCC net (RTMPose or alike)"
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
        """
        check_batch(self.info, batch)
        found = self._session.run(self._answers, {self._input: normalize_imagenet(batch)})
        along_x, along_y = (np.asarray(one) for one in found)
        places = np.stack([along_x.argmax(axis=2), along_y.argmax(axis=2)], axis=2)
        points = (places / self._bins_per_px).astype(np.float32)
        scores = np.minimum(along_x.max(axis=2), along_y.max(axis=2)).clip(0, 1)
        return select_outputs(self.info, points, scores.astype(np.float32), outputs)
