"""Google's MoveNet as ONNX files: SinglePose (Lightning or Thunder) and MultiPose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimpose.adapters.base import OUTPUTS, model_info, select_outputs
from slimpose.arrays import Size
from slimpose.runtime.onnx_file import INPUT_TYPES, open_onnx_file
from slimpose.runtime.session import check_request
from slimpose.skeleton import COCO17

_STRIDE = 4
_SINGLE_SHAPE = [17, 3]
_MULTI_SHAPE = [6, 56]
"""Six people: 17 x (y, x, score), their box, their score."""
_MULTI_SIZE = Size(256, 256)
_MIN_PERSON_SCORE = 0.1
"""MultiPose always gives six people; those below this score are discarded."""


class _Graph:
    """A MoveNet file with one image as its input; the kind of MoveNet is known by its output shape.

    Args:
        path: The file.
        threads: CPU threads.
        output_shape: Last two dimensions of its output.
        expected: The kind in words, for the error.
        free_size: The size at which to run a file of free height and width; None rejects it.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None,
        *,
        output_shape: list[int],
        expected: str,
        free_size: Size | None = None,
    ) -> None:
        self._session = open_onnx_file(path, threads=threads)
        inputs = self._session.get_inputs()
        outputs = [
            tensor.name
            for tensor in self._session.get_outputs()
            if tensor.shape[-2:] == output_shape
        ]
        shape = inputs[0].shape
        fits = len(inputs) == 1 and len(shape) == 4 and shape[3] == 3
        is_fixed = fits and all(isinstance(side, int) for side in shape[1:3])
        size = Size(shape[1], shape[2]) if is_fixed else free_size
        if not fits or size is None or inputs[0].type not in INPUT_TYPES or not outputs:
            raise ValueError(
                f"{path} takes {[(tensor.name, tensor.type, tensor.shape) for tensor in inputs]}; "
                f"expected MoveNet {expected}"
            )
        self._input, self._type = inputs[0].name, INPUT_TYPES[inputs[0].type]
        self._output, self._output_shape, self.size = outputs[0], output_shape, size

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the output (n, *output_shape) of a batch of images, with one call per image."""
        results = np.zeros((len(batch), *self._output_shape), np.float32)
        for row, image in enumerate(batch):
            feed = {self._input: image[None].astype(self._type)}
            (result,) = self._session.run([self._output], feed)
            results[row] = np.asarray(result).reshape(self._output_shape)
        return results


class MoveNet:
    """MoveNet SinglePose: a ``slimpose.runtime.session.Model``.

    It reads one square crop per call, RGB 0..255, and gives y, x, score of COCO's 17 joints; y and
    x are shares of the crop from its outer border. It was made for images of one person: crops of
    1.25 times a person's longer side, as those of ``slimpose.runtime.crops``, suit it best.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a model.

    Source:
        https://www.tensorflow.org/hub/tutorials/movenet
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        expected = "SinglePose: one input (1, height, width, 3), and an output (1, 1, 17, 3)"
        self._graph = _Graph(path, threads, output_shape=_SINGLE_SHAPE, expected=expected)
        self.outputs: tuple[str, ...] = OUTPUTS
        self.info = model_info(
            path,
            size=self._graph.size,
            stride=_STRIDE,
            skeleton=COCO17,
            origin="MoveNet SinglePose, Google, Apache-2.0",
        )

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return outputs of a batch, with one call per crop; see ``Session.run``."""
        check_request(self.info, batch, outputs, self.outputs)
        found = self._graph(batch)
        return select_outputs(self.info, _points(found, self.info.size), found[:, :, 2], outputs)


class MultiPose:
    """MoveNet MultiPose, up to six people per image: a ``slimpose.runtime.session.Model``.

    Its task is "bottom-up". A file of free height and width is run at 256x256, the size Google
    recommends for the longer side.

    Attributes:
        outputs: "points" (n, 6, 17, 2) in input pixels, "scores" (n, 6, 17) and "person_scores" (n,
            6), 0 where there is no person; for
            ``slimpose.adapters.part_affinity.BottomUpEstimator``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a model.

    Source:
        https://www.kaggle.com/models/google/movenet/tensorFlow2/multipose-lightning
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        expected = "MultiPose: one input (1, height, width, 3), and an output (1, 6, 56)"
        self._graph = _Graph(
            path, threads, output_shape=_MULTI_SHAPE, expected=expected, free_size=_MULTI_SIZE
        )
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
        """Return outputs of a batch, with one call per image; see ``Session.run``."""
        check_request(self.info, batch, outputs, self.outputs)
        people = self._graph(batch)
        joints = people[..., :51].reshape(len(batch), 6, 17, 3)
        is_person = people[..., 55] >= _MIN_PERSON_SCORE
        results = {
            "points": _points(joints, self.info.size),
            "scores": joints[..., 2] * is_person[..., None],
            "person_scores": people[..., 55] * is_person,
        }
        return [results[name] for name in outputs]


def _points(joints: np.ndarray, size: Size) -> np.ndarray:
    """Return x, y in pixels of y, x, score (..., 3) in shares of an image from its outer border."""
    return joints[..., 1::-1] * np.array([size.width, size.height], np.float32) - np.float32(0.5)
