"""Google's MoveNet SinglePose, Lightning or Thunder, as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.arrays import Size
from slimpose.runtime.adapters.contract import OUTPUTS, answer, check_batch, describe
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.skeleton import COCO17

_TYPES = {"tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(float)": np.float32}
_STRIDE = 4
_ANSWER = [17, 3]


class MoveNet:
    """MoveNet SinglePose: a ``slimpose.runtime.session.Model``.

    It reads one square crop a call, RGB 0..255, and gives y, x, score of COCO's 17 joints, y and x as shares of the
    crop from its outer border. Made for pictures of one person: crops of 1.25 times a person's longer side, as
    ``slimpose.runtime.crops`` cuts them, suit it best.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such model.

    Source:
        https://www.tensorflow.org/hub/tutorials/movenet
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._session = open_onnx_file(path, threads=threads)
        given = self._session.get_inputs()
        answers = [put.name for put in self._session.get_outputs() if put.shape[-2:] == _ANSWER]
        shape = given[0].shape
        fits = len(given) == 1 and len(shape) == 4 and shape[3] == 3 and all(isinstance(n, int) for n in shape[1:])
        if not fits or given[0].type not in _TYPES or not answers:
            raise ValueError(
                f"{path} takes {[(put.name, put.type, put.shape) for put in given]}; expected MoveNet SinglePose: one "
                "input (1, height, width, 3), and an output (1, 1, 17, 3) (MultiPose, or another model?)"
            )
        self._input, self._type, self._answer = given[0].name, _TYPES[given[0].type], answers[0]
        self.outputs: tuple[str, ...] = OUTPUTS
        self.info = describe(
            path,
            size=Size(shape[1], shape[2]),
            stride=_STRIDE,
            skeleton=COCO17,
            origin="MoveNet SinglePose, Google, Apache-2.0",
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size, a call each.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
        """
        check_batch(self.info, batch)
        found = np.zeros((len(batch), 17, 3), np.float32)
        for row, crop in enumerate(batch):
            (triples,) = self._session.run([self._answer], {self._input: crop[None].astype(self._type)})
            found[row] = np.asarray(triples).reshape(17, 3)
        height, width = self.info.size
        points = found[:, :, 1::-1] * np.array([width, height], np.float32) - np.float32(0.5)
        return answer(self.info, points, found[:, :, 2], outputs)
