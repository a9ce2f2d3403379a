"""The daemon's life under faults: a signal during a restart, a log on a full disk."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

_SLOW = """
import sys, time
from edge_agent.inference import model
genuine = model.Model.predict
def predict(self, text, **options):
    if "slow" in text:
        time.sleep({seconds})
    return genuine(self, text, **options)
model.Model.predict = predict
model.Model.predict_many = lambda self, texts, top_ks: [
    predict(self, text, top_k=top_k) for text, top_k in zip(texts, top_ks)
]
from edge_agent.service.agent import main
sys.exit(main())
"""

_FULL = "import sys, time; sys.stderr = open('/dev/full', 'w', buffering=1)"


def test_a_signal_that_comes_during_a_restart_stops_the_daemon(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    with Daemon(tmp_path / "d", broker.port, (models,), program=_SLOW.format(seconds=2)) as daemon:
        probe.publish(f"{daemon.root}/in/tiny", "slow please")
        probe.publish(f"{daemon.root}/cmd/restart/1", {"status": "init"}, retain=True)
        daemon.wait_for_event("agent.restarting")
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == -signal.SIGTERM
        assert len(daemon.events("agent.ready")) == 1
        assert probe.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is not None


def test_a_log_on_a_full_disk_stops_nothing(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    full = _SLOW.format(seconds=0).replace("import sys, time", _FULL)
    with_full_disk = Daemon(tmp_path / "d", broker.port, (models,), program=full)
    with_full_disk.start(wait_ready=False)
    try:
        probe.wait_until(lambda m: m.topic == f"{with_full_disk.root}/status" and m.payload == b"online", 30)
        probe.publish(f"{with_full_disk.root}/in/tiny", "turn on the light")
        assert probe.wait_for(f"{with_full_disk.root}/out/tiny")[0].json["recognized"] is True
        assert with_full_disk.stop() == -signal.SIGTERM
    finally:
        with_full_disk.__exit__(None, None, None)
