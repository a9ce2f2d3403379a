"""Daemons of the benchmark beyond the ordinary one: an echo, one of MQTT 3.1.1, members of a pool."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.bench.asker import Asker
from edge_agent.bench.cores import pinned
from edge_agent.bench.echo import NAME
from edge_agent.cli import stage
from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.protocol import MQTT_5
from edge_agent.link.topics import Topics

BASE_TOPIC = "edge-agent"
_ORDINARY = "edge_agent.service.agent"
_ECHO = "edge_agent.cli.bench_echo"


@dataclass(frozen=True, slots=True)
class Pool:
    """A shared subscription, and the model that answers what comes by it."""

    name: str
    model: str

    @property
    def topic(self) -> str:
        """Where requests for the pool go."""
        return f"bench/{self.name}/ask"

    @property
    def settings(self) -> str:
        """The route of each member."""
        return (
            f'[[route]]\nsubscribe = "{self.topic}"\nmodel = {json.dumps(self.model)}\n'
            f'publish = "bench/{self.name}/answers"\nshare = "{self.name}"\n'
        )


@dataclass(frozen=True, slots=True)
class Side:
    """A daemon, and who asks it."""

    pid: int
    asker: Asker
    topics: Topics


@contextmanager
def echo_daemon(folder: Path, port: int, core: int | None, protocol: int) -> Iterator[Side]:
    """A daemon that says back what it is told, by one protocol all the way.

    Raises:
        BrokerError: it does not come online, or by the other protocol.
    """
    device = f"echo-{protocol}"
    own = folder / device
    (own / "models" / NAME).mkdir(parents=True)
    (own / "models" / NAME / "bundle.json").write_text(json.dumps({"name": NAME}))
    command = [_ECHO, "--protocol", str(protocol)]
    with _side(own, port, device, command, own / "models", core=core, protocol=protocol) as side:
        spoken = json.loads(side.asker.health or b"{}").get("mqtt", {}).get("protocol")
        if (spoken == MQTT_5) is not (protocol == MQTT_5):
            raise BrokerError(f"the daemon was to speak MQTT {protocol} and speaks {spoken}")
        yield side


@contextmanager
def pool_daemon(
    folder: Path, port: int, core: int | None, device: str, bundle: Path, pool: Pool
) -> Iterator[Side]:
    """An ordinary daemon that is a member of a pool.

    Raises:
        BrokerError: it does not come online.
    """
    own = folder / device
    own.mkdir()
    with _side(own, port, device, [_ORDINARY], bundle.resolve(), core=core, settings=pool.settings) as side:
        yield side


@contextmanager
def _side(
    folder: Path,
    port: int,
    device: str,
    module: list[str],
    models: Path,
    *,
    core: int | None,
    protocol: int = MQTT_5,
    settings: str = "",
) -> Iterator[Side]:
    config, log = folder / "config.toml", folder / "daemon.log"

    def folder_of(name: str) -> str:
        return json.dumps(str(folder / name))

    config.write_text(
        f'[device]\nid = "{device}"\nstate_directory = {folder_of("state")}\n'
        f"runtime_directory = {folder_of('runtime')}\n"
        f'[mqtt]\nhost = "{stage.HOST}"\nport = {port}\n'
        f"[models]\ndirectories = {json.dumps([str(models)])}\n"
        f'[log]\nlevel = "warning"\nformat = "text"\n{settings}'
    )
    topics = Topics(BASE_TOPIC, device)
    with ExitStack() as life:
        asker = life.enter_context(Asker(BrokerAddress(stage.HOST, port), topics, protocol=protocol))
        with pinned(core):
            command = [sys.executable, "-m", *module, "--config", str(config)]
            process = life.enter_context(stage.child(command, log))
        wait_online(asker, log)
        yield Side(process.pid, asker, topics)


def wait_online(asker: Asker, log: Path) -> None:
    """Waits for a daemon.

    Raises:
        BrokerError: it does not come online, with the end of its log.
    """
    try:
        asker.wait_online()
    except BrokerError as error:
        said = stage.last_lines(log) or "it says nothing"
        raise BrokerError(f"the daemon did not come online: {said}") from error
