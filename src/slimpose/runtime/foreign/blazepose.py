"""Google's BlazePose landmark model (lite, full, heavy): the .tflite files of MediaPipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from slimpose.arrays import Size
from slimpose.runtime.backends.base import Shapes
from slimpose.runtime.backends.litert import open_interpreter
from slimpose.runtime.foreign.box_decoders import sigmoid
from slimpose.runtime.foreign.facts import Arrays
from slimpose.runtime.foreign.metadata import foreign_metadata
from slimpose.runtime.foreign.pose_decoders import point_outputs
from slimpose.skeleton import COCO17

_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""BlazePose's landmark numbers of COCO's 17 joints."""
_LANDMARK_COUNT = 39
_LANDMARK_VALUES = 5
"""Each landmark's x, y, z, visibility and presence; the last two are logits."""
_STRIDE = 4
_RADIUS = 3
_MIN_HEATMAP_SCORE = 0.5
"""MediaPipe's values: a landmark moves within 7x7 cells if one of them scores 0.5 or more."""


class BlazePoseGraph:
    """The landmark model alone, on upright crops: a ``Graph``.

    MediaPipe rotates each crop so that the person stands upright, with a detector of its own. Here
    crops are those of ``slimpose.runtime.crops``, which costs it accuracy on people who do not
    stand upright. One crop per call, RGB 0..1, COCO's 17 joints.

    Args:
        path: The file.
        threads: CPU threads; None for the runtime's choice.
        refine: Move each landmark to the center of mass of its heatmap nearby where that scores
            high, as MediaPipe does; without, landmarks are those that the model regresses.

    Raises:
        FileNotFoundError: If there is no such file.
        BackendError: If the package that reads .tflite files is not installed.
        ValueError: If it is not such a model.

    Source:
        Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking", 2020; Apache-2.0.
    """

    def __init__(self, path: Path, *, threads: int | None = None, refine: bool = True) -> None:
        self._model = open_interpreter(path, threads=threads)
        inputs, outputs = self._model.get_input_details(), self._model.get_output_details()
        shape = [int(side) for side in inputs[0]["shape"]]
        output_shapes = {entry["index"]: list(map(int, entry["shape"])) for entry in outputs}
        count = _LANDMARK_COUNT * _LANDMARK_VALUES
        landmarks = [index for index, sides in output_shapes.items() if np.prod(sides) == count]
        maps = [
            index
            for index, sides in output_shapes.items()
            if len(sides) == 4 and sides[3] == _LANDMARK_COUNT
        ]
        is_image = len(inputs) == 1 and len(shape) == 4 and shape[3] == 3
        if not is_image or not landmarks or (refine and not maps):
            raise ValueError(
                f"{path} takes {shape} and gives {list(output_shapes.values())}; expected "
                f"BlazePose's landmark model: (1, 256, 256, 3) to {count} numbers, and heatmaps to "
                "refine them (its detector, or another model?)"
            )
        self._input, self._landmarks = inputs[0]["index"], landmarks[0]
        self._maps = maps[0] if refine else None
        self.size = Size(shape[1], shape[2])
        self.precision = "fp32"
        self.inputs: Sequence[tuple[str, str]] = (("crops", "tensor(uint8)"),)
        self.shapes: Shapes = {}
        self.outputs: Sequence[str] = ("points", "scores", "covariances")
        self.metadata: Mapping[str, str] = foreign_metadata(
            path,
            kind="blazepose",
            task="pose",
            size=self.size,
            skeleton=COCO17,
            start="BlazePose, Google, Apache-2.0",
            stride=_STRIDE,
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a batch, with one call per crop: the file takes no more."""
        joints = list(_LANDMARKS)
        points = np.zeros((len(batch), 17, 2), np.float32)
        scores = np.zeros((len(batch), 17), np.float32)
        for row, crop in enumerate(batch):
            self._model.set_tensor(self._input, crop[None].astype(np.float32) / 255)
            self._model.invoke()
            landmarks = self._model.get_tensor(self._landmarks).reshape(-1, _LANDMARK_VALUES)
            points[row], scores[row] = landmarks[joints, :2], sigmoid(landmarks[joints, 3])
            if self._maps is not None:
                maps = self._model.get_tensor(self._maps)[0][:, :, joints]
                points[row] = self._refined(points[row], sigmoid(maps))
        found: Arrays = point_outputs(points - np.float32(0.5), scores, _STRIDE**2 / 12)
        return [found[name] for name in outputs]

    def _refined(self, points: np.ndarray, maps: np.ndarray) -> np.ndarray:
        """Return points (17, 2) moved to the local centers of mass of maps (height, width, 17)."""
        height, width = maps.shape[:2]
        step = np.array([self.size.width / width, self.size.height / height])
        refined = points.copy()
        for joint, (x, y) in enumerate((points / step).astype(int)):
            if not (0 <= x < width and 0 <= y < height):
                continue
            left, top = max(0, x - _RADIUS), max(0, y - _RADIUS)
            near = maps[top : y + _RADIUS + 1, left : x + _RADIUS + 1, joint]
            if near.max() >= _MIN_HEATMAP_SCORE:
                columns, rows = np.arange(near.shape[1]) + left, np.arange(near.shape[0]) + top
                moments = [(near.sum(axis=0) * columns).sum(), (near.sum(axis=1) * rows).sum()]
                refined[joint] = np.array(moments) / near.sum() * step
        return refined
