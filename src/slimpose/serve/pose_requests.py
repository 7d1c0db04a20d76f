"""Poses of uploaded images: concurrent requests go through the models together."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slimpose.arrays import Image, Size
from slimpose.media.image_formats import read_structure
from slimpose.media.image_inputs import load_image
from slimpose.media.images import ImageError
from slimpose.poses import Poses
from slimpose.runtime.pipeline import Pipeline

_log = logging.getLogger(__name__)

_LARGEST_BATCH = 8
"""Images of one call of the pipeline; bounds the memory."""

_Answer = tuple[Poses, Size]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Limits of the requests for poses.

    Attributes:
        max_upload_bytes: Size of an image file.
        max_pixels: Width times height of an image.
        max_queue: Requests at the same time, those that are computed included.
        deadline_s: From the start of a request until its computation must have begun.
        batch_s: How long a batch waits for requests whose images are still on their way.
    """

    max_upload_bytes: int = 20_000_000
    max_pixels: int = 25_000_000
    max_queue: int = 64
    deadline_s: float = 10.0
    batch_s: float = 0.01


class RejectedError(Exception):
    """A request is not answered with poses.

    Attributes:
        status: The HTTP status.
        reason: Why, for the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    data: bytes
    due_s: float
    answer: asyncio.Future[_Answer]


@dataclass(slots=True)
class RequestCounts:
    """What was done so far, for the metrics.

    Attributes:
        images: Images that went through the models.
        batches: Batches of them.
        by_status: Requests by their HTTP status.
        seconds: Sum of the times of all requests.
    """

    images: int = 0
    batches: int = 0
    by_status: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, status: int, seconds: float) -> None:
        """Count a request."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.seconds += seconds


class PoseRequests:
    """A queue of images and the threads that take batches of them.

    Each thread has a pipeline of its own, so any backend can be used, and one thread decodes and
    detects while another one waits for the pose model. Entered and left like a file; leaving it
    finishes what was begun.

    Args:
        open_pipeline: Opens the models; called by each thread with its first batch.
        workers: Number of threads.
        limits: Limits of the requests.
    """

    def __init__(
        self,
        open_pipeline: Callable[[], Pipeline],
        *,
        workers: int = 2,
        limits: RequestLimits | None = None,
    ) -> None:
        self.limits = limits or RequestLimits()
        self.counts = RequestCounts()
        self._open_pipeline = open_pipeline
        self._changed = threading.Condition()
        self._queue: deque[_Request] = deque()
        self._open = self._uploading = 0
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"slimpose-poses-{number}", daemon=True)
            for number in range(workers)
        ]

    def __enter__(self) -> PoseRequests:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def open(self) -> int:
        """Number of requests that are not answered yet."""
        return self._open

    async def poses(self, read_body: Callable[[], asyncio.Future[bytes]]) -> _Answer:
        """Return the poses of one request's image, and the image's size.

        Args:
            read_body: Reads the image file, at most ``max_upload_bytes``.

        Raises:
            RejectedError: With 429 if too many requests are open, 408 or 504 if the upload or the
                models take too long, 413 if the image is too large, 400 if it is not an image.
        """
        if self._is_closed:
            raise RejectedError(503, "the server is ending")
        if self._open >= self.limits.max_queue:
            raise RejectedError(
                429, f"{self._open} requests are open; expected fewer (try again later)"
            )
        due_s = time.monotonic() + self.limits.deadline_s
        self._open += 1
        try:
            data = await self._upload(read_body)
            self._check(data)
            answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
            request = _Request(data=data, due_s=due_s, answer=answer)
            with self._changed:
                self._queue.append(request)
                self._changed.notify()
            return await self._in_time(request)
        finally:
            self._open -= 1

    async def _in_time(self, request: _Request) -> _Answer:
        """Return the answer; what has begun by the deadline is finished."""
        left_s = request.due_s - time.monotonic()
        await asyncio.wait([request.answer], timeout=max(0.0, left_s))
        with self._changed:
            if not request.answer.done() and request in self._queue:
                self._queue.remove(request)
                raise RejectedError(
                    504, f"no turn within {self.limits.deadline_s:g} s (too many requests?)"
                )
        return await request.answer

    async def _upload(self, read_body: Callable[[], asyncio.Future[bytes]]) -> bytes:
        self._uploading += 1
        try:
            return await asyncio.wait_for(read_body(), self.limits.deadline_s)
        except asyncio.TimeoutError:
            raise RejectedError(
                408, f"the upload took more than {self.limits.deadline_s:g} s"
            ) from None
        finally:
            with self._changed:
                self._uploading -= 1
                self._changed.notify_all()

    def _check(self, data: bytes) -> None:
        """Reject an image that is too large by its header, before any pixel is decoded."""
        if not data:
            raise RejectedError(400, "the request has no body; expected an image file")
        structure = read_structure(data)
        height, width = structure.size or (0, 0)
        if height * width > self.limits.max_pixels:
            raise RejectedError(
                413,
                f"the image has {width}x{height} pixels; expected at most "
                f"{self.limits.max_pixels / 1e6:g} million",
            )

    # The methods below run in the threads.

    def _work(self) -> None:
        pipeline: Pipeline | None = None
        while batch := self._take():
            try:
                pipeline = self._open_pipeline() if pipeline is None else pipeline
                outcomes = _estimate(pipeline, batch)
            except Exception as error:  # noqa: BLE001 (the thread must live on)
                failure = RejectedError(500, f"the models failed: {type(error).__name__}")
                outcomes = [failure] * len(batch)
                _log.warning("a batch of %d images failed: %s", len(batch), error)
            self.counts.images += len(batch)
            self.counts.batches += 1
            for request, outcome in zip(batch, outcomes, strict=True):
                _answer(request, outcome)

    def _take(self) -> list[_Request]:
        """Wait for requests; return those of the next batch, none at the end."""
        with self._changed:
            while not self._queue:
                if self._is_closed:
                    return []
                self._changed.wait()
            until_s = time.monotonic() + self.limits.batch_s
            while self._uploading and len(self._queue) < _LARGEST_BATCH:
                if (left_s := until_s - time.monotonic()) <= 0:
                    break
                self._changed.wait(left_s)
            # Another thread may have taken them meanwhile; half is left for one that is idle.
            count = min(_LARGEST_BATCH, -(-len(self._queue) // len(self._threads)))
            batch = [self._queue.popleft() for _ in range(count)]
            if self._queue:
                self._changed.notify()
        return batch or self._take()


def _estimate(pipeline: Pipeline, batch: Sequence[_Request]) -> list[_Answer | RejectedError]:
    """Return the poses of each image, or why it cannot be read."""
    errors: list[RejectedError | None] = []
    images: list[Image] = []
    for request in batch:
        try:
            images.append(load_image(request.data))
            errors.append(None)
        except ImageError as error:
            errors.append(RejectedError(400, str(error)))
    results = iter(
        [
            (poses, Size(*image.shape[:2]))
            for poses, image in zip(pipeline(images), images, strict=True)
        ]
    )
    return [next(results) if error is None else error for error in errors]


def _answer(request: _Request, outcome: _Answer | RejectedError) -> None:
    """Answer a request from a thread that is not the server's."""

    def answer() -> None:
        if request.answer.done():  # the client has gone
            return
        if isinstance(outcome, RejectedError):
            request.answer.set_exception(outcome)
        else:
            request.answer.set_result(outcome)

    try:
        request.answer.get_loop().call_soon_threadsafe(answer)
    except RuntimeError:  # the loop is closed: nothing waits any more
        return
