"""Keys for the whole session, the shipped broker for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.hardened import PASSWORD, HardenedBroker, Keys, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("fleet") / "keys"
    return make_keys(folder, "pi-1", "pi-2", "app.crm", "app.other", "operator.anna", "site.madrid")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[HardenedBroker]:
    folder: Path = tmp_path_factory.mktemp("broker")
    files = ("edge-agent.conf", "passwords.conf", "loopback.conf")
    with HardenedBroker(folder, keys, files=files, users={"pi-3": PASSWORD, "app.crm": PASSWORD}) as running:
        assert isinstance(running, HardenedBroker)
        yield running
