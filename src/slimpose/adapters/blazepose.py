"""Google's BlazePose landmark model (lite, full, heavy), the .tflite files of MediaPipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.adapters.base import OUTPUTS, check_batch, model_info, select_outputs
from slimpose.arrays import Size
from slimpose.runtime.backends.litert import open_interpreter
from slimpose.skeleton import COCO17

_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""BlazePose's numbers of COCO's 17 joints."""
_NUMBERS = 39 * 5
"""Each landmark's x, y, z, how visible and how likely present it is, the last two as logits."""
_REACH = 3
_SURE_FROM = 0.5
"""MediaPipe's own: a landmark moves within 7x7 cells, if one of them says 0.5 or more."""


class BlazePose:
    """The landmark model alone, on plain crops: a ``slimpose.runtime.session.Model`` of COCO's 17 joints.

    MediaPipe turns each crop so that the person stands upright, with a detector of its own; here
    crops are those of ``slimpose.runtime.crops``, which costs it accuracy on people who do not. One
    crop a call, RGB 0..1.

    Args:
        path: The file.
        threads: CPU threads; None for the runtime's choice.
        refine: Move each landmark to the middle of its heatmap near it where that is sure, as
            MediaPipe does; without, landmarks are those the model regresses.

    Raises:
        FileNotFoundError: If there is no such file.
        BackendError: If the package that reads .tflite files is not installed.
        ValueError: If it is no such model.

    Source:
        Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking", 2020; Apache-2.0.
    """

    def __init__(self, path: Path, *, threads: int | None = None, refine: bool = True) -> None:
        self._model = open_interpreter(path, threads=threads)
        given, answers = self._model.get_input_details(), self._model.get_output_details()
        shape = [int(size) for size in given[0]["shape"]]
        landmarks = [
            entry["index"] for entry in answers if int(np.prod(entry["shape"])) == _NUMBERS
        ]
        maps = [
            entry["index"]
            for entry in answers
            if len(entry["shape"]) == 4 and entry["shape"][3] == _NUMBERS // 5
        ]
        if (
            len(given) != 1
            or len(shape) != 4
            or shape[3] != 3
            or not landmarks
            or (refine and not maps)
        ):
            raise ValueError(
                f"{path} takes {shape} and gives {[list(map(int, entry['shape'])) for entry in answers]}; expected "
                f"BlazePose's landmark model: (1, 256, 256, 3) to {_NUMBERS} numbers, and heatmaps to refine them "
                "(its detector, or another model?)"
            )
        self._input, self._landmarks = given[0]["index"], landmarks[0]
        self._maps = maps[0] if refine else None
        self.outputs: tuple[str, ...] = OUTPUTS
        self.info = model_info(
            path,
            size=Size(shape[1], shape[2]),
            stride=4,
            skeleton=COCO17,
            origin="BlazePose, Google, Apache-2.0",
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3) of the model's input size, a call each.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
        """
        check_batch(self.info, batch)
        points, scores = (
            np.zeros((len(batch), 17, 2), np.float32),
            np.zeros((len(batch), 17), np.float32),
        )
        for row, crop in enumerate(batch):
            self._model.set_tensor(self._input, crop[None].astype(np.float32) / 255)
            self._model.invoke()
            found = self._model.get_tensor(self._landmarks).reshape(-1, 5)[list(_LANDMARKS)]
            points[row], scores[row] = found[:, :2], _sigmoid(found[:, 3])
            if self._maps is not None:
                maps = self._model.get_tensor(self._maps)[0][:, :, list(_LANDMARKS)]
                points[row] = self._refined(points[row], _sigmoid(maps))
        return select_outputs(self.info, points - np.float32(0.5), scores, outputs)

    def _refined(self, points: np.ndarray, maps: np.ndarray) -> np.ndarray:
        """Points (17, 2) moved to the centers of mass of heatmaps (height, width, 17) about them."""
        height, width = maps.shape[:2]
        step = np.array([self.info.size.width / width, self.info.size.height / height])
        refined = points.copy()
        for joint, (x, y) in enumerate((points / step).astype(int)):
            if not (0 <= x < width and 0 <= y < height):
                continue
            left, top = max(0, x - _REACH), max(0, y - _REACH)
            near = maps[top : y + _REACH + 1, left : x + _REACH + 1, joint]
            if near.max() >= _SURE_FROM:
                columns, rows = np.arange(near.shape[1]) + left, np.arange(near.shape[0]) + top
                center = (
                    np.array([(near.sum(axis=0) * columns).sum(), (near.sum(axis=1) * rows).sum()])
                    / near.sum()
                )
                refined[joint] = center * step
        return refined


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
