"""``edge-agentd`` with an echo in place of a model: a daemon of the benchmark, which nobody else starts.

``python -m edge_agent.cli.bench_echo --config FILE [--protocol 4]``; the models' folders are looked at for
names only. The daemon itself always tries MQTT 5 first; protocol 4 (3.1.1) is what it would fall back to.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from edge_agent.bench.echo import NAME, VERSION, EchoModel
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5, ConnectOptions
from edge_agent.log import configure_log
from edge_agent.service import agent, links
from edge_agent.service.models import Expected, Served
from edge_agent.service.signals import die_of
from edge_agent.settings import load_settings
from edge_agent.types import Task


class EchoLoader:
    """A :class:`~edge_agent.service.models.Loader` of echoes."""

    def digest(self, path: Path) -> str:  # noqa: ARG002
        """Always the same."""
        return f"sha256:{NAME}"

    def load(self, path: Path) -> Served:
        """An echo, whatever lies there."""
        return Served(
            name=NAME,
            version=VERSION,
            task=Task.CLASSIFY,
            languages=(),
            digest=self.digest(path),
            model=EchoModel(),
            canaries=(Expected("echo", "echo"),),
        )


def main(argv: list[str] | None = None) -> int:
    """Runs the daemon until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.cli.bench_echo")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--protocol", type=int, choices=(MQTT_3_1_1, MQTT_5), default=MQTT_5)
    arguments = parser.parse_args(argv)
    settings = load_settings(arguments.config)
    configure_log(settings.log.level, settings.log.format)
    links.ConnectOptions = partial(ConnectOptions, protocol=arguments.protocol)  # type: ignore[attr-defined,assignment]
    stop = agent.Agent(settings, loader=EchoLoader()).run()
    die_of(stop)
    return 128 + stop


if __name__ == "__main__":
    sys.exit(main())
