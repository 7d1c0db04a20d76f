"""Events and states on a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker import Broker, Recorder, broker, needs_mosquitto, wait_for
from slimpose.areas import Line, Zone
from slimpose.events.event import Event
from slimpose.events.mqtt import Mqtt
from slimpose.events.outputs import CameraSummary
from slimpose.events.settings import MqttSettings

pytestmark = needs_mosquitto
AWAY_S = float(os.environ.get("SLIMPOSE_BROKER_AWAY_S", "5"))
EVENTS = "slimpose/front_hall/events"
ZONE = Zone(name="Shop floor", points=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
LINE = Line(name="door", start=(0.5, 0.0), end=(0.5, 1.0))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path) as running:
        yield running


def output(running: Broker, **settings: float) -> Mqtt:
    return Mqtt(
        MqttSettings(host="127.0.0.1", port=running.port, **settings),  # pyright: ignore
        names=["Front hall"],
        areas=[[ZONE, LINE]],
    )


def summary(people: int, *, is_live: bool = True, crossed: int = 0) -> list[CameraSummary]:
    counts = {"Shop floor": {"people": people}, "door": {"in": crossed, "out": 0}}
    return [CameraSummary(is_live=is_live, people=people, counts=counts)]


def event(number: int) -> Event:
    return Event(kind="enter", camera="Front hall", time_s=1e9 + number, area="x", track_id=number)


def test_states_events_and_discovery_are_published(running: Broker) -> None:
    with closing(Recorder(running.port)) as recorder:
        with closing(output(running)) as mqtt:
            mqtt.update(summary(3, crossed=2))
            mqtt.send([event(7)])
            expected = {
                "slimpose/status": "online",
                "slimpose/front_hall/live": "ON",
                "slimpose/front_hall/people": "3",
                "slimpose/front_hall/zones/shop_floor": '{"people": 3}',
                "slimpose/front_hall/lines/door": '{"in": 2, "out": 0}',
            }
            wait_for(lambda: expected.items() <= recorder.newest.items())
            wait_for(lambda: "slimpose/front_hall/events" in recorder.newest)
            document = json.loads(recorder.newest["slimpose/front_hall/events"])
            assert document["event_type"] == "enter"
            assert document["track_id"] == 7
            assert document["text"] == "Front hall: person 7 entered x"
            configs = [topic for topic in recorder.newest if topic.startswith("homeassistant/")]
            assert len(configs) == 7
        wait_for(lambda: recorder.newest["slimpose/status"] == "offline")
    with closing(Recorder(running.port)) as late:  # who comes later sees all states, no events
        wait_for(lambda: "slimpose/front_hall/people" in late.newest)
        time.sleep(0.3)
        assert set(late.retained) >= {*expected, *configs}
        assert "slimpose/front_hall/events" not in late.newest


def test_killed_broker_stalls_nothing_and_states_are_right_afterwards(running: Broker) -> None:
    with (
        closing(Recorder(running.port)) as recorder,
        closing(output(running, max_events_per_s=500.0)) as mqtt,
    ):
        mqtt.update(summary(1))
        wait_for(lambda: recorder.newest.get("slimpose/front_hall/people") == "1")
        running.kill()
        slowest_s, until_s, number = 0.0, time.monotonic() + AWAY_S, 0
        while time.monotonic() < until_s:
            started_s = time.perf_counter()
            mqtt.update(summary(number % 5))
            mqtt.send([event(number)])
            slowest_s = max(slowest_s, time.perf_counter() - started_s)
            number += 1
            time.sleep(0.01)
        mqtt.update(summary(4, is_live=False))
        recorder.clear()
        running.start()
        right = {
            "slimpose/status": "online",
            "slimpose/front_hall/live": "OFF",
            "slimpose/front_hall/people": "4",
            "slimpose/front_hall/zones/shop_floor": '{"people": 4}',
        }
        wait_for(lambda: right.items() <= recorder.newest.items())
        wait_for(lambda: mqtt.counts()["mqtt_sent"] + mqtt.counts()["mqtt_dropped"] == number)
        wait_for(lambda: f'"track_id": {number - 1}' in recorder.newest.get(EVENTS, ""))
        counts = mqtt.counts()
        print(f"slowest call {1e3 * slowest_s:.1f} ms in {number} calls without the broker")
    assert slowest_s < 0.5
    assert counts["mqtt_connections"] == 2
    people = [text for topic, text in recorder.messages if topic == "slimpose/front_hall/people"]
    assert people == ["4"]  # no state of the meantime
    events = [text for topic, text in recorder.messages if topic == "slimpose/front_hall/events"]
    tracks = [json.loads(text)["track_id"] for text in events]
    assert tracks == sorted(tracks)
    assert tracks[-1:] == [number - 1]


def test_broker_that_is_away_at_the_start_is_found_later(tmp_path: Path) -> None:
    away = Broker(tmp_path)
    with closing(output(away)) as mqtt:
        mqtt.update(summary(2))
        mqtt.send([event(1)])
        time.sleep(0.5)
        away.start()
        try:
            with closing(Recorder(away.port)) as recorder:
                wait_for(lambda: recorder.newest.get("slimpose/front_hall/people") == "2")
                wait_for(lambda: mqtt.counts()["mqtt_sent"] == 1)
        finally:
            away.kill()


PROGRAM = """
import os, sys, time
from slimpose.events.mqtt import Mqtt
from slimpose.events.settings import MqttSettings
Mqtt(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), names=[], areas=[])
time.sleep(60)
"""


def test_killed_program_is_offline_by_its_last_will(running: Broker) -> None:
    with closing(Recorder(running.port)) as recorder:
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(running.port)])
        wait_for(lambda: recorder.newest.get("slimpose/status") == "online")
        program.kill()
        program.wait()
        wait_for(lambda: recorder.newest.get("slimpose/status") == "offline")


def test_states_and_events_have_rates(running: Broker) -> None:
    with (
        closing(Recorder(running.port)) as recorder,
        closing(output(running, max_events_per_s=10.0)) as mqtt,
    ):
        wait_for(lambda: recorder.newest.get("slimpose/status") == "online")
        mqtt.send([event(number) for number in range(25)])
        started_s = time.monotonic()
        for number in range(150):
            mqtt.update(summary(number))
            time.sleep(0.01)
        wait_for(lambda: mqtt.counts()["mqtt_sent"] == 25)
        took_s = time.monotonic() - started_s
        wait_for(lambda: recorder.newest.get("slimpose/front_hall/people") == "149")
        states = [topic for topic, _ in recorder.messages if topic == "slimpose/front_hall/people"]
    assert took_s > 1.0
    assert len(states) <= 2 + took_s + 2


def test_too_many_events_drop_the_oldest(tmp_path: Path) -> None:
    with closing(output(Broker(tmp_path))) as mqtt:
        mqtt.send([event(number) for number in range(1500)])
        assert mqtt.counts()["mqtt_waiting"] == 1000
        assert mqtt.counts()["mqtt_dropped"] == 500
