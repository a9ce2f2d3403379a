"""When the repository is asked, when the child is to look, and that nobody waits for either."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from edge_agent.service.updating.polling import DAY_SECONDS, LONGEST_SECONDS, Look, Poller, PollPlan
from edge_agent.update.poll import Poll, Tag
from tests.testbeds.certificates import Authority
from tests.update.tuf_repository import TufRepository
from tests.update.web import Web, web_server

PERIOD = 600.0
ONE, TWO = Tag("one", '"1"'), Tag("two", '"2"')
NEWS = Poll(True, ONE)
SILENCE = Poll(False, None, "Connection refused")


def _plan() -> PollPlan:
    return PollPlan(PERIOD, 0.0, lambda: 0.5)


def _after_first_look() -> PollPlan:
    plan = _plan()
    assert plan.answered(NEWS, 30.0) is Look.STARTED
    plan.looking(30.0)
    plan.looked(40.0, is_done=True)
    return plan


# The plan


def test_soon_after_the_start_somebody_looks() -> None:
    plan = _plan()
    assert plan.due == 30.0
    assert plan.answered(NEWS, 30.0) is Look.STARTED
    assert plan.due == 30.0 + PERIOD


@pytest.mark.parametrize(("chance", "due"), [(0.0, 0.0), (0.999, 59.94)])
def test_a_fleet_that_gets_its_power_back_does_not_ask_in_one_second(chance: float, due: float) -> None:
    assert PollPlan(PERIOD, 0.0, lambda: chance).due == pytest.approx(due)
    assert PollPlan(2.0, 0.0, lambda: chance).due <= 2.0


def test_a_change_is_looked_at_and_what_was_looked_at_is_none() -> None:
    plan = _after_first_look()
    assert plan.seen == ONE
    assert plan.answered(Poll(False, ONE), 700.0) is None
    assert plan.answered(Poll(True, TWO), 1300.0) is Look.CHANGED


def test_a_change_is_offered_until_somebody_looks() -> None:
    plan = _after_first_look()
    assert plan.answered(Poll(True, TWO), 700.0) is Look.CHANGED
    plan.held_back(700.0)
    assert plan.due == 760.0
    assert plan.seen == ONE
    assert plan.answered(Poll(True, TWO), 760.0) is Look.CHANGED
    plan.looking(760.0)
    plan.looked(770.0, is_done=True)
    assert plan.seen == TWO


def test_once_a_day_somebody_looks_all_the_same() -> None:
    plan = _after_first_look()
    assert plan.answered(Poll(False, ONE), 30.0 + DAY_SECONDS - 1) is None
    assert plan.answered(Poll(False, ONE), 30.0 + DAY_SECONDS) is Look.DAILY
    plan.looking(30.0 + DAY_SECONDS)
    plan.looked(40.0 + DAY_SECONDS, is_done=True)
    assert plan.answered(Poll(False, ONE), 50.0 + DAY_SECONDS) is None


def test_who_hides_behind_silence_is_looked_at_once_a_day_too() -> None:
    plan = _after_first_look()
    assert plan.answered(SILENCE, 700.0) is None
    assert plan.answered(SILENCE, 31.0 + DAY_SECONDS) is Look.DAILY
    never = _plan()
    assert never.answered(SILENCE, 30.0) is None
    assert never.answered(SILENCE, DAY_SECONDS) is Look.DAILY


def test_a_look_that_failed_is_tried_again_less_and_less_often() -> None:
    plan, tried = _plan(), []
    for minute in range(3 * 24 * 60):
        now = minute * 60.0
        if plan.answered(NEWS, now) is not None:
            tried.append(now)
            plan.looking(now)
            plan.looked(now, is_done=False)
        assert plan.seen is None
    gaps = [after - before for before, after in itertools.pairwise(tried)]
    assert gaps == [*(PERIOD * 2**n for n in range(8)), DAY_SECONDS]


def test_after_a_look_that_failed_a_new_change_is_looked_at_at_once() -> None:
    plan = _plan()
    plan.answered(NEWS, 30.0)
    plan.looking(30.0)
    plan.looked(40.0, is_done=False)
    assert plan.answered(NEWS, 50.0) is None
    assert plan.answered(Poll(True, TWO), 60.0) is Look.CHANGED


def test_a_silent_repository_is_told_after_several_times_and_not_after_one() -> None:
    plan = _plan()
    for _ in range(2):
        plan.answered(SILENCE, 30.0)
        assert plan.fault is None
    plan.answered(Poll(False, None, "HTTP 503"), 40.0)
    assert plan.fault == "updates: the repository does not answer: HTTP 503; see updates.repository"
    plan.answered(NEWS, 50.0)
    assert plan.fault is None


def test_a_silent_repository_is_asked_again_with_growing_jittered_pauses_up_to_the_period() -> None:
    plan, pauses = PollPlan(PERIOD, 0.0, lambda: 0.999), []
    for _ in range(8):
        plan.answered(SILENCE, 100.0)
        pauses.append(round((plan.due - 100.0) / 0.999))
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
    hasty = PollPlan(PERIOD, 0.0, lambda: 0.0)
    hasty.answered(SILENCE, 100.0)
    assert hasty.due == 101.0


# The poller, with a real server and real folders


@pytest.fixture
def repository() -> Iterator[Web]:
    with web_server() as served:
        yield served


class Daemon:
    """What a poller sees of one: a clock that is put forward by hand, looks, and whether one may begin."""

    def __init__(self, source: str, chance: Callable[[], float] = lambda: 0.5) -> None:
        self.now = 1000.0
        self.is_free = True
        self.looks: SimpleQueue[Look] = SimpleQueue()
        self.poller = Poller(
            source,
            PERIOD,
            on_look=self.looks.put,
            may_look=lambda: self.is_free,
            clock=lambda: self.now,
            chance=chance,
        )

    def goes_on(self) -> list[Look]:
        """The next asking, to its end; returns why the child was asked to look."""
        self.now = max(self.now, self.poller.due)
        self.poller.step()
        assert self.poller.wait(30)
        return self.heard()

    def heard(self) -> list[Look]:
        return [self.looks.get() for _ in range(self.looks.qsize())]


def test_a_poller_says_when_the_child_should_look(repository: Web) -> None:
    daemon = Daemon(repository.base)
    assert daemon.goes_on() == [Look.STARTED]
    daemon.poller.looked(is_done=True)
    assert daemon.goes_on() == []
    repository.change("two")
    assert daemon.goes_on() == [Look.CHANGED]
    daemon.poller.looked(is_done=True)
    assert daemon.goes_on() == []
    daemon.now += DAY_SECONDS
    assert daemon.goes_on() == [Look.DAILY]
    assert repository.asked == 5


def test_nobody_is_asked_before_it_is_time(repository: Web) -> None:
    daemon = Daemon(repository.base)
    daemon.poller.step()
    assert daemon.poller.wait(30)
    assert repository.asked == 0


def test_while_an_update_runs_or_waits_nobody_is_asked(repository: Web) -> None:
    daemon = Daemon(repository.base)
    daemon.is_free = False
    assert daemon.goes_on() == []
    assert repository.asked == 0
    daemon.is_free = True
    assert daemon.goes_on() == [Look.STARTED]
    assert daemon.now == 1000.0 + 30.0 + 60.0


def test_an_update_that_begins_while_the_answer_comes_holds_the_look_back(repository: Web) -> None:
    daemon = Daemon(repository.base)
    repository.may_answer.clear()
    daemon.now = daemon.poller.due
    daemon.poller.step()
    daemon.is_free = False
    repository.may_answer.set()
    assert daemon.poller.wait(30)
    assert daemon.heard() == []
    daemon.is_free = True
    assert daemon.goes_on() == [Look.STARTED]


def test_a_server_in_trouble_is_told_and_forgotten_when_it_is_well(repository: Web) -> None:
    daemon = Daemon(repository.base)
    repository.status = 503
    for _ in range(2):
        assert daemon.goes_on() == []
        assert daemon.poller.fault is None
    assert daemon.goes_on() == []
    assert daemon.poller.fault == "updates: the repository does not answer: HTTP 503; see updates.repository"
    repository.status = 200
    assert daemon.goes_on() == [Look.STARTED]
    assert daemon.poller.fault is None


def test_a_server_that_hangs_holds_up_nobody_and_is_asked_once(repository: Web) -> None:
    daemon = Daemon(repository.base)
    repository.may_answer.clear()
    daemon.now = daemon.poller.due
    daemon.poller.step()
    daemon.poller.step()
    assert daemon.poller.due == daemon.now + LONGEST_SECONDS
    for _ in range(3):
        daemon.now = daemon.poller.due
        daemon.poller.step()
    assert "no answer within 90 s" in str(daemon.poller.fault)
    daemon.now += DAY_SECONDS
    daemon.poller.step()
    assert daemon.heard() == [Look.DAILY]
    assert not daemon.poller.wait(0)
    repository.may_answer.set()
    assert daemon.poller.wait(30)
    assert repository.asked == 1
    assert daemon.heard() == []
    assert daemon.poller.fault is not None
    assert daemon.goes_on() == [Look.CHANGED]
    assert daemon.poller.fault is None


def test_certificates_that_were_renewed_are_read_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with web_server(authority.issue("server")) as web:
        daemon = Daemon(web.base)
        for _ in range(3):
            assert daemon.goes_on() == []
        assert "certificate" in str(daemon.poller.fault)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        assert daemon.goes_on() == [Look.STARTED]
        assert daemon.poller.fault is None


def test_after_the_end_nobody_is_told(repository: Web) -> None:
    daemon = Daemon(repository.base)
    repository.may_answer.clear()
    daemon.now = daemon.poller.due
    daemon.poller.step()
    assert not daemon.poller.stop(0)
    repository.may_answer.set()
    assert daemon.poller.stop(30)
    assert daemon.heard() == []
    assert daemon.goes_on() == []
    assert repository.asked == 1


def test_a_repository_in_a_folder_works_too_and_may_be_pulled_out(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    daemon = Daemon(str(folder))
    assert daemon.goes_on() == []
    folder.mkdir()
    made = TufRepository(folder)
    assert daemon.goes_on() == [Look.STARTED]
    daemon.poller.looked(is_done=True)
    assert daemon.goes_on() == []
    made.add_channel("default", {})
    made.publish()
    assert daemon.goes_on() == [Look.CHANGED]
    daemon.poller.looked(is_done=True)
    folder.rename(tmp_path / "pocket")
    for _ in range(3):
        assert daemon.goes_on() == []
    assert "No such file or directory" in str(daemon.poller.fault)
