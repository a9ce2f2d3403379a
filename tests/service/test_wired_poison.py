"""A request that crashes the runtime, in a real daemon that really dies of it."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

_CRASHES_ON_A_WORD = """
import ctypes, sys
from edge_agent.inference import model
genuine = model.Model.predict
def predict(self, text, **options):
    if "crash" in text:
        ctypes.string_at(0)
    return genuine(self, text, **options)
model.Model.predict = predict
model.Model.predict_many = lambda self, texts, top_ks: [
    predict(self, text, top_k=top_k) for text, top_k in zip(texts, top_ks)
]
from edge_agent.service.agent import main
sys.exit(main())
"""


def dies(daemon: Daemon) -> None:
    eventually(lambda: not daemon.is_running, 30.0, "the crash")
    assert daemon.wait() == -signal.SIGSEGV


def test_a_request_that_crashes_the_runtime_twice_is_answered_and_the_others_are_served(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    daemon = Daemon(tmp_path / "d", broker.port, (models,), program=_CRASHES_ON_A_WORD)
    with daemon:
        probe.publish(f"{daemon.root}/in/tiny", {"id": "bad", "text": "crash please"})
        probe.publish(f"{daemon.root}/in/tiny", {"id": "good", "text": "turn on the light"})
        dies(daemon)
        daemon.start(wait_ready=False)  # as systemd does; the broker sends both again
        dies(daemon)
        daemon.start()
        answers = {m.json["id"]: m.json for m in probe.wait_for(f"{daemon.root}/out/tiny", count=2)}
        assert answers["bad"]["error"]["code"] == "internal"
        assert answers["good"]["recognized"] is True
        crashes = daemon.events("agent.crashed_before")
        assert [line["reason"] for line in crashes] == ["Segmentation fault"] * 2
    record = b"".join(path.read_bytes() for path in (tmp_path / "d" / "runtime").rglob("*") if path.is_file())
    assert b"crash please" not in record


def test_being_killed_never_condemns_a_request(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    slow = _CRASHES_ON_A_WORD.replace("ctypes.string_at(0)", "__import__('time').sleep(1)")
    daemon = Daemon(tmp_path / "d", broker.port, (models,), program=slow)
    with daemon:
        probe.publish(f"{daemon.root}/in/tiny", {"id": "slow", "text": "crash please"})
        for _ in range(3):
            daemon.stop(signal.SIGKILL)
            daemon.start()
        answers = {m.json["id"]: m.json for m in probe.wait_for(f"{daemon.root}/out/tiny", within_seconds=30)}
        assert "error" not in answers["slow"]
