"""Google's MoveNet as ONNX: SinglePose, Lightning or Thunder, and MultiPose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.adapters.base import OUTPUTS, check_batch, check_outputs, model_info, select_outputs
from slimpose.arrays import Image, Size
from slimpose.runtime.onnx_file import INPUT_TYPES, open_onnx_file
from slimpose.skeleton import COCO17

_STRIDE = 4
_ANSWER = [17, 3]
_MANY = [6, 56]
"""Six people: 17 x (y, x, score), their box, their score."""
_MANY_SIZE = Size(256, 256)
_LEAST_SCORE = 0.1
"""MultiPose always gives six people; who scores less is none."""


class _Graph:
    """A MoveNet file: a picture in, the answer of a shape that tells which MoveNet it is.

    Args:
        path: The file.
        threads: CPU threads.
        answer: The last two sides of that shape.
        expected: The kind in words, for the error.
        free_size: What a file of free height and width is run at; None refuses such a file.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None,
        *,
        answer: list[int],
        expected: str,
        free_size: Size | None = None,
    ) -> None:
        self._session = open_onnx_file(path, threads=threads)
        given = self._session.get_inputs()
        answers = [put.name for put in self._session.get_outputs() if put.shape[-2:] == answer]
        shape = given[0].shape
        fits = len(given) == 1 and len(shape) == 4 and shape[3] == 3
        size = (
            Size(shape[1], shape[2])
            if fits and all(isinstance(side, int) for side in shape[1:3])
            else free_size
        )
        if not fits or size is None or given[0].type not in INPUT_TYPES or not answers:
            raise ValueError(
                f"{path} takes {[(put.name, put.type, put.shape) for put in given]}; expected MoveNet {expected}"
            )
        self._input, self._type, self._answer, self.size = (
            given[0].name,
            INPUT_TYPES[given[0].type],
            answers[0],
            size,
        )

    def __call__(self, picture: Image) -> np.ndarray:
        (answered,) = self._session.run(
            [self._answer], {self._input: picture[None].astype(self._type)}
        )
        return np.asarray(answered)


class MoveNet:
    """MoveNet SinglePose: a ``slimpose.runtime.session.Model``.

    It reads one square crop a call, RGB 0..255, and gives y, x, score of COCO's 17 joints, y and x
    as shares of the crop from its outer border. Made for pictures of one person: crops of 1.25
    times a person's longer side, as ``slimpose.runtime.crops`` cuts them, suit it best.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such model.

    Source:
        https://www.tensorflow.org/hub/tutorials/movenet
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        expected = "SinglePose: one input (1, height, width, 3), and an output (1, 1, 17, 3)"
        self._graph = _Graph(path, threads, answer=_ANSWER, expected=expected)
        self.outputs: tuple[str, ...] = OUTPUTS
        self.info = model_info(
            path,
            size=self._graph.size,
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
            found[row] = self._graph(crop).reshape(17, 3)
        height, width = self.info.size
        points = found[:, :, 1::-1] * np.array([width, height], np.float32) - np.float32(0.5)
        return select_outputs(self.info, points, found[:, :, 2], outputs)


class MultiPose:
    """MoveNet MultiPose: a ``slimpose.runtime.session.Model`` of task "bottom-up", at most six people an image.

    A file of free height and width is run at 256x256, the size Google recommends for the longer
    side.

    Attributes:
        outputs: "points" (n, 6, 17, 2) in input pixels, "scores" (n, 6, 17) and "person_scores" (n,
            6), 0 where there is nobody; for ``slimpose.adapters.bottom_up``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such model.

    Source:
        https://www.kaggle.com/models/google/movenet/tensorFlow2/multipose-lightning
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        expected = "MultiPose: one input (1, height, width, 3), and an output (1, 6, 56)"
        self._graph = _Graph(path, threads, answer=_MANY, expected=expected, free_size=_MANY_SIZE)
        self.outputs: tuple[str, ...] = ("points", "scores", "person_scores")
        self.info = model_info(
            path,
            size=self._graph.size,
            stride=_STRIDE,
            skeleton=COCO17,
            origin="MoveNet MultiPose, Google, Apache-2.0",
            task="bottom-up",
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs of a uint8 batch (n, H, W, 3), RGB, a call each.

        Raises:
            ValueError: If the batch does not fit, or there is no such output.
        """
        check_batch(self.info, batch)
        check_outputs(self.info, outputs, known=self.outputs)
        people = np.zeros((len(batch), *_MANY), np.float32)
        for row, image in enumerate(batch):
            people[row] = self._graph(image)[0]
        triples = people[..., :51].reshape(len(batch), 6, 17, 3)
        is_someone = people[..., 55] >= _LEAST_SCORE
        height, width = self.info.size
        found = {
            "points": triples[..., 1::-1] * np.array([width, height], np.float32) - np.float32(0.5),
            "scores": triples[..., 2] * is_someone[..., None],
            "person_scores": people[..., 55] * is_someone,
        }
        return [found[name] for name in outputs]
