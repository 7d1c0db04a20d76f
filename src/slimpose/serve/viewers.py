"""A viewer of the page: a WebSocket that gets the newest frame of each camera, and its state."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from slimpose.serve.frames import NewestFrames

_STATE_S = 1.0
_MIN_FRAME_S = 1 / 16
"""Per camera and viewer."""


class Viewer:
    """One WebSocket.

    A frame of a camera is sent when the viewer has confirmed the one before: a slow viewer skips
    frames, nothing queues up, and no other viewer waits. The messages of the server are texts
    (JSON with a ``type``: hello, state) and frames (binary, see ``encode_packet``); those of the
    viewer are ``{"ready": CAMERA}`` for each frame and ``{"show": [CAMERA, ...]}``.

    Args:
        socket: The WebSocket.
        frames: The newest frames.
        hello: Returns the first message.
        state: Returns the message that is sent every second.
    """

    def __init__(
        self,
        socket: WebSocket,
        frames: NewestFrames,
        *,
        hello: Callable[[], dict[str, Any]],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        self._socket, self._frames = socket, frames
        self._hello, self._state = hello, state
        self._ready = set(range(len(frames)))
        self._shown = set(self._ready)
        self._sent = [-1] * len(frames)
        self._sent_s = [0.0] * len(frames)

    async def run(self) -> None:
        """Serve the viewer until it leaves."""
        await self._socket.accept()
        self._event = self._frames.attach()
        tasks = [asyncio.ensure_future(part) for part in (self._send(), self._receive())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._frames.detach(self._event)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self) -> None:
        while True:
            try:
                message = json.loads(await self._socket.receive_text())
                if "ready" in message:
                    self._ready.add(int(message["ready"]))
                else:
                    self._shown = {int(camera) for camera in message["show"]}
            except WebSocketDisconnect:
                return
            except (ValueError, KeyError, TypeError, RuntimeError):  # not our page
                await self._socket.close(1008)
                return
            self._event.set()

    async def _send(self) -> None:
        try:
            await self._socket.send_text(json.dumps({"type": "hello", **self._hello()}))
            state_due_s = 0.0
            while True:
                now_s = time.monotonic()
                if now_s >= state_due_s:
                    state_due_s = now_s + _STATE_S
                    await self._socket.send_text(json.dumps({"type": "state", **self._state()}))
                wait_s = min(state_due_s - now_s, await self._send_frames())
                await self._wait(wait_s)
        except (WebSocketDisconnect, RuntimeError, OSError):  # it has gone
            return

    async def _send_frames(self) -> float:
        """Send new frames that the viewer is ready for; return when to try again."""
        wait_s = _STATE_S
        for camera in sorted(self._ready & self._shown):
            if not 0 <= camera < len(self._sent):
                continue
            number = self._frames.number(camera)
            if number in (-1, self._sent[camera]):
                continue
            early_s = self._sent_s[camera] + _MIN_FRAME_S - time.monotonic()
            if early_s > 0:
                wait_s = min(wait_s, early_s)
                continue
            packet = await self._frames.packet(camera)
            if packet is None:
                continue
            self._sent[camera], self._sent_s[camera] = number, time.monotonic()
            self._ready.discard(camera)
            await self._socket.send_bytes(packet)
        return wait_s

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
            self._event.clear()
        except asyncio.TimeoutError:
            return
