"""The ledger on hand-made histories: it says yes to a good one and can say no to each kind of bad one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.chaos.ledger import (
    Answered,
    Began,
    Broken,
    Confirmed,
    Event,
    Forgotten,
    Recovered,
    Resent,
    Rules,
    Sent,
    Verdict,
    Whole,
    history,
    settle,
)
from tests.chaos.schedule import Kind

RULES = Rules(agent_window=2, requester_window=3, links=1)


def asked(*numbers: int, stream: str = "v5 tiny") -> list[Event]:
    """Requests that were sent and confirmed, a second apart."""
    events: list[Event] = []
    for number in numbers:
        events += [Sent(number, number, stream), Confirmed(number + 0.1, number)]
    return events


def fault(index: int, kind: Kind, at: float, *, recovery_seconds: float = 1.0) -> list[Event]:
    """A fault of one second."""
    return [
        Began(at, index, kind),
        Whole(at + 1, index, bound_seconds=2.0),
        Recovered(at + 1 + recovery_seconds, index),
    ]


def verdict(events: Sequence[Event], rules: Rules = RULES) -> Verdict:
    return settle(events, rules)


def broken(events: Sequence[Event], rules: Rules = RULES) -> list[str]:
    return [violation.what for violation in settle(events, rules).violations]


def test_a_run_in_which_all_is_answered_in_order_breaks_no_promise() -> None:
    settled = verdict([*asked(0, 1, 2), *(Answered(5.0 + n, n) for n in range(3))])
    assert settled.is_kept
    assert (settled.sent, settled.confirmed, settled.answered) == (3, 3, 3)
    assert (settled.lost, settled.duplicates, settled.disorders) == (0, 0, 0)


def test_a_confirmed_request_without_an_answer_is_lost() -> None:
    settled = verdict([*asked(0, 1), Answered(5, 0)])
    assert settled.lost == 1
    assert [(one.what, one.request) for one in settled.violations] == [("confirmed and never answered", 1)]


def test_a_request_that_was_never_confirmed_is_not_lost_but_says_that_the_run_proves_less() -> None:
    settled = verdict([Sent(0, 0, "v5 tiny")])
    assert settled.lost == 0
    assert [one.what for one in settled.violations] == [
        "1 requests were never confirmed, so the run proves less than it says"
    ]


def test_an_error_is_no_right_answer_unless_one_follows() -> None:
    error = Answered(5, 0, is_right=False, code="overloaded")
    assert broken([*asked(0), error]) == ["confirmed, but answered with nothing but errors: overloaded"]
    again = verdict([*asked(0), error, Answered(6, 0)], Rules(2, 3, links=2))
    assert again.is_kept
    assert again.errors == {"overloaded": 1}


def test_a_wrong_answer_is_a_violation_even_where_a_right_one_follows() -> None:
    events = [*asked(0), Answered(5, 0, is_right=False), Answered(6, 0)]
    assert broken(events, Rules(2, 3, links=2)) == ["answered wrongly"]


def test_duplicates_are_bounded_by_what_was_in_hand_at_each_broken_link() -> None:
    events = [*asked(0, 1, 2), *(Answered(5.0 + n, n) for n in (0, 1, 2, 0, 1))]
    assert broken(events, Rules(agent_window=2, requester_window=3, links=1)) == [
        "2 duplicates, the bound is 0"
    ]
    assert verdict(events, Rules(agent_window=2, requester_window=3, links=2)).is_kept
    more = [*events, Answered(12, 2)]
    assert broken(more, Rules(2, 3, links=2)) == ["3 duplicates, the bound is 2"]


def test_a_restarted_broker_and_a_requester_that_sends_again_account_for_duplicates_of_their_own() -> None:
    events: list[Event] = [*asked(0, 1), *fault(0, Kind.BROKER_TERM, 5), Resent(5.5, 1)]
    events += [Answered(6, 0), Answered(6, 1), *(Answered(7, 0, is_again=True) for _ in range(4))]
    settled = verdict(events)
    assert settled.is_kept
    assert (settled.duplicates, settled.duplicates_of_broker, settled.duplicates_bound) == (4, 4, 4)
    assert broken([*events, Answered(8, 1)]) == ["5 duplicates, the bound is 4"]


def test_answers_out_of_order_between_two_faults_are_a_violation() -> None:
    settled = verdict([*asked(0, 1), Answered(5, 1), Answered(6, 0)])
    assert settled.disorders == 1
    assert [(one.what, one.request) for one in settled.violations] == [
        ("answered out of order between faults", 0)
    ]


def test_the_order_is_that_in_which_the_broker_took_the_requests() -> None:
    sent: list[Event] = [Sent(0, 0, "v5 tiny"), Sent(1, 1, "v5 tiny"), Confirmed(2, 1)]
    assert verdict([*sent, Answered(5, 1), Confirmed(6, 0), Answered(7, 0)]).is_kept
    assert verdict([*sent, Answered(5, 0), Confirmed(6, 0), Answered(7, 1)]).disorders == 1


def test_answers_of_two_models_or_requesters_may_overtake_each_other() -> None:
    events = [*asked(0), *asked(1, stream="v5 other"), Answered(5, 1), Answered(6, 0)]
    assert verdict(events).is_kept


def test_an_order_that_a_fault_broke_is_counted_and_no_violation() -> None:
    events = [*asked(0, 1, 2), Answered(4, 1), *fault(0, Kind.AGENT_KILL, 5), Answered(8, 0), Answered(9, 2)]
    settled = verdict(events)
    assert settled.is_kept
    assert (settled.disorders, settled.disorders_at_faults) == (0, 1)


def test_a_request_that_was_sent_twice_has_no_place_in_the_order() -> None:
    assert verdict([*asked(0, 1), Resent(2, 0), Answered(5, 1), Answered(6, 0)]).is_kept


def test_what_a_killed_broker_forgot_right_after_it_confirmed_is_the_brokers_loss() -> None:
    events = [*asked(0, 1), Answered(2, 0), *fault(0, Kind.BROKER_KILL, 2), Forgotten(2.5, 1)]
    settled = verdict(events)
    assert settled.is_kept
    assert (settled.lost, settled.lost_by_broker) == (0, 1)


def test_what_a_killed_broker_had_long_confirmed_and_no_longer_has_is_the_agents_loss() -> None:
    events = [*asked(0, 1), Answered(2, 0), *fault(0, Kind.BROKER_KILL, 9), Forgotten(9.5, 1)]
    settled = verdict(events)
    assert (settled.lost, settled.lost_by_broker) == (1, 0)
    assert [one.request for one in settled.violations] == [1]


def test_a_loss_near_a_killed_broker_that_did_not_forget_is_the_agents() -> None:
    events = [*asked(0, 1), Answered(2, 0), *fault(0, Kind.BROKER_KILL, 2)]
    assert (verdict(events).lost, verdict(events).lost_by_broker) == (1, 0)


@pytest.mark.parametrize(
    ("recovery_seconds", "expected"),
    [(1.9, []), (2.1, ["link reset: answers again after 2.1 s (p95), the bound is 2.0 s"])],
)
def test_a_recovery_is_held_to_its_bound(recovery_seconds: float, expected: list[str]) -> None:
    events = [*asked(0), Answered(1, 0), *fault(0, Kind.LINK_RESET, 5, recovery_seconds=recovery_seconds)]
    assert broken(events) == expected


def test_one_slow_recovery_of_forty_is_not_the_p95_and_three_are() -> None:
    def events(slow: int) -> list[Event]:
        return [
            event
            for index in range(40)
            for event in fault(
                index, Kind.LINK_CUT, 10.0 * index, recovery_seconds=3.0 if index < slow else 0.5
            )
        ]

    assert verdict(events(1)).is_kept
    assert broken(events(3)) == [
        "link cut, new ones refused: answers again after 3.0 s (p95), the bound is 2.0 s"
    ]


def test_a_fault_after_which_nothing_is_answered_and_a_dead_daemon_are_violations() -> None:
    assert broken(
        [*asked(0), Answered(1, 0), Began(2, 0, Kind.AGENT_STOP), Broken(3, "the daemon died")]
    ) == [
        "the daemon died",
        "no answer any more after fault 0: agent stopped for a while",
    ]


def test_the_history_of_a_request_has_its_own_events_and_the_faults_around_it() -> None:
    events = [*asked(0, 1), *fault(0, Kind.AGENT_KILL, 2), *fault(1, Kind.LINK_CUT, 500), Answered(5, 1)]
    lines = "\n".join(history(events, 1))
    assert "Sent(at=1, request=1" in lines
    assert "AGENT_KILL" in lines
    assert "request=0" not in lines
    assert "LINK_CUT" not in lines
