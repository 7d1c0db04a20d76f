"""Where events are sent, as ``cameras.toml`` says it.

[mqtt]
address = "mqtt://${MQTT_USER}:${MQTT_PASSWORD}@10.0.0.2"

[[webhooks]]
address = "https://example.org/hook?token=${HOOK_TOKEN}"
kinds = ["enter", "leave"]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from slimpose import fields
from slimpose.events.event import KINDS
from slimpose.fields import Fields
from slimpose.formats.files import read_toml
from slimpose.media.addresses import redacted
from slimpose.media.camera_file import with_variables

_TOPIC = re.compile(r"[\w-]+(/[\w-]+)*", re.ASCII)
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """A broker, and how events are sent to it.

    Attributes:
        host: Its name or address.
        port: Its port.
        is_encrypted: Whether it speaks TLS.
        user: User name; empty for none.
        password: Password; never print it.
        topic: First part of all topics.
        discovery: Prefix of Home Assistant's discovery; empty for none.
        max_events_per_s: Further events wait; beyond a thousand the oldest are dropped.
    """

    host: str
    port: int
    is_encrypted: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    topic: str = "slimpose"
    discovery: str = "homeassistant"
    max_events_per_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """An address that events are posted to.

    Attributes:
        address: Its http or https address, with secrets: never print it.
        name: The redacted address.
        kinds: The kinds of events.
    """

    address: str = field(repr=False)
    name: str
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """Where events are sent: a broker, addresses, a file of JSON lines; there may be none."""

    mqtt: MqttSettings | None = None
    webhooks: tuple[WebhookSettings, ...] = ()
    file: Path | None = None


def read_event_settings(path: Path) -> EventSettings:
    """Return the settings in the tables ``mqtt`` and ``webhooks`` of a file of cameras.

    ``${NAME}`` in an address is the environment variable of this name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not TOML, or a setting is unknown or invalid; what environment
            variables hold is not shown.
    """
    document = read_toml(path, kind="camera file")
    return EventSettings(
        mqtt=_read_mqtt(document["mqtt"], path) if "mqtt" in document else None,
        webhooks=_read_webhooks(document["webhooks"], path) if "webhooks" in document else (),
    )


def _read_mqtt(value: object, path: Path) -> MqttSettings:
    table = fields.table(value, f"{path}: mqtt", "a table [mqtt]")
    _check_known(table, "address", "topic", "discovery", "max_events_per_s")
    place = table.what("address")
    address = with_variables(table.text("address"), place)
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError(f"{place} is not an address; expected mqtt://HOST:PORT") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise ValueError(
            f"{place} is {redacted(address)!r}; expected mqtt://HOST or mqtts://HOST, with "
            "USER:PASSWORD@ and :PORT where needed (a / ? # or @ in a password is %2F %3F %23 %40)"
        )
    return MqttSettings(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        is_encrypted=parts.scheme == "mqtts",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        topic=_topic(table, "topic", "slimpose"),
        discovery=_discovery(table),
        max_events_per_s=(
            table.number("max_events_per_s", low=0.1, high=1e4)
            if table.has("max_events_per_s")
            else 20.0
        ),
    )


def _read_webhooks(value: object, path: Path) -> tuple[WebhookSettings, ...]:
    webhooks: list[WebhookSettings] = []
    for number, entry in enumerate(fields.items(value, f"{path}: webhooks", "tables [[webhooks]]")):
        table = fields.table(entry, f"{path}: webhooks[{number}]")
        _check_known(table, "address", "kinds")
        place = table.what("address")
        address = with_variables(table.text("address"), place)
        if not re.match(r"https?://[^/?#]", address, re.IGNORECASE):
            raise ValueError(f"{place} is {redacted(address)!r}; expected http:// or https://")
        kinds = table.texts("kinds") if table.has("kinds") else KINDS
        for kind in kinds:
            if kind not in KINDS:
                raise fields.fail(table.what("kinds"), kind, f"some of {', '.join(KINDS)}")
        webhooks.append(WebhookSettings(address=address, name=redacted(address), kinds=kinds))
    return tuple(webhooks)


def _discovery(table: Fields) -> str:
    if table.values.get("discovery") is False:
        return ""
    return _topic(table, "discovery", "homeassistant")


def _topic(table: Fields, name: str, default: str) -> str:
    if not table.has(name):
        return default
    text = table.text(name)
    if not _TOPIC.fullmatch(text):
        raise fields.fail(table.what(name), text, "a topic of letters, digits, - _ and /")
    return text


def _check_known(table: Fields, *known: str) -> None:
    unknown: list[Any] = [name for name in table.values if name not in known]
    if unknown:
        raise fields.fail(table.where, unknown[0], f"the settings {', '.join(known)}")
