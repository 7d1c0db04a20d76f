"""The topics of MQTT, and the messages by which Home Assistant discovers them.

Source: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimpose.areas import Area, Zone
from slimpose.events.event import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTopics:
    """A camera's name, its part of topics, and its zones and lines by their parts of topics."""

    name: str
    slug: str
    areas: Mapping[str, Area]


def slug(name: str, default: str = "camera") -> str:
    """Return a name as a part of topics and ids; the default where no character can be kept.

    >>> slug("Front door")
    'front_door'
    """
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_") or default


def cameras_with_topics(
    names: Sequence[str], areas: Sequence[Sequence[Area]]
) -> list[CameraTopics]:
    """Return the cameras with topics that differ."""
    slugs = _different([slug(name) for name in names])
    return [
        CameraTopics(
            name=name,
            slug=topic,
            areas=dict(
                zip(
                    _different([slug(area.name, "area") for area in of_camera]),
                    of_camera,
                    strict=True,
                )
            ),
        )
        for name, topic, of_camera in zip(names, slugs, areas, strict=True)
    ]


def _different(slugs: Sequence[str]) -> list[str]:
    """Return slugs with a number at those that occurred before.

    >>> _different(["a_1", "a", "a", "a"])
    ['a_1', 'a', 'a_2', 'a_3']
    """
    found: list[str] = []
    for one in slugs:
        numbered = (f"{one}_{number}" for number in itertools.count(1))
        found.append(next(it for it in itertools.chain([one], numbered) if it not in found))
    return found


def status_topic(base: str) -> str:
    """Return the topic of whether slimpose runs: online or offline."""
    return f"{base}/status"


def area_topic(base: str, camera: CameraTopics, key: str) -> str:
    """Return the topic of a zone's or line's state, by its part of topics."""
    kind = "zones" if isinstance(camera.areas[key], Zone) else "lines"
    return f"{base}/{camera.slug}/{kind}/{key}"


def camera_topic(base: str, camera: CameraTopics, what: str) -> str:
    """Return a camera's topic: live, people or events."""
    return f"{base}/{camera.slug}/{what}"


def discovery_messages(
    cameras: Sequence[CameraTopics], *, base: str, prefix: str, version: str
) -> dict[str, dict[str, Any]]:
    """Return the discovery payload of every entity, by its topic."""
    messages: dict[str, dict[str, Any]] = {}
    node = slug(base)
    for camera in cameras:
        common = _common(camera, base=base, node=node, version=version)
        entities = _camera_entities(camera, base)
        for key, area in camera.areas.items():
            entities += _area_entities(key, area, area_topic(base, camera, key))
        for component, key, values in entities:
            messages[f"{prefix}/{component}/{node}/{camera.slug}_{key}/config"] = {
                "unique_id": f"{node}_{camera.slug}_{key}",
                **common,
                **values,
            }
    return messages


_Entity = tuple[str, str, dict[str, Any]]
"""Home Assistant's component, a key that is unique in its camera, and the entity's own values."""
_MEASURED = {"state_class": "measurement", "unit_of_measurement": "people"}
_COUNTED = {"state_class": "total_increasing", "unit_of_measurement": "people"}


def _common(camera: CameraTopics, *, base: str, node: str, version: str) -> dict[str, Any]:
    """Return what all entities of a camera have."""
    return {
        "availability": [
            {
                "topic": status_topic(base),
                "payload_available": "online",
                "payload_not_available": "offline",
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
    }


def _camera_entities(camera: CameraTopics, base: str) -> list[_Entity]:
    live = {
        "name": "Live",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": camera_topic(base, camera, "live"),
    }
    people = {"name": "People", "state_topic": camera_topic(base, camera, "people"), **_MEASURED}
    events = {
        "name": "Event",
        "event_types": list(KINDS),
        "state_topic": camera_topic(base, camera, "events"),
    }
    return [
        ("binary_sensor", "live", live),
        ("sensor", "people", people),
        ("event", "events", events),
    ]


def _area_entities(key: str, area: Area, state_topic: str) -> list[_Entity]:
    topic = {"state_topic": state_topic}
    if isinstance(area, Zone):
        occupied = {
            "name": f"{area.name} occupied",
            "device_class": "occupancy",
            "value_template": "{{ 'ON' if value_json.people > 0 else 'OFF' }}",
        }
        people = {
            "name": f"{area.name} people",
            "value_template": "{{ value_json.people }}",
            **_MEASURED,
        }
        return [
            ("binary_sensor", f"{key}_occupied", {**topic, **occupied}),
            ("sensor", f"{key}_people", {**topic, **people}),
        ]
    return [
        (
            "sensor",
            f"{key}_{direction}",
            {
                **topic,
                "name": f"{area.name} {direction}",
                "value_template": f"{{{{ value_json['{direction}'] }}}}",
                **_COUNTED,
            },
        )
        for direction in ("in", "out")
    ]
