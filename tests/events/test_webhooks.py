from __future__ import annotations

import logging
import time

import pytest

from broker import wait_for
from slimpose.events import webhooks
from slimpose.events.event import Event
from slimpose.events.settings import WebhookSettings
from slimpose.events.webhooks import Webhook
from webhook_receiver import receiver


def webhook(address: str, *kinds: str) -> Webhook:
    return Webhook(WebhookSettings(address=address, name="hook", kinds=kinds or ("enter", "leave")))


def event(number: int, kind: str = "enter") -> Event:
    return Event(kind=kind, camera="hall", time_s=float(number), area="a", track_id=number)  # pyright: ignore


def test_events_arrive_in_order_and_by_kind() -> None:
    with receiver() as received:
        hook = webhook(received.url, "enter")
        hook.send([event(1), event(2, "leave"), event(3)])
        hook.send([event(4)])
        hook.close()
    assert [body["track_id"] for body in received.bodies] == [1, 3, 4]
    assert received.bodies[0] == {
        "kind": "enter",
        "camera": "hall",
        "time_s": 1.0,
        "area": "a",
        "track_id": 1,
        "text": "hall: person 1 entered a",
    }
    assert hook.counts() == {"webhook_sent": 3, "webhook_dropped": 0, "webhook_waiting": 0}


def test_failed_events_are_tried_again_and_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "_FIRST_RETRY_S", 0.01)
    caplog.set_level(logging.INFO, "slimpose")
    with receiver() as received:
        received.answers = [500, 302, 204, 503, 503, 503, 503, 204]
        hook = webhook(received.url)
        hook.send([event(1), event(2), event(3)])
        wait_for(lambda: sum(hook.counts().values()) == 3 and hook.counts()["webhook_waiting"] == 0)
        hook.close()
    assert [body["track_id"] for body in received.bodies] == [1, 3]
    assert hook.counts() == {"webhook_sent": 2, "webhook_dropped": 1, "webhook_waiting": 0}
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert warnings[0].startswith("hook: no event delivered (HTTP 500")
    assert "hunter2" not in caplog.text


def test_address_that_is_dead_or_slow_holds_nothing_up() -> None:
    with receiver() as received:
        received.may_answer.clear()
        hook = webhook(received.url)
        started_s = time.perf_counter()
        hook.send([event(number) for number in range(1500)])
        assert time.perf_counter() - started_s < 0.5
        counts = hook.counts()
        assert counts["webhook_waiting"] <= 1000
        assert counts["webhook_dropped"] >= 499
        received.may_answer.set()
        wait_for(lambda: len(received.bodies) >= 1)
        hook.close()
