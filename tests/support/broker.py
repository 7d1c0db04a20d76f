"""A real MQTT broker (apt install mosquitto), and a client that records what it gets."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="needs mosquitto: apt install mosquitto"
)


class Broker:
    """A broker that can be killed and started again; it keeps nothing over that."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    running = Broker(folder)
    running.start()
    try:
        yield running
    finally:
        running.kill()


class Recorder:
    """Subscribes to everything; reconnects by itself.

    Attributes:
        newest: The newest payload of each topic.
        messages: All messages, in their order.
        retained: Topics whose newest payload was kept by the broker.
    """

    def __init__(self, port: int) -> None:
        self.newest: dict[str, str] = {}
        self.messages: list[tuple[str, str]] = []
        self.retained: set[str] = set()
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._receive
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _subscribe(self, client: Any, *_: Any) -> None:
        client.subscribe("#")

    def _receive(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._lock:
            text = message.payload.decode()
            self.newest[message.topic] = text
            self.messages.append((message.topic, text))
            if message.retain:
                self.retained.add(message.topic)

    def clear(self) -> None:
        with self._lock:
            self.newest.clear()
            self.messages.clear()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
