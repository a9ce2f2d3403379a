"""The daemon's life as a real process over a real broker: start, crash, reconnect, reload, stop."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbeds.broker import Amqtt, Mosquitto, free_port
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually
from tests.tiny_bundle import build_tiny_bundle

SENTENCE = "turn on the lamp in the kitchen"
ROOT = "edge-agent/pi-test"
IN, OUT, STATUS, HEALTH, INFO = (
    f"{ROOT}/{name}" for name in ("in/tiny", "out/tiny", "status", "health", "info")
)


def ask(probe: Probe, request_id: str, model: str = "tiny") -> dict[str, object]:
    probe.publish(f"{ROOT}/in/{model}", {"text": SENTENCE, "id": request_id})
    answer: dict[str, object] = probe.wait_until(
        lambda heard: heard.topic == f"{ROOT}/out/{model}" and heard.json["id"] == request_id
    ).json
    return answer


def is_status(word: bytes) -> object:
    return lambda heard: heard.topic == STATUS and heard.payload == word


def has_status(status: str) -> object:
    return lambda heard: heard.topic == HEALTH and heard.json["status"] == status


def test_status_info_and_health_are_retained(daemon: Daemon, broker: Mosquitto) -> None:
    with Probe(broker.port, f"{ROOT}/#") as probe:
        probe.wait_until(is_status(b"online"))
        info = probe.wait_for(INFO)[0]
        health = probe.wait_until(has_status("up"))
    assert info.retain
    assert info.json["models"]["tiny"]["version"] == "1.0.0"
    assert info.json["models"]["tiny"]["digest"].startswith("sha256:")
    assert info.json["protocol"] == 1
    assert info.json["settings"]["device"]["id"] == "pi-test"
    assert health.json["mqtt"]["protocol"] == 5
    assert health.json["reasons"] == []
    assert health.json["models"]["tiny"]["state"] == "serving"
    assert len(health.payload) <= 4096


def test_info_tells_no_secret(tmp_path: Path, broker: Mosquitto, models: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    with (
        Daemon(
            tmp_path / "d",
            broker.port,
            (models,),
            settings={"mqtt": {"username": "u", "password_file": str(secret)}},
        ) as daemon,
        Probe(broker.port, f"{ROOT}/#") as probe,
    ):
        info = probe.wait_for(INFO)[0]
        assert b"hunter2" not in info.payload
        assert "hunter2" not in daemon.log_text()


def test_sigterm_answers_what_is_in_hand_says_offline_and_dies_of_the_signal(
    daemon: Daemon, probe: Probe
) -> None:
    for number in range(40):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)}, wait=False)
    probe.wait_for(OUT, count=1)
    assert daemon.stop() == -signal.SIGTERM
    probe.wait_until(is_status(b"offline"))
    stopped = daemon.events("agent.stopped")[0]
    assert stopped["finished"] is True
    assert stopped["drained"] is True
    answered = {heard.json["id"] for heard in probe.on(OUT)}
    daemon.start()
    ids = probe.wait_for_ids(OUT, {str(number) for number in range(40)})
    assert len(ids) == len(set(ids)), "a clean stop acknowledges what it has answered"
    assert answered


def test_ctrl_c_ends_it_too(daemon: Daemon) -> None:
    assert daemon.stop(signal.SIGINT) == -signal.SIGINT
    assert "Traceback" not in daemon.log_text()


def test_a_second_signal_ends_it_at_once(daemon: Daemon, broker: Mosquitto, probe: Probe) -> None:
    broker.freeze()
    daemon.send(signal.SIGTERM)
    daemon.wait_for_event("agent.stopping")
    daemon.send(signal.SIGTERM)
    assert daemon.wait(2.0) == -signal.SIGTERM
    assert daemon.events("agent.stopped") == []


def test_every_request_is_answered_although_the_daemon_is_killed_again_and_again(
    daemon: Daemon, broker: Mosquitto
) -> None:
    wanted = {str(number) for number in range(600)}
    with Probe(broker.port, OUT) as probe:
        for number in range(600):
            probe.publish(IN, {"text": SENTENCE, "id": str(number)}, wait=False)
        for round_number in range(1, 4):
            probe.wait_for(OUT, count=60 * round_number)
            daemon.send(signal.SIGKILL)
            daemon.wait()
            daemon.start()
        assert set(probe.wait_for_ids(OUT, wanted)) == wanted


def test_the_broker_says_offline_when_the_daemon_is_killed(daemon: Daemon, probe: Probe) -> None:
    probe.wait_until(is_status(b"online"))
    daemon.send(signal.SIGKILL)
    probe.wait_until(is_status(b"offline"))


def test_an_absent_broker_is_waited_for(tmp_path: Path, models: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", free_port())
    with Daemon(tmp_path / "daemon", broker.port, (models,)) as daemon:
        daemon.wait_for_event("mqtt.unreachable")
        with broker, Probe(broker.port, f"{ROOT}/#") as probe:
            probe.wait_until(is_status(b"online"))
            assert ask(probe, "1")["intent"] == "HassTurnOn"


def test_an_absent_broker_does_not_keep_the_daemon_from_stopping(tmp_path: Path, models: Path) -> None:
    with Daemon(tmp_path / "daemon", free_port(), (models,)) as daemon:
        daemon.wait_for_event("mqtt.unreachable")
        assert daemon.stop(within_seconds=3.0) == -signal.SIGTERM


def test_a_broker_that_knows_only_3_1_1_is_served_alike(tmp_path: Path, models: Path) -> None:
    with (
        Amqtt(tmp_path / "broker") as broker,
        Daemon(tmp_path / "daemon", broker.port, (models,)) as daemon,
        Probe(broker.port, f"{ROOT}/#", v5=False) as probe,
    ):
        probe.wait_until(is_status(b"online"))
        assert ask(probe, "1")["intent"] == "HassTurnOn"
        health = probe.wait_until(has_status("up")).json
        assert health["mqtt"]["protocol"] == 4
        probe.publish(IN, b'{"text": 5, "id": "2"}')
        error = probe.wait_until(lambda heard: heard.topic == OUT and heard.json["id"] == "2").json
        assert error["error"]["code"] == "bad_payload"
        assert daemon.stop() == -signal.SIGTERM
        probe.wait_until(is_status(b"offline"))


def test_a_request_retained_before_the_start_is_counted_not_answered(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    probe.publish(IN, {"text": SENTENCE, "id": "stale"}, retain=True)
    with Daemon(tmp_path / "daemon", broker.port, (models,)):
        probe.wait_until(lambda heard: heard.topic == HEALTH and heard.json["dropped"] == {"retained": 1})
        assert ask(probe, "fresh")["id"] == "fresh"
    assert [heard.json["id"] for heard in probe.on(OUT)] == ["fresh"]


def test_after_a_restart_of_the_broker_everything_is_told_again_and_kept_requests_are_answered(
    daemon: Daemon, broker: Mosquitto, probe: Probe
) -> None:
    probe.wait_until(is_status(b"online"))
    broker.stop()
    daemon.wait_for_event("mqtt.lost")
    broker.start()
    daemon.wait_for_event("mqtt.connected", count=2)
    assert daemon.events("mqtt.connected")[1]["session_resumed"] is True
    with Probe(broker.port, f"{ROOT}/#") as fresh:
        fresh.wait_until(is_status(b"online"))
        fresh.wait_until(lambda heard: heard.topic == HEALTH and heard.json["mqtt"]["reconnects"] == 1)
        assert ask(fresh, "after")["intent"] == "HassTurnOn"


def test_a_broker_that_forgot_the_session_still_gets_the_answers_in_hand(
    daemon: Daemon, broker: Mosquitto, probe: Probe
) -> None:
    probe.wait_until(is_status(b"online"))
    for number in range(16):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)}, wait=False)
    broker.stop(signal.SIGKILL)
    for database in broker.folder.glob("*.db"):
        database.unlink()
    broker.start()
    daemon.wait_for_event("mqtt.connected", count=2)
    with Probe(broker.port, f"{ROOT}/#") as fresh:
        assert ask(fresh, "after")["intent"] == "HassTurnOn"


def test_requests_sent_while_the_daemon_is_away_are_answered_when_it_is_back(
    daemon: Daemon, probe: Probe
) -> None:
    daemon.stop()
    for number in range(50):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)})
    daemon.start()
    answers = probe.wait_for(OUT, count=50)
    assert [heard.json["id"] for heard in answers] == [str(number) for number in range(50)]


def test_sighup_serves_new_changed_and_removed_bundles_and_loses_no_request(
    daemon: Daemon, models: Path, probe: Probe
) -> None:
    probe.wait_until(is_status(b"online"))
    for number in range(100):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)}, wait=False)
    build_tiny_bundle(models / "second", "second")
    shutil.rmtree(models / "tiny")
    build_tiny_bundle(models / "tiny", version="1.1.0", seed=8)
    daemon.send(signal.SIGHUP)
    for number in range(100, 300):
        probe.publish(IN, {"text": SENTENCE, "id": str(number)}, wait=False)
    daemon.wait_for_event("agent.reloaded")
    probe.wait_for_ids(OUT, {str(number) for number in range(300)})
    assert all("error" not in heard.json for heard in probe.on(OUT))
    assert ask(probe, "new", "second")["model"] == "second"
    assert ask(probe, "changed")["version"] == "1.1.0"
    shutil.rmtree(models / "second")
    daemon.send(signal.SIGHUP)
    daemon.wait_for_event("agent.reloaded", count=2)
    removed = ask(probe, "gone", "second")
    assert removed["error"] == {"code": "unknown_model", "message": "there is no such model on this device"}
    probe.wait_until(lambda heard: heard.topic == INFO and set(heard.json["models"]) == {"tiny"})


def test_sighup_keeps_the_good_version_when_the_new_one_is_bad(
    daemon: Daemon, models: Path, probe: Probe
) -> None:
    staged = build_tiny_bundle(models.parent / "staged", version="2.0.0", wrong_golden=True)
    (models / "tiny").rename(models.parent / "old")
    staged.rename(models / "tiny")
    daemon.send(signal.SIGHUP)
    daemon.wait_for_event("agent.reloaded")
    assert ask(probe, "1")["version"] == "1.0.0"
    health = probe.wait_until(has_status("degraded")).json
    assert any("golden sentence 3" in reason and "1.0.0 goes on" in reason for reason in health["reasons"])


def test_an_altered_bundle_is_named_in_health_and_the_others_serve(
    tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe
) -> None:
    broken = build_tiny_bundle(models / "broken", "broken")
    with (broken / "vocab.txt").open("ab") as file:
        file.write(b"x")
    with Daemon(tmp_path / "daemon", broker.port, (models,)):
        health = probe.wait_until(has_status("degraded")).json
        assert any("vocab.txt" in reason for reason in health["reasons"])
        assert health["models"]["broken"] == {"version": None, "state": "failed", "last_ok_age_s": None}
        assert ask(probe, "1")["intent"] == "HassTurnOn"


def test_without_any_model_the_daemon_is_online_and_down(
    tmp_path: Path, broker: Mosquitto, probe: Probe
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with Daemon(tmp_path / "daemon", broker.port, (empty,)):
        probe.wait_until(is_status(b"online"))
        health = probe.wait_until(has_status("down")).json
        assert health["reasons"] == [f"no model found in {empty}"]


def test_the_first_directory_wins(tmp_path: Path, broker: Mosquitto, models: Path, probe: Probe) -> None:
    build_tiny_bundle(tmp_path / "site" / "tiny", version="9.0.0", seed=9)
    with Daemon(tmp_path / "daemon", broker.port, (tmp_path / "site", models)):
        assert ask(probe, "1")["version"] == "9.0.0"


def test_systemd_hears_ready_watchdog_and_stopping(tmp_path: Path, broker: Mosquitto, models: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000"}
        with Daemon(tmp_path / "daemon", broker.port, (models,), environment=environment) as daemon:
            heard: list[str] = []
            while "READY=1" not in heard or heard[heard.index("READY=1") :].count("WATCHDOG=1") < 3:
                heard += manager.recv(4096).decode().split("\n")
            daemon.stop()
            while "STOPPING=1" not in heard:
                heard += manager.recv(4096).decode().split("\n")
    assert heard.index("READY=1") < heard.index("STOPPING=1")
    assert "STATUS=serving tiny 1.0.0" in heard


def test_a_watchdog_is_not_fed_while_the_worker_hangs(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000"}
        with Daemon(tmp_path / "daemon", broker.port, (models,), environment=environment) as daemon:
            while "WATCHDOG=1" not in manager.recv(4096).decode():
                pass
            daemon.send(signal.SIGSTOP)
            eventually(lambda: _drained(manager))
            manager.settimeout(1.0)
            with pytest.raises(TimeoutError):
                manager.recv(4096)


def _drained(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(4096)
    except BlockingIOError:
        manager.setblocking(True)
        return True
    return False


def test_health_speaks_the_truth_about_a_lost_broker_afterwards(
    daemon: Daemon, broker: Mosquitto, probe: Probe
) -> None:
    probe.wait_until(has_status("up"))
    broker.stop()
    daemon.wait_for_event("mqtt.lost")
    broker.start()
    with Probe(broker.port, HEALTH) as fresh:
        fresh.wait_until(has_status("up"))


def test_wrong_settings_end_it_with_one_line_and_a_hint(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[mqtt]\nhots = "x"\n')
    ended = subprocess.run(
        [sys.executable, "-m", "edge_agent.service.agent", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_")},
    )
    assert ended.returncode == 2
    assert ended.stderr == "edge-agentd: settings: unknown key mqtt.hots\nhint: did you mean mqtt.host?\n"


def test_the_daemon_imports_no_command_line_training_or_plotting_code() -> None:
    program = (
        "import sys; import edge_agent.service.agent, edge_agent.inference.model, edge_agent.service.models;"
        "unwanted = ('typer', 'rich', 'tensorflow', 'torch', 'matplotlib', 'edge_agent.cli', "
        "'edge_agent.forge');"
        "print([name for name in sys.modules if name.startswith(unwanted)])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
