"""TLS towards a real Mosquitto: what is accepted, and each refusal in words with its remedy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.requester import Requester
from edge_agent.link.tls import make_context
from tests.link.linked import LONG, TREE, Linked
from tests.testbeds.broker import HOST, Mosquitto, free_port
from tests.testbeds.certificates import Authority, Issued, openssl
from tests.testbeds.probe import Probe


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Issued:
    """The certificate of the broker."""
    return authority.issue("broker")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, shown: Issued) -> Iterator[Mosquitto]:
    """With TLS, over TCP and over websockets."""
    folder = tmp_path_factory.mktemp("broker")
    with Mosquitto(folder, certificate=shown, websockets=True, unix=True) as running:
        yield running


@pytest.fixture
def address(broker: Mosquitto, authority: Authority) -> BrokerAddress:
    return BrokerAddress(HOST, broker.tls_port, tls=True, ca_file=str(authority.ca_file))


@pytest.fixture
def web_address(broker: Mosquitto, authority: Authority) -> BrokerAddress:
    url = f"wss://{HOST}:{broker.websocket_port}/mqtt"
    return replace(BrokerAddress.from_url(url), ca_file=str(authority.ca_file))


def reaches(address: BrokerAddress) -> bool:
    """Whether a message goes there and back."""
    with Requester.connect(address, timeout=20) as requester:
        return requester.devices(timeout=0.2) == {}


def refusal(address: BrokerAddress) -> tuple[str, str]:
    """The error's words and its hint."""
    with pytest.raises(BrokerError) as caught:
        reaches(address)
    return str(caught.value), str(caught.value.hint)


def test_the_context_is_never_weaker_than_it_should_be(authority: Authority) -> None:
    context = make_context(BrokerAddress("x", tls=True, ca_file=str(authority.ca_file)))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    own = [entry["subject"] for entry in context.get_ca_certs()]
    assert len(own) == 1, "a CA of our own stands alone, the system's are not accepted beside it"


def test_an_authority_of_our_own_lets_us_in_over_tcp_and_websockets(
    address: BrokerAddress, web_address: BrokerAddress
) -> None:
    assert reaches(address)
    assert reaches(web_address)


def test_an_unknown_authority_is_refused_in_words(address: BrokerAddress) -> None:
    words, hint = refusal(replace(address, ca_file=None))
    assert "certificate is signed by an unknown authority" in words
    assert "mqtt.ca_file" in hint


def test_a_pinned_certificate_lets_us_in_and_any_other_is_refused(
    address: BrokerAddress, web_address: BrokerAddress, shown: Issued
) -> None:
    for one in (address, web_address):
        assert reaches(replace(one, tls_pins=("0" * 64, shown.fingerprint)))
        words, hint = refusal(replace(one, tls_pins=("0" * 64,)))
        assert "none of mqtt.tls_pins" in words
        assert shown.fingerprint in words
        assert "renewed" in hint


def test_a_pin_does_not_replace_the_authority(address: BrokerAddress, shown: Issued) -> None:
    words, _ = refusal(replace(address, ca_file=None, tls_pins=(shown.fingerprint,)))
    assert "unknown authority" in words


def test_another_name_may_be_checked_and_none_may_be_skipped(
    tmp_path: Path, address: BrokerAddress, authority: Authority
) -> None:
    assert reaches(replace(address, tls_server_name="localhost"))
    words, hint = refusal(replace(address, tls_server_name="other.example"))
    assert "for another host name" in words
    assert "mqtt.tls_server_name" in hint
    elsewhere = authority.issue("elsewhere", hosts="DNS:broker.example")
    with Mosquitto(tmp_path, certificate=elsewhere) as broker:
        there = replace(address, port=broker.tls_port)
        assert "for another" in refusal(there)[0]
        assert reaches(replace(there, tls_server_name="broker.example"))


def test_an_expired_certificate_is_refused_in_words(
    tmp_path: Path, address: BrokerAddress, authority: Authority
) -> None:
    with Mosquitto(tmp_path, certificate=authority.issue("expired", days=-1)) as broker:
        words, hint = refusal(replace(address, port=broker.tls_port))
    assert "has expired" in words
    assert "clock" in hint


