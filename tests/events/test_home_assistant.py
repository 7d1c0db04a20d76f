"""Discovery payloads; Home Assistant validated them once (docs/events.md)."""

from __future__ import annotations

import dataclasses
import json

from slimpose.areas import Line, Zone
from slimpose.events.home_assistant import area_topic, cameras_with_topics, discovery_messages, slug

ZONE = Zone(name="Shop floor", points=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
LINE = Line(name="door", start=(0.0, 0.0), end=(1.0, 1.0))
REQUIRED = {"unique_id", "name", "state_topic", "availability", "device", "origin"}


def test_every_entity_has_an_own_topic_and_id() -> None:
    cameras = cameras_with_topics(
        ["Front hall", "front-hall", "FRONT hall"], [[ZONE, LINE], [], []]
    )
    assert [camera.slug for camera in cameras] == ["front_hall", "front-hall", "front_hall_1"]
    messages = discovery_messages(cameras, base="home/slimpose", prefix="ha", version="1.2")
    assert len(messages) == 7 + 3 + 3
    assert len({message["unique_id"] for message in messages.values()}) == len(messages)
    for topic, message in messages.items():
        assert topic.startswith("ha/")
        assert topic.endswith("/config")
        assert message.keys() >= REQUIRED
        assert message["state_topic"].startswith("home/slimpose/front")
        assert message["availability"][0]["topic"] == "home/slimpose/status"
        json.dumps(message)
    occupied = messages["ha/binary_sensor/home_slimpose/front_hall_shop_floor_occupied/config"]
    assert occupied["device_class"] == "occupancy"
    assert occupied["device"]["identifiers"] == ["home_slimpose_front_hall"]


def test_areas_whose_names_have_no_letters_have_topics_of_their_own() -> None:
    zones = [dataclasses.replace(ZONE, name=name) for name in ("東京", "大阪", "area")]
    (camera,) = cameras_with_topics(["駅"], [zones])
    assert list(camera.areas) == ["area", "area_1", "area_2"]
    topics = [area_topic("slimpose", camera, key) for key in camera.areas]
    assert topics[1] == "slimpose/camera/zones/area_1"
    messages = discovery_messages([camera], base="slimpose", prefix="ha", version="1.2")
    assert len(messages) == 3 + 2 * len(zones)


def test_names_without_letters_have_a_topic() -> None:
    assert slug("東京") == "camera"
    assert slug("a/b#+c") == "a_b_c"
