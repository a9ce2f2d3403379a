"""A simulated device as a machine of states: what it says upon what it hears, without a broker."""

from __future__ import annotations

import json
from collections import Counter
from math import inf
from typing import Any

import pytest

from edge_agent.errors import SettingsError
from edge_agent.fleet.simulation.device import SimulatedDevice
from edge_agent.fleet.simulation.documents import Identity
from edge_agent.fleet.simulation.faults import Fate, Faults, parse_share
from edge_agent.fleet.simulation.turn import Message, Rhythm, Turn, Wish
from edge_agent.link.topics import Topics

EPOCH = 1_700_000_000.0
UPDATE = "edge-agent/sim/cmd/model-update/r1"
ASK = {"status": "init", "name": "home", "version": "1.1.0"}


class World:
    """One device, and a clock that goes from one waking to the next."""

    def __init__(self, faults: Faults = Faults(), **rhythm: float) -> None:  # noqa: B008
        paced = Rhythm(**{"health": inf, "power": 0, "canary": 0, **rhythm})
        self.now = 0.0
        self.device = SimulatedDevice(
            Topics("edge-agent", "sim"),
            Identity("home", {"updates": {"channel": "default"}}, "kitchens"),
            "1.0.0",
            faults,
            paced,
            now=0.0,
            epoch=EPOCH,
        )
        self.said: list[Message] = []
        self.wishes: list[Wish] = []
        assert self.take(self.device.wake(0.0)).wish is Wish.CONNECT
        self.take(self.device.connected(0.0, resumed=False))

    def take(self, turn: Turn) -> Turn:
        self.said += turn.messages
        self.wishes.append(turn.wish)
        return turn

    def hear(self, topic: str, document: dict[str, Any] | None, *, retained: bool = False) -> list[Any]:
        payload = b"" if document is None else json.dumps(document).encode()
        before = len(self.said)
        self.take(self.device.hear(topic, payload, retained=retained, now=self.now))
        return [json.loads(one.payload) for one in self.said[before:] if one.topic == topic]

    def sleep_until(self, end: float) -> None:
        while self.device.due <= end:
            self.now = max(self.now, self.device.due)
            turn = self.take(self.device.wake(self.now))
            if turn.wish is Wish.CONNECT:
                self.take(self.device.connected(self.now, resumed=True))
        self.now = end

    def on(self, topic: str) -> list[Any]:
        return [json.loads(one.payload) for one in self.said if one.topic == topic and one.payload]

    def states(self) -> list[str]:
        return [word["state"] for word in self.on("edge-agent/sim/model/home")]


def test_it_is_online_and_tells_what_it_serves() -> None:
    world = World()
    assert [(one.topic.removeprefix("edge-agent/sim/"), one.retain, one.qos) for one in world.said] == [
        ("status", True, 1),
        ("info", True, 1),
        ("model/home", True, 1),
        ("health", True, 1),
    ]
    assert world.said[0].payload == b"online"
    assert world.on("edge-agent/sim/info")[0]["settings"]["updates"]["channel"] == "kitchens"
    assert world.on("edge-agent/sim/model/home")[0]["installed_version"] == "1.0.0"


def test_a_good_version_goes_through_all_states_and_is_kept() -> None:
    world = World()
    assert [word["status"] for word in world.hear(UPDATE, ASK)] == ["executing"]
    world.sleep_until(100.0)
    assert world.states() == ["kept", "downloading", "verifying", "trying", "switching", "watching", "kept"]
    last = world.on(UPDATE)[-1]
    assert (last["status"], last["result"]) == ("successful", {"name": "home", "version": "1.1.0"})
    assert world.device.version == "1.1.0"
    assert world.on("edge-agent/sim/info")[-1]["models"]["home"]["version"] == "1.1.0"
    assert world.device.due == inf


