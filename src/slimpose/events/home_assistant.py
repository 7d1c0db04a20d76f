"""The topics of MQTT, and the messages by which Home Assistant discovers them.

Source: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slimpose.areas import Area, Zone
from slimpose.events.event import KINDS

_ONLINE, _OFFLINE = "online", "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTopics:
    """A camera's name, its part of topics, and its zones and lines."""

    name: str
    slug: str
    areas: tuple[Area, ...]


def slug(name: str) -> str:
    """Return a name as a part of topics and ids.

    >>> slug("Front door")
    'front_door'
    """
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or "camera"


def cameras_with_topics(
    names: Sequence[str], areas: Sequence[Sequence[Area]]
) -> list[CameraTopics]:
    """Return the cameras with topics that differ."""
    cameras: list[CameraTopics] = []
    for number, (name, of_camera) in enumerate(zip(names, areas, strict=True)):
        topic = slug(name)
        if topic in {camera.slug for camera in cameras}:
            topic = f"{topic}_{number}"
        cameras.append(CameraTopics(name=name, slug=topic, areas=tuple(of_camera)))
    return cameras


def status_topic(base: str) -> str:
    """Return the topic of whether slimpose runs: online or offline."""
    return f"{base}/status"


def area_topic(base: str, camera: CameraTopics, area: Area) -> str:
    """Return the topic of a zone's or line's state."""
    kind = "zones" if isinstance(area, Zone) else "lines"
    return f"{base}/{camera.slug}/{kind}/{slug(area.name)}"


def camera_topic(base: str, camera: CameraTopics, what: str) -> str:
    """Return a camera's topic: live, people or events."""
    return f"{base}/{camera.slug}/{what}"


def discovery_messages(
    cameras: Sequence[CameraTopics], *, base: str, prefix: str, version: str
) -> dict[str, dict[str, Any]]:
    """Return the discovery payload of every entity, by its topic."""
    messages: dict[str, dict[str, Any]] = {}
    node = slug(base)

    def add(component: str, camera: CameraTopics, key: str, **values: Any) -> None:
        unique_id = f"{node}_{camera.slug}_{key}"
        messages[f"{prefix}/{component}/{node}/{camera.slug}_{key}/config"] = {
            "unique_id": unique_id,
            "availability": [
                {
                    "topic": status_topic(base),
                    "payload_available": _ONLINE,
                    "payload_not_available": _OFFLINE,
                }
            ],
            "device": {
                "identifiers": [f"{node}_{camera.slug}"],
                "name": f"slimpose {camera.name}",
                "manufacturer": "slimpose",
                "model": "camera",
                "sw_version": version,
            },
            "origin": {"name": "slimpose", "sw_version": version},
            **values,
        }

    def add_count(camera: CameraTopics, key: str, name: str, topic: str, **values: Any) -> None:
        add("sensor", camera, key, name=name, state_topic=topic, **values)

    for camera in cameras:
        add(
            "binary_sensor",
            camera,
            "live",
            name="Live",
            device_class="connectivity",
            entity_category="diagnostic",
            state_topic=camera_topic(base, camera, "live"),
        )
        people = camera_topic(base, camera, "people")
        measured = {"state_class": "measurement", "unit_of_measurement": "people"}
        add_count(camera, "people", "People", people, **measured)
        add(
            "event",
            camera,
            "events",
            name="Event",
            event_types=list(KINDS),
            state_topic=camera_topic(base, camera, "events"),
        )
        for area in camera.areas:
            topic, key = area_topic(base, camera, area), slug(area.name)
            if isinstance(area, Zone):
                add(
                    "binary_sensor",
                    camera,
                    f"{key}_occupied",
                    name=f"{area.name} occupied",
                    device_class="occupancy",
                    state_topic=topic,
                    value_template="{{ 'ON' if value_json.people > 0 else 'OFF' }}",
                )
                template = {"value_template": "{{ value_json.people }}"}
                name = f"{area.name} people"
                add_count(camera, f"{key}_people", name, topic, **template, **measured)
            else:
                for direction in ("in", "out"):
                    add_count(
                        camera,
                        f"{key}_{direction}",
                        f"{area.name} {direction}",
                        topic,
                        value_template=f"{{{{ value_json['{direction}'] }}}}",
                        state_class="total_increasing",
                        unit_of_measurement="people",
                    )
    return messages
