from __future__ import annotations

from pathlib import Path

import pytest

from slimpose.events.event import KINDS
from slimpose.events.settings import read_event_settings
from slimpose.media.camera_file import read_cameras

CAMERA = "[cameras.door]\naddress = 0\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "cameras.toml"
    path.write_text(CAMERA + text)
    return path


def test_broker_and_addresses_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "p@s/s")
    monkeypatch.setenv("HOOK", "s3cret")
    path = write(
        tmp_path,
        """
[mqtt]
address = "mqtts://me:${MQTT_PASSWORD}@broker.example"
topic = "home/slimpose"
discovery = false

[[webhooks]]
address = "https://example.org/hook?token=${HOOK}"
kinds = ["enter"]

[[webhooks]]
address = "http://10.0.0.2/"
""",
    )
    settings = read_event_settings(path)
    mqtt = settings.mqtt
    assert mqtt is not None
    assert (mqtt.host, mqtt.port, mqtt.is_encrypted) == ("broker.example", 8883, True)
    assert (mqtt.user, mqtt.password, mqtt.topic, mqtt.discovery) == (
        "me",
        "p@s/s",
        "home/slimpose",
        "",
    )
    first, second = settings.webhooks
    assert (first.name, first.kinds) == ("https://example.org/hook?token=***", ("enter",))
    assert second.kinds == KINDS
    assert "s3cret" not in repr(settings)
    assert "p@s/s" not in repr(settings)
    (camera,) = read_cameras(path)
    assert camera.areas == ()
    assert not camera.postures


def test_areas_are_read_with_the_cameras(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "postures = true\n[cameras.door.zones.all]\npoints = [[0, 0], [1, 0], [1, 1]]\n",
    )
    (camera,) = read_cameras(path)
    assert [area.name for area in camera.areas] == ["all"]
    assert camera.postures
    settings = read_event_settings(path)
    assert settings.mqtt is None
    assert settings.webhooks == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mqtt]", "mqtt has no address"),
        ("[mqtt]\naddress = 'http://host'", "expected mqtt://HOST or mqtts://HOST"),
        ("[mqtt]\naddress = 'mqtt://u:hunter2@host:x'", "is not an address"),
        ("[mqtt]\naddress = 'mqtt://u:hunter2@host/path'", "'mqtt://***@host/path'; expected"),
        ("[mqtt]\naddress = 'mqtt://${MISSING}'", "no environment variable 'MISSING'"),
        ("[mqtt]\naddress = 'mqtt://h'\ntopic = 'a/#'", "expected a topic of letters"),
        ("[mqtt]\naddress = 'mqtt://h'\nport = 3", "'port'; expected the settings address"),
        ("[mqtt]\naddress = 'mqtt://h'\nmax_events_per_s = 0", "max_events_per_s is 0; expected"),
        ("mqtts = 1", "unknown setting"),
        ("[webhooks]\naddress = 'http://h'", "expected tables [[webhooks]]"),
        ("[[webhooks]]\naddress = 'ftp://u:hunter2@h'", "'ftp://***@h'; expected http://"),
        ("[[webhooks]]\naddress = 'http://h'\nkinds = ['fall']", "'fall'; expected some of enter"),
    ],
)
def test_invalid_settings_are_rejected(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)

    def read_all() -> None:
        read_event_settings(path)
        read_cameras(path)

    with pytest.raises(ValueError, match=r"cameras\.toml") as error:
        read_all()
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)
