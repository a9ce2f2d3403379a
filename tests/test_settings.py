"""Settings: TOML, environment, secret files, and words for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import SettingsError
from edge_agent.settings import (
    describe,
    device_id_from,
    environment_folders,
    known_keys,
    load_settings,
    public_settings,
    read_password,
    variable_of,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CREDENTIALS_DIRECTORY", *map(variable_of, known_keys())):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_empty_file_gives_the_defaults_of_a_laptop_with_a_broker(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""))
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.base_topic) == (
        "localhost",
        1883,
        "edge-agent",
    )
    assert settings.mqtt.keepalive_seconds == 30
    assert [str(path) for path in settings.models.directories] == [
        "/var/lib/edge-agent/models",
        "/usr/share/edge-agent/models",
    ]
    assert settings.inference.threads == 1
    assert settings.privacy.echo_text is False
    assert settings.privacy.log_text is False


def test_the_example_of_the_protocol_is_read(tmp_path: Path) -> None:
    settings = load_settings(
        write(
            tmp_path,
            """
            [device]
            id = "pi-kitchen"
            [mqtt]
            host = "localhost"
            username = "pi-kitchen"
            keepalive_seconds = 30
            tls = true
            [models]
            directories = ["/a", "/b"]
            [inference]
            threads = 2
            [privacy]
            echo_text = true
            """,
        )
    )
    assert settings.device.id == "pi-kitchen"
    assert settings.mqtt.port == 8883
    assert settings.inference.threads == 2


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_MQTT__HOST", "broker.lan")
    monkeypatch.setenv("EDGE_AGENT_MODELS__DIRECTORIES", "/x:/y")
    settings = load_settings(write(tmp_path, '[mqtt]\nhost = "a"\nport = 1999\n[models]\ndirectories=["/z"]'))
    assert (settings.mqtt.host, settings.mqtt.port) == ("broker.lan", 1999)
    assert settings.models.directories == (Path("/x"), Path("/y"))


def test_a_list_in_the_environment_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_MODELS__DIRECTORIES", '["/a:b"]')
    assert load_settings().models.directories == (Path("/a:b"),)


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ('[mqtt]\nhots = "a"', "mqtt.hots", "mqtt.host"),
        ("[mqttt]\nport = 1", "mqttt", "mqtt"),
        ('[privacy]\nlog_texts = "a"', "privacy.log_texts", "privacy.log_text"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    tmp_path: Path, text: str, words: str, hint: str
) -> None:
    error = refusal(write(tmp_path, text))
    assert words in str(error)
    assert error.hint is not None
    assert hint in error.hint


def test_an_unknown_variable_is_named_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_MQTT__HOTS", "x")
    error = refusal()
    assert "EDGE_AGENT_MQTT__HOTS" in str(error)
    assert error.hint == "did you mean EDGE_AGENT_MQTT__HOST?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[mqtt]\nport = 0", "mqtt.port"),
        ('[mqtt]\nport = "junk"', "mqtt.port"),
        ("[mqtt]\nport = true", "mqtt.port"),
        ('[device]\nid = "has space"', "device.id"),
        ('[device]\nid = ""', "device.id"),
        ('[mqtt]\nbase_topic = "a/#"', "mqtt.base_topic"),
        ('[mqtt]\nbase_topic = "/a"', "mqtt.base_topic"),
        ('[mqtt]\nbase_topic = "$SYS"', "mqtt.base_topic"),
        ('[mqtt]\ntransport = "udp"', "mqtt.transport"),
        ("[health]\ninterval_seconds = inf", "health.interval_seconds"),
        ("[inference]\nqueue_size = 4", "receive_maximum"),
        ('mqtt = "localhost"', "mqtt is a section"),
        ("[models]\ndirectories = []", "models.directories"),
        ("[mqtt", "not valid TOML"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path: Path, text: str, words: str) -> None:
    assert words in str(refusal(write(tmp_path, text)))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    assert "no settings file" in str(refusal(tmp_path / "absent.toml"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe")
    assert "not valid TOML" in str(refusal(path))


def test_the_password_comes_from_the_named_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    settings = load_settings(write(tmp_path, f'[mqtt]\npassword_file = "{tmp_path}/secret"'))
    assert read_password(settings.mqtt) == "hunter2"
    assert "hunter2" not in str(public_settings(settings))


def test_the_password_comes_from_a_systemd_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(write(tmp_path, ""))
    assert read_password(settings.mqtt) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_password(settings.mqtt) is None
    (tmp_path / "mqtt.password").write_text("hunter2")
    assert read_password(settings.mqtt) == "hunter2"


def test_a_missing_password_file_is_an_error(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, f'[mqtt]\npassword_file = "{tmp_path}/absent"'))
    with pytest.raises(SettingsError, match="cannot read the broker password"):
        read_password(settings.mqtt)


def test_two_boards_of_one_name_get_two_ids() -> None:
    first, second = device_id_from("raspberrypi", "a" * 32), device_id_from("raspberrypi", "b" * 32)
    assert first != second
    assert first.startswith("raspberrypi-")
    assert len(first) == len("raspberrypi-") + 4


def test_a_device_id_keeps_only_what_a_topic_may_have() -> None:
    assert device_id_from("küche/pi+#", "x").startswith("kchepi-")
    assert device_id_from("…", "x").startswith("device-")


def test_every_key_is_described_for_the_reference() -> None:
    described = list(describe())
    assert [key for key, _, _ in described] == list(known_keys())
    assert all(text for _, _, text in described)


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""))
    with pytest.raises(ValueError, match="frozen"):
        settings.mqtt.host = "other"


_ROUTE = """
[[route]]
subscribe = "shop/+/reviews"
text = "$.body"
model = "sentiment"
publish = "shop/{1}/sentiment"
share = "pool"
on_death = "take_over"
[[route]]
subscribe = "mail/#"
model = "home"
publish = "mail-answers/{1}"
"""


def test_routes_are_read_in_their_order(tmp_path: Path) -> None:
    first, second = load_settings(write(tmp_path, _ROUTE)).route
    assert (first.subscribe, first.text, first.share, first.on_death) == (
        "shop/+/reviews",
        "$.body",
        "pool",
        "take_over",
    )
    assert (second.model, second.share, second.on_death) == ("home", None, "wait")


def test_routes_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_ROUTE", '[{"subscribe": "a/+", "model": "home", "publish": "b/{1}"}]')
    assert load_settings(write(tmp_path, _ROUTE)).route[0].subscribe == "a/+"


def test_an_unknown_key_of_a_route_is_named(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, _ROUTE + 'subscribed = "x"'))
    assert "route.subscribed" in str(error)
    assert error.hint == "did you mean route.subscribe?"


def test_a_route_that_is_no_list_is_an_error_that_shows_how_to_write_it(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, _ROUTE.replace("[[route]]", "[route]", 1).partition("[[route]]")[0]))
    assert error.hint == "write [[route]] and its keys below it"


def test_fingerprints_are_read_as_openssl_writes_them(tmp_path: Path) -> None:
    pin = ":".join(["AB"] * 32)
    assert load_settings(write(tmp_path, f'[mqtt]\ntls_pins = ["{pin}"]')).mqtt.tls_pins == ("ab" * 32,)
    assert "mqtt.tls_pins.0" in str(refusal(write(tmp_path, '[mqtt]\ntls_pins = ["abcd"]')))


def test_fingerprints_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_MQTT__TLS_PINS", f"{'ab' * 32},{'cd' * 32}")
    assert load_settings(write(tmp_path, "")).mqtt.tls_pins == ("ab" * 32, "cd" * 32)


def test_only_the_folders_of_services_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge-agent")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    folders = environment_folders()
    assert folders["STATE_DIRECTORY"] == "/var/lib/edge-agent"
    assert "SECRET_TOKEN" not in folders
