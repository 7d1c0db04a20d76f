"""Events as JSON by HTTP POST, in order, from a thread of their own."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from slimpose.events.event import Event
from slimpose.events.outputs import CameraSummary
from slimpose.events.settings import WebhookSettings
from slimpose.media.addresses import plain_reason, redacted

_log = logging.getLogger(__name__)
_WAITING = 1000
_TIMEOUT_S = 5.0
_ATTEMPTS = 4
_FIRST_RETRY_S = 1.0
_CLOSE_S = 5.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without the event, maybe elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # pyright: ignore
        return None


class Webhook:
    """An ``EventOutput`` that posts each event to an address.

    At most 1000 events wait; the oldest are dropped. An event is tried four times.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._sent = self._dropped = 0
        self._is_closing, self._is_failing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="slimpose-webhook", daemon=True)
        self._thread.start()

    def send(self, events: Sequence[Event]) -> None:
        """Add events of the address's kinds to those that wait."""
        chosen = [event for event in events if event.kind in self._settings.kinds]
        if not chosen:
            return
        with self._changed:
            self._waiting.extend(chosen)
            while len(self._waiting) > _WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._changed.notify()

    def update(self, cameras: Sequence[CameraSummary]) -> None:
        """Do nothing: states are not posted."""

    def counts(self) -> Mapping[str, int]:
        """Return how many events were sent, dropped, or are waiting."""
        return {
            "webhook_sent": self._sent,
            "webhook_dropped": self._dropped,
            "webhook_waiting": len(self._waiting),
        }

    def close(self) -> None:
        """Send what is waiting, for at most five seconds, and end the thread."""
        self._is_closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closing.is_set():
                    self._changed.wait()
                if not self._waiting:
                    return
                event = self._waiting.popleft()
            if self._deliver(event):
                self._sent += 1
            else:
                self._dropped += 1

    def _deliver(self, event: Event) -> bool:
        body = json.dumps({**event.document(), "text": event.text}).encode()
        for attempt in range(_ATTEMPTS):
            if attempt and self._is_closing.wait(_FIRST_RETRY_S * 2 ** (attempt - 1)):
                return False
            request = urllib.request.Request(
                self._settings.address,
                data=body,
                headers={"Content-Type": "application/json", "User-Agent": "slimpose"},
            )
            started_s = time.monotonic()
            try:
                with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                    answer.read(1)
                if self._is_failing:
                    _log.info("%s: takes events again", self._settings.name)
                self._is_failing = False
                return True
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._report(error, time.monotonic() - started_s)
        return False

    def _report(self, error: Exception, seconds: float) -> None:
        if not self._is_failing:
            reason = (
                f"HTTP {error.code}"
                if isinstance(error, urllib.error.HTTPError)
                else redacted(plain_reason(error))
            )
            _log.warning(
                "%s: no event delivered (%s, %.1f s)", self._settings.name, reason, seconds
            )
        self._is_failing = True
