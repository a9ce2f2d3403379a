"""A request that never comes back, and a model that never loads, in a real daemon that is killed for it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

_HANGS = """
import sys, threading
from edge_agent.inference import model
genuine, load = model.Model.predict, model.Model.load
def predict(self, text, **options):
    if "for ever" in text:
        threading.Event().wait()
    return genuine(self, text, **options)
def loaded(path, **options):
    if "stuck" in str(path):
        print("loads for ever", flush=True)
        threading.Event().wait()
    return load(path, **options)
model.Model.predict, model.Model.load = predict, loaded
model.Model.predict_many = lambda self, texts, top_ks: [
    predict(self, text, top_k=top_k) for text, top_k in zip(texts, top_ks)
]
from edge_agent.service.agent import main
sys.exit(main())
"""
HEALTH = {"health": {"interval_seconds": 1.0}}


def health(probe: Probe, daemon: Daemon) -> dict[str, object]:
    document: dict[str, object] = probe.wait_for(f"{daemon.root}/health")[-1].json
    return document


def hangs(probe: Probe, daemon: Daemon) -> bool:
    document = health(probe, daemon)
    return document["status"] == "down" and "the worker hangs" in str(document["reasons"])


def test_a_worker_that_hangs_is_told_and_its_request_is_left_out_after_two_ends(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    daemon = Daemon(tmp_path / "d", broker.port, (models,), settings=HEALTH, program=_HANGS)
    with daemon:
        probe.publish(f"{daemon.root}/in/tiny", {"id": "bad", "text": "wait for ever"})
        eventually(lambda: hangs(probe, daemon), 30.0, "health")
        probe.publish(f"{daemon.root}/in/tiny", {"id": "good", "text": "turn on the light"})
        for lives in (1, 2):
            eventually(lambda: hangs(probe, daemon), 30.0, "health")
            eventually(lambda: len(daemon.events("agent.ready")) == lives, 30.0, "the start")  # noqa: B023
            hangings = len(daemon.events("agent.hanging"))
            eventually(lambda: len(daemon.events("agent.hanging")) > hangings, 30.0, "the note")  # noqa: B023
            daemon.stop(signal.SIGABRT)  # as systemd's watchdog does
            daemon.start(wait_ready=False)
        answers = {m.json["id"]: m.json for m in probe.wait_for(f"{daemon.root}/out/tiny", count=2)}
        assert answers["bad"]["error"]["code"] == "internal"
        assert answers["good"]["recognized"] is True
        eventually(lambda: health(probe, daemon)["status"] == "up", 30.0, "health")
        assert [line["suspected"] for line in daemon.events("agent.hung_before")] == [1, 1]


def test_a_model_that_never_loads_is_left_out_after_two_ends_and_the_others_serve(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    stuck = Path(shutil.copytree(models / "tiny", models / "stuck"))
    manifest = json.loads((stuck / "bundle.json").read_bytes())
    (stuck / "bundle.json").write_text(json.dumps({**manifest, "name": "stuck"}))
    daemon = Daemon(tmp_path / "d", broker.port, (models,), settings=HEALTH, program=_HANGS)
    for loads in (1, 2):
        daemon.start(wait_ready=False)
        eventually(lambda: daemon.log_text().count("loads for ever") == loads, 30.0, "the load")  # noqa: B023
        daemon.stop(signal.SIGKILL)
    with daemon:
        document = health(probe, daemon)
        assert document["status"] == "degraded"
        assert "it ended the process twice while it was loaded" in str(document["reasons"])
        probe.publish(f"{daemon.root}/in/tiny", "turn on the light")
        assert probe.wait_for(f"{daemon.root}/out/tiny")[0].json["recognized"] is True
