"""The unit's life under a real systemd: start, reload, crash, hang, wrong settings, stop."""

from __future__ import annotations

import pytest

from tests.systemd.asker import Asker
from tests.systemd.service import UNIT, Service
from tests.testbeds.systemd_container import calmly

pytestmark = pytest.mark.slow

SENTENCE = "turn on the lamp in the kitchen"
QUICK = ("RestartSec=100ms",)

HANGING = '''\
"""edge-agentd whose models stop returning once there is a file /run/edge-agent/hang; it is taken away."""
import sys, time
from dataclasses import replace
from pathlib import Path
from edge_agent.service import agent, models

TRIGGER = Path("/run/edge-agent/hang")

class Hanging:
    def __init__(self, model):
        self._model = model
    def __getattr__(self, name):
        return getattr(self._model, name)
    def predict(self, *given, **named):
        self._hang()
        return self._model.predict(*given, **named)
    def predict_many(self, *given):
        self._hang()
        return self._model.predict_many(*given)
    def _hang(self):
        if TRIGGER.exists():
            TRIGGER.unlink()
            while True:
                time.sleep(3600)

class Loader(models.BundleLoader):
    def load(self, path):
        served = super().load(path)
        return replace(served, model=Hanging(served.model))

agent.BundleLoader = Loader
sys.exit(agent.main())
'''


def test_it_is_ready_when_the_models_answer_and_says_which(service: Service, asker: Asker) -> None:
    service.start()
    shown = service.show()
    assert shown["ActiveState"] == "active"
    assert shown["StatusText"] == "serving tiny 1.0.0"
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"


def test_it_starts_without_a_settings_file(service: Service) -> None:
    service.board.run("rm", "-r", "/etc/edge-agent")
    service.start()
    # The default folder of models is /usr/share/edge-agent/models, where this board's are one level deeper.
    assert service.show()["StatusText"] == "no model can be served"


def test_its_folders_are_its_own_and_closed_to_others(service: Service) -> None:
    service.start()
    for folder in ("/var/lib/edge-agent", "/var/cache/edge-agent", "/run/edge-agent"):
        assert service.board.run("stat", "-c", "%U %a", folder).stdout == "edge-agent 750\n"
    assert service.board.run("find", "/run/edge-agent", "-type", "f", "-perm", "/077").stdout == ""


def test_reload_serves_the_models_that_are_there_now_in_the_same_process(service: Service) -> None:
    service.settings(models={"directories": ["/var/lib/edge-agent/models"]})
    service.start()
    assert service.show()["StatusText"] == "no model can be served"
    pid = service.pid
    service.board.run(
        "sh", "-c", "mkdir /var/lib/edge-agent/models; cp -r /usr/share/edge-agent/models/tiny/tiny "
        "/var/lib/edge-agent/models; chown -R edge-agent: /var/lib/edge-agent/models",
    )  # fmt: skip
    service.board.systemctl("reload", UNIT)
    service.board.wait_for(UNIT, StatusText="serving tiny 1.0.0", ActiveState="active")
    assert service.pid == pid


def test_a_stop_says_offline_and_is_no_failure(service: Service, asker: Asker) -> None:
    service.start()
    asker.wait_for_status(b"online")
    service.board.systemctl("stop", UNIT)
    asker.wait_for_status(b"offline")
    assert service.show()["Result"] == "success"
    assert service.show()["ActiveState"] == "inactive"


def test_a_restart_by_command_keeps_the_process_and_systemd_calm(service: Service, asker: Asker) -> None:
    service.start()
    asker.ask(SENTENCE)
    pid, ready = service.pid, len(service.events("agent.ready"))
    asker.command("restart")
    calmly(lambda: len(service.events("agent.ready")) > ready, 60, "the next life")
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"
    assert (service.pid, service.restarts) == (pid, 0)


@pytest.mark.parametrize("signal", ["KILL", "TERM", "SEGV"])
def test_whatever_ends_it_it_is_begun_again_and_answers(service: Service, asker: Asker, signal: str) -> None:
    service.drop_in(*QUICK)
    service.start()
    asker.ask(SENTENCE)
    service.kill(signal)
    service.wait_for_restart()
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"


def test_the_note_of_a_crash_outlives_the_restart(service: Service) -> None:
    service.drop_in(*QUICK)
    service.start()
    before = len(service.events("agent.crashed_before"))
    service.kill("SEGV")
    service.wait_for_restart()
    assert [e["reason"] for e in service.events("agent.crashed_before")[before:]] == ["Segmentation fault"]
    assert service.show()["LimitCORE"] == "0", "a core would hold what was said in the room"


def test_it_never_gives_up_however_often_it_is_killed(service: Service, asker: Asker) -> None:
    service.drop_in("RestartSec=0")
    service.start()
    for count in range(1, 9):  # systemd's own limit is five starts in ten seconds
        service.kill("KILL")
        service.wait_for_restart(count)
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"


def test_wrong_settings_are_said_once_and_not_tried_again(service: Service) -> None:
    service.write_settings("[mqtt]\nhots = 'broker'\n")
    service.board.systemctl("start", UNIT, check=False)
    shown = service.board.wait_for(UNIT, ActiveState="failed")
    assert shown["ExecMainStatus"] == "2"
    assert shown["NRestarts"] == "0"
    lines = [line for line in service.board.journal(UNIT) if "mqtt.host" in str(line["MESSAGE"])]
    assert [line["PRIORITY"] for line in lines] == ["3"]


def test_a_frozen_process_is_killed_by_the_watchdog_and_begun_again(service: Service, asker: Asker) -> None:
    service.drop_in(*QUICK, "WatchdogSec=3")
    service.start()
    asker.ask(SENTENCE)
    service.kill("STOP")
    service.wait_for_restart()
    assert "Watchdog timeout" in service.said()
    assert asker.ask(SENTENCE)["intent"] == "HassTurnOn"


def test_a_model_that_never_returns_ends_in_a_restart_and_its_request_is_answered(
    service: Service, asker: Asker
) -> None:
    service.program("hanging", HANGING, *QUICK, "WatchdogSec=3")
    service.start()
    asker.ask(SENTENCE)
    before = len(service.events("agent.hung_before"))
    service.put("/run/edge-agent/hang", "")
    service.board.run("chown", "edge-agent:", "/run/edge-agent/hang")
    caught = asker.send(SENTENCE)
    service.wait_for_restart()
    assert [hang["suspected"] for hang in service.events("agent.hung_before")[before:]] == [1]
    assert asker.answer(caught)["intent"] == "HassTurnOn", "once may have been somebody else's fault"


def test_a_healthy_daemon_is_left_alone_by_the_watchdog(service: Service) -> None:
    service.drop_in("WatchdogSec=2")
    service.start()

    def fed_for_long() -> bool:
        shown = service.show()
        fed, ready = shown["WatchdogTimestampMonotonic"], shown["ActiveEnterTimestampMonotonic"]
        return int(fed) - int(ready) > 5_000_000  # microseconds: twice and a half what it may be silent

    calmly(fed_for_long, 60, "to be fed for five seconds")
    assert service.restarts == 0


def test_it_waits_for_no_network_and_no_broker(service: Service) -> None:
    waits = service.show()
    assert "network-online.target" not in waits["After"] + waits["Wants"]
    service.board.systemctl("stop", "mosquitto")
    try:
        service.start()
        assert service.show()["StatusText"] == "serving tiny 1.0.0"
    finally:
        service.board.systemctl("start", "mosquitto")