@pytest.mark.parametrize(
    ("fate", "state", "reason"),
    [
        (Fate.FAILS_PROOF, "failed", "failed_its_proof: golden"),
        (Fate.UNHEALTHY, "rolled_back", "unhealthy_while_watched: errors"),
    ],
)
def test_a_bad_version_fails_or_is_rolled_back_with_the_reason(fate: Fate, state: str, reason: str) -> None:
    seed = next(seed for seed in range(99) if Faults(seed=seed, bad=1.0).fate("sim", "1.1.0") is fate)
    world = World(Faults(seed=seed, bad=1.0))
    world.hear(UPDATE, ASK)
    world.sleep_until(100.0)
    last = world.on(UPDATE)[-1]
    assert last["status"] == "failed"
    assert last["reason"].startswith(reason)
    assert world.states()[-1] == state
    assert world.device.version == "1.0.0"


def test_an_id_that_has_ended_is_never_executed_again() -> None:
    world = World()
    world.hear(UPDATE, ASK)
    world.sleep_until(100.0)
    assert [word["status"] for word in world.hear(UPDATE, ASK)] == ["successful"]  # told again
    world.hear(UPDATE, None)
    refused = world.hear(UPDATE, ASK)
    assert [word["status"] for word in refused] == ["failed"]
    assert "never executed again" in refused[0]["reason"]
    assert world.states().count("downloading") == 1


def test_a_second_command_waits_for_the_first_and_is_not_begun_once_it_is_cleared() -> None:
    world = World()
    world.hear(UPDATE, ASK)
    other = "edge-agent/sim/cmd/model-update/r2"
    assert world.hear(other, {**ASK, "version": "1.2.0"}) == []
    third = "edge-agent/sim/cmd/model-update/r3"
    world.hear(third, {**ASK, "version": "1.3.0"})
    world.hear(other, None)
    world.sleep_until(100.0)
    assert world.on(other) == []
    assert world.on(third)[-1]["status"] == "successful"
    assert world.device.version == "1.3.0"


def test_what_it_cannot_do_is_refused() -> None:
    world = World()
    [unknown] = world.hear("edge-agent/sim/cmd/dance/1", {"status": "init"})
    assert unknown["reason"].startswith("unknown operation dance")
    [nonsense] = world.hear("edge-agent/sim/cmd/model-update/1", {"nothing": 1})
    assert nonsense["status"] == "failed"
    late = {**ASK, "expires_at": "2001-01-01T00:00:00Z"}
    assert "expired" in world.hear("edge-agent/sim/cmd/model-update/2", late)[0]["reason"]
    assert "unknown_target" in world.hear(UPDATE, {**ASK, "name": "other"})[-1]["reason"]
    back = world.hear("edge-agent/sim/cmd/model-rollback/1", {"status": "init", "name": "home"})
    assert back[-1]["reason"].startswith("nothing_to_fall_back_to")
    assert world.device.version == "1.0.0"


def test_a_rollback_goes_to_the_version_before() -> None:
    world = World()
    world.hear(UPDATE, ASK)
    world.sleep_until(100.0)
    back = world.hear("edge-agent/sim/cmd/model-rollback/1", {"status": "init", "name": "home"})
    assert [word["status"] for word in back] == ["executing", "successful"]
    assert world.device.version == "1.0.0"
    assert world.states()[-1] == "rolled_back"


def test_the_version_that_serves_is_a_success_at_once() -> None:
    world = World()
    statuses = [word["status"] for word in world.hear(UPDATE, {**ASK, "version": "1.0.0"})]
    assert statuses == ["executing", "successful"]


def test_a_wish_without_an_id_is_executed_under_a_minted_one() -> None:
    world = World()
    world.hear("edge-agent/sim/request/model-update", {"name": "home", "version": "1.1.0"})
    world.hear("edge-agent/sim/request/model-update", {"name": "home", "version": "9.9.9"}, retained=True)
    world.sleep_until(100.0)
    assert world.on("edge-agent/sim/cmd/model-update/wish-1")[-1]["status"] == "successful"
    assert world.device.version == "1.1.0"


def test_one_that_is_off_leaves_and_returns() -> None:
    world = World(Faults(off=1.0), away=60.0)
    assert world.wishes[-1] is Wish.LEAVE
    assert world.said[-1].payload == b"offline"
    assert world.device.is_off
    assert 30.0 <= world.device.due <= 90.0
    world.sleep_until(100.0)
    assert world.device.is_present
    assert [one.payload for one in world.said if one.topic.endswith("/status")][-1] == b"online"


