"""Models are swapped two hundred times while requests come without a pause: none is lost, none is wrong."""

from __future__ import annotations

import signal
from pathlib import Path

from edge_agent.service.updating.bundles import check_bundle, unpack_bundle
from edge_agent.update.store import Store
from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.stream import Stream

SWAPS = 200


def test_two_hundred_swaps_under_load_lose_no_request(tmp_path: Path, versions: dict[str, Path]) -> None:
    models = tmp_path / "models"
    store = Store(models, check_bundle)
    with store.opened():
        digests = [store.add(versions[version], unpack_bundle).digest for version in ("1.0.0", "1.1.0")]
        store.link("tiny", digests[0])
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Daemon(tmp_path / "daemon", broker.port, (models,), settings={"log": {"level": "info"}}) as daemon,
    ):
        stream = Stream(broker.port, daemon.root, "tiny", "turn on the kitchen light", in_flight=4)
        stream.begin()
        stream.wait_for_version("1.0.0")
        for number in range(SWAPS):
            store.link("tiny", digests[(number + 1) % 2])
            daemon.send(signal.SIGHUP)
            stream.wait_for_version(("1.1.0", "1.0.0")[number % 2])
        assert stream.end() == 0, "requests without an answer"
        assert len(stream.answers) == stream.sent
        assert stream.sent > SWAPS
        assert stream.wrong == []
        assert daemon.is_running