def test_a_broker_that_wants_our_certificate_says_so_in_words(
    tmp_path: Path, address: BrokerAddress, authority: Authority, shown: Issued
) -> None:
    device, stranger = authority.issue("device"), Authority(tmp_path / "other", "other-ca").issue("device")
    with Mosquitto(tmp_path / "b", certificate=shown, ca_file=authority.ca_file) as broker:
        there = replace(address, port=broker.tls_port)
        assert reaches(replace(there, cert_file=str(device.certificate), key_file=str(device.key)))
        with Linked(0, address=there) as linked:
            status = linked.fault("wants a certificate of this device")
            assert "mqtt.cert_file" in str(status.hint)
        wrong = replace(there, cert_file=str(stranger.certificate), key_file=str(stranger.key))
        with Linked(0, address=wrong) as linked:
            linked.fault("certificate")


def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, address: BrokerAddress, authority: Authority
) -> None:
    device, other = authority.issue("device-1"), authority.issue("device-2")
    empty = tmp_path / "empty.pem"
    empty.touch()
    encrypted = tmp_path / "encrypted.pem"
    openssl("ec", "-aes256", "-passout", "pass:x", "-in", str(device.key), "-out", str(encrypted))
    certificate = str(device.certificate)
    for changed, words in (
        ({"ca_file": str(tmp_path / "absent")}, "cannot read mqtt.ca_file"),
        ({"ca_file": str(empty)}, "no PEM certificate in mqtt.ca_file"),
        ({"cert_file": certificate, "key_file": str(other.key)}, "is not the key of mqtt.cert_file"),
        ({"cert_file": certificate, "key_file": str(tmp_path)}, "cannot read mqtt.key_file"),
        ({"cert_file": certificate, "key_file": str(encrypted)}, "no PEM certificate and key"),
        ({"key_file": str(device.key)}, "mqtt.key_file without mqtt.cert_file"),
    ):
        said, hint = refusal(replace(address, **changed))  # type: ignore[arg-type]
        assert words in said
        assert hint != "None"


def test_plain_words_to_a_tls_port_and_tls_to_a_plain_port_are_named(
    broker: Mosquitto, address: BrokerAddress
) -> None:
    words, hint = refusal(replace(address, port=broker.port))
    assert "TLS" in words
    assert "mqtt.tls" in hint
    with Linked(broker.tls_port) as linked:
        status = linked.fault("hung up without an answer")
        assert "may want TLS" in str(status.hint)


def test_plain_mqtt_to_a_websocket_port_and_nobody_there_are_named(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, websockets=True) as broker:
        assert reaches(BrokerAddress.from_url(f"ws://{HOST}:{broker.websocket_port}/mqtt"))
        with Linked(broker.websocket_port) as linked:
            linked.fault("hung up without an answer")
        with pytest.raises(BrokerError):
            reaches(BrokerAddress.from_url(f"ws://{HOST}:{broker.port}/mqtt"))
    with pytest.raises(BrokerError, match="Connection refused"):
        reaches(BrokerAddress(HOST, free_port()))


def test_a_unix_socket_serves_and_wants_a_name_for_tls(broker: Mosquitto) -> None:
    path = str(broker.socket_path)
    assert reaches(BrokerAddress(path, transport="unix"))
    words, hint = refusal(BrokerAddress(path, transport="unix", tls=True))
    assert "no host name to check" in words
    assert "mqtt.tls_server_name" in hint


@pytest.mark.parametrize("way", ["address", "web_address"])
def test_the_link_keeps_its_promise_over_tls(
    broker: Mosquitto, way: str, request: pytest.FixtureRequest
) -> None:
    there: BrokerAddress = request.getfixturevalue(way)
    with Linked(0, address=there, client_id=way) as linked, Probe(broker.port, f"{TREE}/out/m") as probe:
        linked.up()
        for number in range(30):
            probe.publish(f"{TREE}/in/m", str(number) + "x" * 3000)
        for index in range(30):
            linked.answer(index)
        answers = probe.wait_for(f"{TREE}/out/m", count=30, within_seconds=LONG)
        assert [answer.json.rstrip("x") for answer in answers] == [str(number) for number in range(30)]
        assert linked.status.connections == 1