def test_one_that_loses_power_in_the_middle_returns_and_executes_the_command_again() -> None:
    world = World(Faults(vanishing=1.0), away=60.0)
    world.hear(UPDATE, ASK)
    world.sleep_until(20.0)
    assert world.wishes[-1] is Wish.BREAK
    assert world.device.is_off
    world.sleep_until(300.0)
    assert world.states() == [
        *["kept", "downloading", "verifying"],
        *["verifying", "failed", "downloading", "verifying", "trying", "switching", "watching", "kept"],
    ]
    assert [word["status"] for word in world.on(UPDATE)] == ["executing", "executing", "successful"]


def test_a_lost_link_is_made_again_after_pauses_that_grow_and_the_update_goes_on() -> None:
    world = World()
    world.hear(UPDATE, ASK)
    world.device.lost(1.0)
    first = world.device.due
    assert 1.0 <= first <= 2.0
    assert world.device.wake(first).wish is Wish.CONNECT
    for _ in range(20):
        world.device.lost(world.device.due)
    assert not world.device.is_off
    world.sleep_until(200.0)
    assert world.on(UPDATE)[-1]["status"] == "successful"


def test_goodbye_takes_back_every_topic_that_it_retained() -> None:
    world = World()
    world.hear(UPDATE, ASK)
    world.sleep_until(100.0)
    turn = world.device.leave(clean=True)
    assert turn.wish is Wish.FORGET
    retained = {one.topic for one in world.said if one.retain}
    assert {one.topic for one in turn.messages if not one.payload} == retained
    assert world.device.due == inf


def test_one_that_is_off_at_the_end_comes_back_to_clear_its_topics() -> None:
    world = World(Faults(off=1.0), away=0.0)
    assert world.device.due == inf
    assert world.device.leave(clean=True).wish is Wish.CONNECT
    turn = world.device.connected(1.0, resumed=True)
    assert turn.wish is Wish.FORGET
    assert len(turn.messages) == 5


def test_without_clean_it_only_says_offline() -> None:
    turn = World().device.leave(clean=False)
    assert turn.wish is Wish.LEAVE
    assert [one.payload for one in turn.messages] == [b"offline"]


def test_it_speaks_as_often_as_a_real_device() -> None:
    world = World(health=30.0, power=10.0, canary=30.0)
    world.said.clear()
    world.sleep_until(3000.0)
    counts = Counter(one.topic.removeprefix("edge-agent/sim/") for one in world.said)
    assert counts["health"] == pytest.approx(100, abs=1)
    assert counts["power"] == pytest.approx(300, abs=1)
    assert counts["canary"] == pytest.approx(100, abs=1)


def test_what_fails_depends_on_seed_device_and_version_alone() -> None:
    faults = Faults(seed=7, bad=0.1)
    devices = [f"sim-{number}" for number in range(2000)]
    bad = [one for one in devices if faults.fate(one, "1.1.0") is not Fate.KEPT]
    assert bad == [one for one in devices if Faults(seed=7, bad=0.1).fate(one, "1.1.0") is not Fate.KEPT]
    assert 150 < len(bad) < 250
    others = [one for one in devices if Faults(seed=8, bad=0.1).fate(one, "1.1.0") is not Fate.KEPT]
    assert len(set(bad) & set(others)) < 60
    kinds = Counter(faults.fate(one, "1.1.0") for one in bad)
    assert min(kinds[Fate.FAILS_PROOF], kinds[Fate.UNHEALTHY]) > 60
    only = Faults(bad=1.0, bad_versions=frozenset({"2.0.0"}))
    assert only.fate("sim-1", "1.1.0") is Fate.KEPT
    assert only.fate("sim-1", "2.0.0") is not Fate.KEPT


def test_a_share_is_read_or_refused() -> None:
    assert parse_share("10%") == 0.1
    assert parse_share(" 0.5 % ") == 0.005
    for text in ("10", "101%", "-1%", "", "nan%"):
        with pytest.raises(SettingsError):
            parse_share(text)
