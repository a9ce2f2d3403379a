"""Announces a daemon to Home Assistant where the daemon does not yet do it by itself."""

from __future__ import annotations

import json

from edge_agent.link.discovery import Facts, ServedModel, discovery_topic, plan
from edge_agent.link.topics import Topics
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

_OWN_WITHIN_SECONDS = 5.0


def announce(probe: Probe, daemon: Daemon) -> bool:
    """Waits for the daemon's announcement, or makes it from its ``info``; returns whether it did."""
    topic = discovery_topic("homeassistant", daemon.device)
    info = probe.wait_for(f"{daemon.root}/info")[-1].json
    try:
        probe.wait_for(topic, within_seconds=_OWN_WITHIN_SECONDS)
        stands_in = False
    except AssertionError:
        stands_in = True
        facts = Facts(
            topics=Topics("edge-agent", daemon.device),
            agent_version=info["agent"],
            board=info["board"],
            models=[ServedModel(name, model["task"]) for name, model in info["models"].items()],
            operations=info["operations"],
        )
        for where, payload in plan("homeassistant", facts, None).messages:
            probe.publish(where, payload, retain=True)
    for name, model in info["models"].items():
        if not probe.on(f"{daemon.root}/model/{name}"):
            state = {
                "installed_version": model["version"], "latest_version": None, "in_progress": False,
                "update_percentage": None, "state": "kept", "reason": None,
            }  # fmt: skip
            probe.publish(f"{daemon.root}/model/{name}", json.dumps(state), retain=True)
    return stands_in
