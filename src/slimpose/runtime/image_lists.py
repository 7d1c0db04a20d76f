"""Poses of a list of images, as an assembly line.

Threads read files ahead, the detector runs on one image while the pose model runs on the people of
images before it, all in one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from slimpose.arrays import Image
from slimpose.media.image_inputs import Color, ImageInput, is_read_from_data, load_image
from slimpose.media.images import ImageError
from slimpose.poses import Poses
from slimpose.runtime.estimator import ImageBoxes

_MAX_PEOPLE = 32
"""Of the images that wait for a common batch."""
_THREADS = 2
_AHEAD = 4
"""Images that are read while others are computed."""
_MAX_PIXELS = 48_000_000
"""Of the images that wait for a common batch; bounds the memory."""


class ImagesError(ImageError):
    """Some images of a list cannot be read; all others are done.

    Attributes:
        errors: Why, by the number of the image in the list, from 0.
        results: One ``Poses`` per image, in the order of the list; None for those.
    """

    def __init__(self, errors: dict[int, ImageError], results: list[Poses | None]) -> None:
        shown = [f"image {number}: {error}" for number, error in list(errors.items())[:3]]
        more = f"; and {len(errors) - 3} more (see errors)" if len(errors) > 3 else ""
        super().__init__(
            f"{len(errors)} of {len(results)} images cannot be read: {'; '.join(shown)}{more} "
            "(the others' poses are in the results of this error; on_error='none' returns them)"
        )
        self.errors, self.results = errors, results

    def __reduce__(self) -> tuple[type, tuple[object, object]]:
        return type(self), (self.errors, self.results)


def estimate_list(
    images: Sequence[ImageInput],
    boxes_of: Callable[[int, Image], ImageBoxes],
    estimate: Callable[[list[ImageBoxes]], list[Poses]],
    *,
    color: Color,
    finish: Callable[[Poses, Image, ImageInput], Poses],
) -> tuple[list[Poses | None], dict[int, ImageError]]:
    """Return the poses of each image, None where it cannot be read, and why not, by its number.

    Args:
        images: In any form.
        boxes_of: Returns the people's boxes in an image, by its number and its pixels.
        estimate: Returns the poses in boxes of several images.
        color: Of arrays.
        finish: Called with the poses, pixels and input of each image.
    """
    results: list[Poses | None] = [None] * len(images)
    errors: dict[int, ImageError] = {}
    waiting: dict[int, ImageBoxes] = {}
    running: list[tuple[dict[int, ImageBoxes], Callable[[], list[Poses]]]] = []

    def collect() -> None:
        if running:
            group, result = running.pop()
            for (number, (pixels, _, _)), poses in zip(group.items(), result(), strict=True):
                results[number] = finish(poses, pixels, images[number])

    with ThreadPoolExecutor(1, thread_name_prefix="slimpose-pose") as pool:
        for number, image in _read_ahead(images, color):
            if isinstance(image, ImageError):
                errors[number] = image
                continue
            waiting[number] = boxes_of(number, image)
            people = sum(len(boxes) for _, boxes, _ in waiting.values())
            pixels = sum(waited.shape[0] * waited.shape[1] for waited, _, _ in waiting.values())
            if people >= _MAX_PEOPLE or pixels >= _MAX_PIXELS:
                collect()  # the group before it
                running.append((waiting, pool.submit(estimate, list(waiting.values())).result))
                waiting = {}
        collect()
        if waiting:  # the last group, on this thread
            running.append((waiting, partial(estimate, list(waiting.values()))))
            collect()
    return results, errors


def _read_ahead(
    images: Sequence[ImageInput], color: Color
) -> Iterator[tuple[int, Image | ImageError]]:
    """Yield the images in order, or why they cannot be read; files are read by threads."""

    def load(image: ImageInput) -> Image | ImageError:
        try:
            return load_image(image, color=color)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="slimpose-read") as pool:
        ahead: deque[Callable[[], Image | ImageError]] = deque()
        for number in range(len(images) + _AHEAD):
            if number < len(images):
                image = images[number]
                # A PIL image must not be read by two threads at once, and may be in the list twice.
                by_thread = len(images) > 1 and is_read_from_data(image)
                ahead.append(pool.submit(load, image).result if by_thread else partial(load, image))
            if number >= _AHEAD:
                yield number - _AHEAD, ahead.popleft()()
