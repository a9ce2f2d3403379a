"""What a rollout decides, played against devices of every temper, by an operator who is killed at times."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import SettingsError
from edge_agent.fleet.rollout.devices import Fact
from edge_agent.fleet.rollout.documents import CommandWord, ModelWord
from edge_agent.fleet.rollout.driver import FINAL, halted, paused, resumed, sent_back
from edge_agent.fleet.rollout.plan import Action, Ask, plan
from edge_agent.fleet.rollout.rollout_state import (
    OPEN,
    ROLLBACK,
    TRANSITIONS,
    UPDATE,
    Member,
    Phase,
    Rollout,
    Standing,
    Tally,
    Terms,
    advance,
    begin,
    parse,
    render,
)
from edge_agent.fleet.rollout.waves import Amount, in_order, parse_waves, sizes
from edge_agent.link.commands import Status

NEW, OLD = "1.2.0", "1.0.0"
TEMPERS = ("kept", "failed", "hang", "deaf", "liar", "has it", "turns back", "away", "dies")
TICK, DEADLINE, SOAK = 30.0, 300.0, 60.0


def terms_of(devices: int, waves: str = "1,5%,25%,100%", max_failures: str = "2%") -> Terms:
    return Terms(
        id="rollout-20261124T000000Z-00000000",
        model="home",
        version=NEW,
        group="all",
        broker="broker:1883",
        base_topic="edge-agent",
        sizes=sizes(parse_waves(waves), devices),
        max_failures=Amount.parse(max_failures),
        soak_seconds=SOAK,
        deadline_seconds=DEADLINE,
        created_at=0.0,
    )


@dataclass
class Device:
    """A device and what the broker retains of it."""

    temper: str
    returns_at: float
    installed: str = OLD
    online: bool = True
    executions: list[str] = field(default_factory=list)
    since: float = 0.0
    word: dict[str, CommandWord] = field(default_factory=dict)
    model_at: float = 0.0

    def live(self, now: float) -> None:
        """A moment of its life."""
        self.online = self.temper != "away" or now >= self.returns_at
        if not self.online:
            return
        for operation, word in list(self.word.items()):
            if word.status is Status.INIT and self.temper != "deaf":
                self.executions.append(operation)
                self.since = now
                self.word[operation] = CommandWord(Status.EXECUTING)
            elif word.status is Status.EXECUTING and now > self.since:
                self._end(operation, now)
        if self.temper == "turns back" and self.installed == NEW and now >= self.since + SOAK:
            self.installed, self.model_at = OLD, now

    def _end(self, operation: str, now: float) -> None:
        if operation == ROLLBACK:
            self.installed = OLD
        elif self.temper == "hang":
            return
        elif self.temper == "dies":
            self.online = False
            return
        elif self.temper not in {"failed", "liar"}:
            self.installed = NEW
        self.model_at = now
        bad = self.temper == "failed" and operation == UPDATE
        self.word[operation] = CommandWord(Status.FAILED, "bad") if bad else CommandWord(Status.SUCCESSFUL)

    @property
    def fact(self) -> Fact:
        return Fact(
            online=self.online,
            heard_at=self.since or None,
            model=ModelWord(installed=self.installed, state="kept"),
            model_at=self.model_at,
            commands=dict(self.word),
        )


class World:
    """Devices, a broker that forgets nothing, and an operator who writes before he acts."""

    def __init__(self, tempers: list[str], seed: int, max_failures: str = "2%", kill_every: int = 0) -> None:
        self.chance = random.Random(seed)
        self.kill_every = kill_every
        names = [f"pi-{number}" for number in range(len(tempers))]
        self.devices = {
            name: Device(temper, self.chance.uniform(0, 3000), NEW if temper == "has it" else OLD)
            for name, temper in zip(names, tempers, strict=True)
        }
        terms = terms_of(len(names), max_failures=max_failures)
        self.rollout = begin(terms, in_order(names, (), terms.id), {})
        self.now = 1.0
        self.asked: list[Ask] = []
        self.steps = 0

    def go(self, most_steps: int = 2000, room: int = 7) -> Rollout:
        """Until it ends or pauses."""
        for _ in range(most_steps):
            before = self.rollout
            is_quiet = self.step(room) and not self.rollout.is_at_work
            if is_quiet and before.phase in (*FINAL, Phase.PAUSED):
                return self.rollout
        raise AssertionError(f"it does not end: {Tally.of(list(self.rollout.members.values())).counts}")

    def step(self, room: int = 7) -> bool:
        """One look; whether there was nothing to do."""
        self.now += TICK
        for device in self.devices.values():
            device.live(self.now)
        before = self.rollout
        facts = {name: device.fact for name, device in self.devices.items()}
        step = plan(before, facts, self.now, settled=True, room=room)
        check_step(before, step.rollout, step.actions, room)
        self.rollout = step.rollout
        self.steps += 1
        actions = list(step.actions)
        if self.kill_every and self.steps % self.kill_every == 0:
            self.rollout = parse(render(self.rollout))
            actions = actions[
                : self.chance.randrange(len(actions) + 1)
            ]  # killed between the writing and the end
        for action in actions:
            self.act(action)
        return not step.actions

    def act(self, action: Action) -> None:
        device = self.devices[action.device]
        if isinstance(action, Ask):
            self.asked.append(action)
            device.word[action.operation] = CommandWord(Status.INIT)
        else:
            device.word.pop(action.operation, None)


def check_step(before: Rollout, after: Rollout, actions: tuple[Action, ...], room: int) -> None:
    """What must be so in every step, whatever the devices do."""
    assert len(actions) <= room
    for name, member in after.members.items():
        was = before.members[name].standing
        assert member.standing is was or member.standing in _reachable(was), (was, member.standing)
    for action in actions:
        if isinstance(action, Ask):
            member = after.members[action.device]
            assert member.has_command
            assert member.standing in (Standing.ASKED, Standing.UNREACHABLE)
            assert member.wave <= after.wave
            assert action.id == after.command_id(action.operation)
            if action.operation == ROLLBACK:
                was_updated = before.members[action.device].standing is Standing.UPDATED
                assert was_updated or before.members[action.device].operation == ROLLBACK
    if after.phase is Phase.RUNNING:
        failed = Tally.of(after.reached())[Standing.FAILED]
        assert failed <= after.terms.allowed_failures(after.wave) or after.wave > before.wave
    told = [one for one in after.members.values() if one.asked_at is not None]
    assert len(told) <= after.terms.sizes[after.wave]


def _reachable(standing: Standing) -> set[Standing]:
    """In two moves: a device may begin and end between two looks."""
    first = TRANSITIONS[standing]
    return {*first, *(second for one in first for second in TRANSITIONS[one])}


tempers = st.lists(st.sampled_from(TEMPERS), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(tempers, st.integers(0, 1000), st.sampled_from(["0%", "2%", "30%", "100%"]), st.integers(0, 4))
def test_every_rollout_ends_and_its_table_has_no_unknown(
    kinds: list[str], seed: int, max_failures: str, kill_every: int
) -> None:
    world = World(kinds, seed, max_failures, kill_every)
    rollout = world.go()
    if rollout.phase is Phase.PAUSED:
        assert not Tally.of(rollout.reached()).serving
        world.rollout = resumed(rollout, without_proof=True)
        rollout = world.go()
    assert rollout.phase in FINAL
    for name, member in rollout.members.items():
        assert member.standing not in OPEN
        assert member.since is not None
        assert member.reason or member.standing is Standing.UPDATED
        if member.standing is Standing.UPDATED:
            assert world.devices[name].installed == NEW
        assert len(world.devices[name].executions) <= 1


@settings(max_examples=40, deadline=None)
@given(tempers, st.integers(0, 1000), st.integers(0, 4))
def test_after_a_halt_nothing_that_could_still_begin_stands_at_the_broker(
    kinds: list[str], seed: int, kill_every: int
) -> None:
    world = World(kinds, seed, "100%", kill_every)
    for _ in range(world.chance.randrange(30)):
        world.step()
    world.rollout = halted(world.rollout)
    rollout = world.go()
    assert rollout.phase is Phase.HALTED
    standing = {name: device.word for name, device in world.devices.items() if device.word}
    assert all(word.status is not Status.INIT for words in standing.values() for word in words.values())
    before = {name: list(device.executions) for name, device in world.devices.items()}
    for _ in range(200):
        world.step()
    assert {name: device.executions for name, device in world.devices.items()} == before


@settings(max_examples=40, deadline=None)
@given(tempers, st.integers(0, 1000), st.integers(0, 4))
def test_only_devices_that_took_it_are_sent_back_and_none_keeps_it(
    kinds: list[str], seed: int, kill_every: int
) -> None:
    kinds = [kind for kind in kinds if kind != "turns back"] or ["kept"]
    world = World(kinds, seed, "100%", kill_every)
    for _ in range(world.chance.randrange(60)):
        world.step()
    world.rollout = sent_back(world.rollout, None)
    rollout = world.go()
    assert rollout.phase is Phase.ROLLED_BACK
    for name, device in world.devices.items():
        standing = rollout.members[name].standing
        assert standing is not Standing.UPDATED
        if ROLLBACK in device.executions:
            assert UPDATE in device.executions
        if device.temper == "has it":
            assert device.executions == []
            assert device.installed == NEW


@settings(max_examples=30, deadline=None)
@given(tempers, st.integers(0, 1000))
def test_a_killed_operator_ends_where_an_undisturbed_one_does(kinds: list[str], seed: int) -> None:
    kinds = [kind for kind in kinds if kind not in ("away", "turns back")] or ["kept"]
    undisturbed, killed = World(kinds, seed, "30%"), World(kinds, seed, "30%", kill_every=2)
    one, other = undisturbed.go(room=100), killed.go(room=100)
    assert one.phase is other.phase
    assert {name: member.standing for name, member in one.members.items()} == {
        name: member.standing for name, member in other.members.items()
    }


def test_one_bad_canary_halts_before_anybody_else_is_told() -> None:
    world = World(["failed"] * 100, 0)
    rollout = world.go()
    assert rollout.phase is Phase.HALTED
    assert rollout.reason == "1 of 1 devices failed, 0 may"
    assert sum(1 for device in world.devices.values() if device.executions) == 1
    assert Tally.of(list(rollout.members.values()))[Standing.NOT_ASKED] == 99


def test_a_tenth_that_is_bad_halts_within_one_wave_of_being_seen_and_few_bad_ones_do_not() -> None:
    for share, phase in ((10, Phase.HALTED), (200, Phase.COMPLETE)):
        kinds = ["failed" if number % share == share - 1 else "kept" for number in range(400)]
        world = World(kinds, 0)
        assert world.go(room=500).phase is phase


def test_a_wave_of_which_nobody_answers_proves_nothing_and_pauses_the_rollout() -> None:
    world = World(["deaf"] * 10, 0)
    rollout = world.go()
    assert rollout.phase is Phase.PAUSED
    assert "nothing is proved" in (rollout.reason or "")
    assert len(world.asked) == 1


def test_a_device_that_was_off_gets_its_command_when_it_returns_and_its_late_result_is_read() -> None:
    world = World(["kept"] * 9 + ["away"], 0)
    world.devices["pi-9"].returns_at = 1e6
    rollout = world.go()
    assert rollout.phase is Phase.COMPLETE
    assert rollout.members["pi-9"].standing is Standing.UNREACHABLE
    world.devices["pi-9"].returns_at = 0
    for _ in range(4):
        world.step()
    assert world.rollout.members["pi-9"].standing is Standing.UPDATED
    assert world.devices["pi-9"].word == {}


def test_a_device_that_says_that_it_waits_has_not_failed() -> None:
    rollout = begin(terms_of(1), ("a",), {})
    rollout = plan(rollout, {}, 1.0, settled=True, room=9).rollout
    waits = ModelWord(OLD, state="idle", reason="waits: battery 9 %", updating=True)
    fact = Fact(online=True, heard_at=9.0, model=waits, commands={UPDATE: CommandWord(Status.EXECUTING)})
    for now in (2.0, 2.0 + DEADLINE, 3.0 + DEADLINE, 4.0 + 2 * DEADLINE):
        rollout = plan(rollout, {"a": fact}, now, settled=True, room=9).rollout
    assert rollout.members["a"].standing is Standing.UNREACHABLE
    assert rollout.members["a"].reason == "it waits: battery 9 %"


def test_nothing_is_decided_before_the_broker_has_told_what_it_retains() -> None:
    rollout = begin(terms_of(3), ("a", "b", "c"), {})
    step = plan(rollout, {}, 1e9, settled=False, room=9)
    assert step.rollout is rollout
    assert not step.actions


def test_a_pause_tells_nobody_else_and_a_resume_does() -> None:
    world = World(["kept"] * 20, 0)
    for _ in range(4):
        world.step()
    world.rollout = paused(world.rollout)
    told = len(world.asked)
    assert world.go().phase is Phase.PAUSED
    assert len(world.asked) == told
    world.rollout = resumed(world.rollout)
    assert world.go().phase is Phase.COMPLETE


def test_a_wave_goes_back_alone() -> None:
    world = World(["kept"] * 20, 0)
    world.go()
    world.rollout = sent_back(world.rollout, (0,))
    rollout = world.go()
    back = [name for name, device in world.devices.items() if device.installed == OLD]
    assert back == [name for name, member in rollout.members.items() if member.wave == 0]
    with pytest.raises(SettingsError, match="no such wave"):
        sent_back(rollout, (7,))


def test_a_command_that_is_under_way_is_not_given_again() -> None:
    rollout = begin(terms_of(1), ("a",), {})
    first = plan(rollout, {}, 1.0, settled=True, room=9)
    assert plan(first.rollout, {}, 2.0, settled=True, room=9, in_flight=set(first.actions)).actions == ()
    assert plan(first.rollout, {}, 2.0, settled=True, room=9).actions == first.actions


times = st.none() | st.floats(0, 2000)
members = st.builds(
    Member,
    wave=st.just(0),
    standing=st.sampled_from(Standing),
    since=times,
    operation=st.sampled_from([UPDATE, ROLLBACK]),
    asked_at=times,
    begun_at=times,
    is_late=st.booleans(),
    has_command=st.booleans(),
    seen_at=times,
)
facts = st.builds(
    Fact,
    online=st.sampled_from([None, False, True]),
    heard_at=times,
    model=st.none()
    | st.builds(
        ModelWord, st.sampled_from([None, OLD, NEW]), state=st.sampled_from(["kept", "failed", "trying", "x"])
    ),
    model_at=times,
    commands=st.dictionaries(
        st.sampled_from([UPDATE, ROLLBACK]), st.builds(CommandWord, st.sampled_from(Status))
    ),
    refused=st.sampled_from([None, "Not authorized"]),
    others=st.just(frozenset({"rollout-1"})) | st.just(frozenset()),
)


@settings(max_examples=300, deadline=None)
@given(members, facts, st.sampled_from(Phase), st.floats(0, 4000), st.integers(0, 3))
def test_no_word_of_a_device_in_any_state_is_an_error(
    member: Member, fact: Fact, phase: Phase, now: float, room: int
) -> None:
    rollout = replace(begin(terms_of(1), ("a",), {}), phase=phase, members={"a": member})
    step = plan(rollout, {"a": fact}, now, settled=True, room=room)
    assert len(step.actions) <= room
    assert parse(render(step.rollout)) == step.rollout


def test_what_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot become"):
        advance(Member(0), Standing.UPDATED, 1.0)


@given(
    st.integers(1, 5000), st.sampled_from(["1,5%,25%,100%", "10,20%,100%", "100%", "3,7,100%", "0.1%,100%"])
)
def test_waves_grow_and_the_last_is_everybody(devices: int, waves: str) -> None:
    found = sizes(parse_waves(waves), devices)
    assert list(found) == sorted(set(found))
    assert found[-1] == devices
    assert found[0] >= 1


@pytest.mark.parametrize(
    "text", ["", "5%", "25%,5%,100%", "3,1,100%", "100%,100%", "0,100%", "x", "101%", "1,,100%"]
)
def test_what_are_no_waves_is_a_usage_error(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_waves(text)


@given(st.integers(1, 100), st.integers(1, 10_000))
def test_allowed_failures_are_the_exact_floor(percent: int, devices: int) -> None:
    assert Amount.parse(f"{percent}%").at_most(devices) == percent * devices // 100


def test_another_rollout_begins_with_another_device_and_absent_ones_come_last() -> None:
    names = [f"pi-{number}" for number in range(50)]
    orders = [in_order(names, names[:10], f"rollout-{number}") for number in range(8)]
    assert len({order[0] for order in orders}) > 1
    assert all(set(order[40:]) == set(names[:10]) for order in orders)
    assert in_order(list(reversed(names)), names[:10], "rollout-0") == orders[0]


@settings(max_examples=30, deadline=None)
@given(tempers, st.integers(0, 100), st.integers(0, 20))
def test_the_state_file_brings_back_what_was_written(kinds: list[str], seed: int, steps: int) -> None:
    world = World(kinds, seed, "100%")
    for _ in range(steps):
        world.step()
    rollout = replace(world.rollout, back_waves=(0,))
    assert parse(render(rollout)) == rollout


@given(st.binary(max_size=200))
def test_garbage_in_the_state_file_is_one_clear_error(content: bytes) -> None:
    with pytest.raises(SettingsError):
        parse(content)
