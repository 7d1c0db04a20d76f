"""Events and states to an MQTT broker, from threads of their own.

States are retained and published again whenever the connection is new, so they are right after any
interruption. While the broker is away nothing waits for it: of states the newest is kept, of events
the last thousand.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from slimpose.areas import Area
from slimpose.events.event import Event
from slimpose.events.home_assistant import (
    area_topic,
    camera_topic,
    cameras_with_topics,
    discovery_messages,
    slug,
    status_topic,
)
from slimpose.events.outputs import CameraSummary
from slimpose.events.settings import MqttSettings

_log = logging.getLogger(__name__)
_WAITING = 1000
_KEEP_ALIVE_S = 15
_LONGEST_RETRY_S = 5
_STATE_S = 1.0
"""A topic's state is published at most this often."""
_PAUSE_S = 0.05
_CLOSE_S = 3.0


class Mqtt:
    """An ``EventOutput`` for a broker.

    Args:
        settings: The broker.
        names: The cameras' names.
        areas: The zones and lines of each.
    """

    def __init__(
        self, settings: MqttSettings, *, names: Sequence[str], areas: Sequence[Sequence[Area]]
    ) -> None:
        self._settings, self._base = settings, settings.topic
        self._cameras = cameras_with_topics(names, areas)
        self._topics = {camera.name: camera for camera in self._cameras}
        self._changed = threading.Condition()
        self._states: dict[str, str] = {}
        self._published: dict[str, tuple[str, float]] = {}
        self._events: deque[Event] = deque()
        self._allowance, self._allowed_s = settings.max_events_per_s, time.monotonic()
        self._sent = self._dropped = self._connections = 0
        self._is_connected = self._is_new = self._is_closing = False
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._run, name="slimpose-mqtt", daemon=True)
        self._client.connect_async(settings.host, settings.port, keepalive=_KEEP_ALIVE_S)
        self._client.loop_start()
        self._thread.start()

    def send(self, events: Sequence[Event]) -> None:
        """Add events to those that wait; the oldest are dropped beyond a thousand."""
        if not events:
            return
        with self._changed:
            self._events.extend(events)
            while len(self._events) > _WAITING:
                self._events.popleft()
                self._dropped += 1
            self._changed.notify()

    def update(self, cameras: Sequence[CameraSummary]) -> None:
        """Replace the states of all cameras."""
        states: dict[str, str] = {}
        for camera, summary in zip(self._cameras, cameras, strict=True):
            states[camera_topic(self._base, camera, "live")] = "ON" if summary.is_live else "OFF"
            states[camera_topic(self._base, camera, "people")] = str(summary.people)
            for key, area in camera.areas.items():
                count = summary.counts.get(area.name, {})
                states[area_topic(self._base, camera, key)] = json.dumps(count)
        with self._changed:
            if states != self._states:
                self._states = states
                self._changed.notify()

    def counts(self) -> Mapping[str, int]:
        """Return how many events were sent, dropped, or are waiting, and the connections."""
        return {
            "mqtt_sent": self._sent,
            "mqtt_dropped": self._dropped,
            "mqtt_waiting": len(self._events),
            "mqtt_connections": self._connections,
        }

    def close(self) -> None:
        """Send what is waiting, for at most three seconds, say offline, and end."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)
        if self._is_connected:
            last = self._client.publish(status_topic(self._base), "offline", qos=1, retain=True)
            try:
                last.wait_for_publish(1.0)
            except (RuntimeError, ValueError):  # the connection is gone: the last will says it
                _log.debug("offline was not published")
        self._client.disconnect()
        self._client.loop_stop()

    def _new_client(self) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"slimpose-{slug(settings.topic)}"
        )
        if settings.user:
            client.username_pw_set(settings.user, settings.password or None)
        if settings.is_encrypted:
            client.tls_set()
        client.will_set(status_topic(self._base), "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, _LONGEST_RETRY_S)
        client.max_queued_messages_set(_WAITING)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = lambda *_: self._report("the broker cannot be reached")
        return client

    # Called by paho's thread.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            self._report(f"the broker refuses the connection: {reason}")
            return
        with self._changed:
            self._is_connected = self._is_new = True
            self._connections += 1
            self._changed.notify()
        _log.info("MQTT: connected to %s", self._settings.host)

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _more: Any
    ) -> None:
        with self._changed:
            was_connected, self._is_connected = self._is_connected, False
        if was_connected and not self._is_closing:
            self._report(f"the connection is lost: {reason}")

    def _report(self, message: str) -> None:
        _log.warning("MQTT, %s:%d: %s", self._settings.host, self._settings.port, message)

    # Called by this object's thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_connected or not (self._events or self._is_new):
                    if self._is_closing:
                        return
                    self._changed.wait(_STATE_S / 2)
                is_connected, is_new = self._is_connected, self._is_new
                self._is_new = False
                states = dict(self._states)
                events = self._allowed_events() if is_connected else []
                if is_connected and self._events and not events:
                    self._changed.wait(_PAUSE_S)
            if not is_connected:
                continue
            if is_new:
                self._introduce()
            self._publish_states(states)
            for event in events:
                self._publish_event(event)

    def _allowed_events(self) -> list[Event]:
        """Take the waiting events that the rate allows (a token bucket); the others wait on."""
        rate, now_s = self._settings.max_events_per_s, time.monotonic()
        self._allowance = min(max(1.0, rate), self._allowance + rate * (now_s - self._allowed_s))
        self._allowed_s = now_s
        allowed = min(len(self._events), int(self._allowance))
        self._allowance -= allowed
        return [self._events.popleft() for _ in range(allowed)]

    def _introduce(self) -> None:
        """Publish what a broker must know that may have lost everything."""
        self._published.clear()
        if self._settings.discovery:
            messages = discovery_messages(
                self._cameras,
                base=self._base,
                prefix=self._settings.discovery,
                version=importlib.metadata.version("slimpose"),
            )
            for topic, payload in messages.items():
                self._client.publish(topic, json.dumps(payload), qos=1, retain=True)
        self._client.publish(status_topic(self._base), "online", qos=1, retain=True)

    def _publish_states(self, states: Mapping[str, str]) -> None:
        now_s = time.monotonic()
        for topic, state in states.items():
            before, at_s = self._published.get(topic, ("", -_STATE_S))
            if state != before and (now_s - at_s >= _STATE_S or self._is_closing):
                self._client.publish(topic, state, qos=0, retain=True)
                self._published[topic] = state, now_s

    def _publish_event(self, event: Event) -> None:
        camera = self._topics.get(event.camera)
        if camera is None:
            return
        payload = {"event_type": event.kind, "text": event.text, **event.document()}
        self._client.publish(camera_topic(self._base, camera, "events"), json.dumps(payload), qos=1)
        self._sent += 1
