"""The shipped broker for each module, and a daemon that comes to it with a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.hardened import PASSWORD, HardenedBroker, Keys, make_keys
from tests.deploy.visitor import Visitor
from tests.security.asking import House
from tests.testbeds.daemon import Daemon
from tests.tiny_bundle import build_tiny_bundle

ROUTES = {
    "EDGE_AGENT_ROUTE": '[{"subscribe":"shop/+/reviews","model":"tiny","publish":"shop/{1}/sentiment"},'
    '{"subscribe":"+/reviews","model":"tiny","publish":"{1}/sentiment","text":"$.body"}]'
}
ROUTES_ACL = (
    "user pi-1",
    "topic read +/reviews",
    "topic read shop/+/reviews",
    "topic write +/sentiment",
    "topic write shop/+/sentiment",
    "user app.crm",
    "topic write +/reviews",
    "topic write shop/+/reviews",
    "topic read +/sentiment",
    "topic read shop/+/sentiment",
    "topic read edge-agent/+/out/+",
)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("fleet") / "keys"
    return make_keys(folder, "pi-1", "pi-2", "app.crm", "operator.anna")


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Another authority, with a broker and a device of the same names."""
    return make_keys(tmp_path_factory.mktemp("strangers") / "keys", "pi-1", "app.crm")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_bundle(folder / "tiny")
    return folder


@pytest.fixture
def broker(tmp_path: Path, keys: Keys) -> Iterator[HardenedBroker]:
    """The shipped configuration, and a listener for passwords."""
    files = ("edge-agent.conf", "passwords.conf")
    with HardenedBroker(tmp_path / "broker", keys, files=files, users={"pi-1": PASSWORD}) as running:
        assert isinstance(running, HardenedBroker)
        yield running


@pytest.fixture
def daemon(tmp_path: Path, broker: HardenedBroker, keys: Keys, models: Path) -> Iterator[Daemon]:
    with daemon_of(tmp_path / "daemon", broker, keys, models) as running:
        yield running


@pytest.fixture
def crm(broker: HardenedBroker, keys: Keys) -> Iterator[Visitor]:
    """An application that hears all that it may."""
    with Visitor(broker.port, "#", keys=keys, certificate="app.crm") as connected:
        yield connected


@pytest.fixture
def operator(broker: HardenedBroker, keys: Keys) -> Iterator[Visitor]:
    """An operator that hears all that it may."""
    with Visitor(broker.port, "#", keys=keys, certificate="operator.anna") as connected:
        yield connected


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, keys: Keys, models: Path) -> Iterator[House]:
    """A broker, a daemon with routes, an application and an operator, for tests that leave them whole."""
    folder = tmp_path_factory.mktemp("house")
    broker = HardenedBroker(
        folder / "broker", keys, files=("edge-agent.conf", "passwords.conf"), users={"pi-1": PASSWORD}
    )
    broker.allow(*ROUTES_ACL)
    with (
        broker,
        daemon_of(folder / "daemon", broker, keys, models) as daemon,
        Visitor(broker.port, "#", keys=keys, certificate="app.crm") as crm,
        Visitor(broker.port, "#", keys=keys, certificate="operator.anna") as operator,
    ):
        yield House(folder, broker, daemon, crm, operator)


@contextmanager
def daemon_of(folder: Path, broker: HardenedBroker, keys: Keys, models: Path) -> Iterator[Daemon]:
    """A daemon named pi-1 with its certificate and two routes, connected."""
    settings = {"mqtt": keys.settings("pi-1", broker.port)}
    with Daemon(
        folder, broker.port, (models,), device="pi-1", settings=settings, environment=ROUTES
    ) as running:
        running.wait_for_event("mqtt.connected")
        yield running
