"""The newest frame of each camera, encoded once for all viewers."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from slimpose.arrays import Image
from slimpose.draw import draw_poses
from slimpose.poses import NOT_TRACKED, Poses
from slimpose.runtime.frame_result import FrameResult

_LONGEST_SIDE_PX = 960
"""Of the images that are sent to viewers; snapshots have the camera's size."""
_QUALITY, _SNAPSHOT_QUALITY = 75, 92


class NewestFrames:
    """The newest processed frame of each camera.

    ``publish`` is called by the thread that processes the cameras, everything else by the thread
    of the server. Without viewers nothing is encoded.
    """

    def __init__(self, cameras: int) -> None:
        self._newest: list[tuple[int, FrameResult] | None] = [None] * cameras
        self._numbers = itertools.count()
        self._packets: dict[int, tuple[int, asyncio.Task[bytes]]] = {}
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._newest)

    def publish(self, results: Sequence[FrameResult]) -> None:
        """Replace the newest frames, and wake the viewers."""
        for result in results:
            self._newest[result.camera] = next(self._numbers), result
        with self._lock:
            if results and self._waiting and self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake)

    def forget(self, camera: int) -> None:
        """Drop the newest frame of a camera that was switched off."""
        self._newest[camera] = None

    def result(self, camera: int) -> FrameResult | None:
        """Return the newest frame of a camera; None without one."""
        newest = self._newest[camera]
        return None if newest is None else newest[1]

    def number(self, camera: int) -> int:
        """Return the number of a camera's newest frame, counted here; -1 without one."""
        newest = self._newest[camera]
        return -1 if newest is None else newest[0]

    def attach(self) -> asyncio.Event:
        """Return an event that every new frame sets, until it is given to ``detach``."""
        event = asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._waiting.add(event)
        return event

    def detach(self, event: asyncio.Event) -> None:
        """Stop setting an event."""
        with self._lock:
            self._waiting.discard(event)
            if not self._waiting:
                self._loop = None
                self._packets.clear()

    async def packet(self, camera: int) -> bytes | None:
        """Return a camera's newest frame as a message for viewers, encoded once for all of them."""
        newest = self._newest[camera]
        if newest is None:
            return None
        number, result = newest
        cached = self._packets.get(camera)
        if cached is None or cached[0] != number:
            cached = number, asyncio.ensure_future(asyncio.to_thread(encode_packet, result))
            self._packets[camera] = cached
        return await asyncio.shield(cached[1])

    def _wake(self) -> None:
        with self._lock:
            for event in self._waiting:
                event.set()


def encode_packet(result: FrameResult) -> bytes:
    """Return a frame as one binary message: JSON of the people, then the image as JPEG.

    It begins with the length of the JSON in bytes, as an unsigned 32-bit big-endian number.
    """
    height, width = result.image.shape[:2]
    header = {
        "camera": result.camera,
        "frame": result.frame_index,
        "timestamp_s": round(result.timestamp_s, 3),
        "width": width,
        "height": height,
        "people": people_of(result.poses),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack(">I", len(text)) + text + encode_jpeg(_shrunk(result.image), _QUALITY)


def people_of(poses: Poses) -> list[dict[str, Any]]:
    """Return the people for drawing: id, box and x, y, score of each keypoint, in image pixels."""
    triples = np.concatenate([poses.points_image, poses.scores[..., None]], axis=2)
    return [
        {
            "id": int(track) if track != NOT_TRACKED else None,
            "box": [round(float(value), 1) for value in box],
            "keypoints": [round(float(value), 2) for value in keypoints.ravel()],
        }
        for track, box, keypoints in zip(poses.ids, poses.boxes_image, triples, strict=True)
    ]


def snapshot(result: FrameResult, *, is_drawn: bool, keypoint_threshold: float) -> bytes:
    """Return a frame in its full size as JPEG, with or without the poses drawn."""
    image = result.image
    if is_drawn:
        image = draw_poses(image, result.poses, keypoint_threshold=keypoint_threshold, ids=True)
    return encode_jpeg(image, _SNAPSHOT_QUALITY)


def encode_jpeg(image: Image, quality: int) -> bytes:
    """Return an RGB image as JPEG."""
    is_encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert is_encoded
    return data.tobytes()


def _shrunk(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = _LONGEST_SIDE_PX / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
