"""The report of a run says what it must, and goes between its marks."""

from __future__ import annotations

from tests.chaos.driver import Outcome, Plan
from tests.chaos.ledger import Answered, Began, Confirmed, Event, Recovered, Rules, Sent, Whole, settle
from tests.chaos.report import one_line, put_section, section, table, violations
from tests.chaos.schedule import Kind, make_schedule


def outcome(*, loses: bool) -> Outcome:
    """A run of two requests and one fault, in which the second may be lost."""
    plan = Plan(2, 1, 9)
    events: list[Event] = [Sent(0, 0, "v5 tiny"), Confirmed(1, 0), Answered(2, 0)]
    events += [Began(3, 0, Kind.LINK_CUT), Sent(4, 1, "v5 tiny"), Confirmed(5, 1), Whole(6, 0, 5.0)]
    events += [] if loses else [Answered(7, 1)]
    events += [Recovered(7, 0)]
    return Outcome(
        plan=plan,
        schedule=make_schedule(9, 2, 1),
        events=tuple(events),
        verdict=settle(events, Rules(10, 10, 1)),
        skipped={Kind.DISK_FULL: "nothing may be mounted"},
        start_seconds=1.0,
        seconds=2.0,
        daemon_log="",
    )


def test_a_good_run_is_one_line_and_a_table_without_violations() -> None:
    good = outcome(loses=False)
    assert one_line(good).endswith("every promise kept")
    assert violations(good) == ""
    assert "| **lost by the agent** | **0** |" in table(good)
    assert "| link cut, new ones refused | 1 | 1.00 | 1.00 | 1.00 | 5.0 |" in table(good)
    assert "disk full, because nothing may be mounted" in table(good)


def test_a_violation_comes_with_the_command_the_faults_and_the_history_of_its_request() -> None:
    bad = outcome(loses=True)
    words = violations(bad)
    assert one_line(bad).endswith("1 VIOLATIONS")
    assert words.startswith("python -m tests.chaos --requests 2 --faults 1 --seed 9")
    assert str(bad.schedule[0]) in words
    assert "VIOLATION: confirmed and never answered, request 1" in words
    assert "Sent(at=4, request=1" in words
    assert "Began(at=3" in words
    assert "request=0" not in words


def test_a_section_replaces_what_stood_between_the_marks_and_nothing_else() -> None:
    text = section(outcome(loses=False))
    document = "before\n<!-- ledger -->\nold\n<!-- end of the ledger -->\nafter\n"
    once = put_section(document, text)
    assert once.startswith("before\n<!-- ledger -->\nA run of medium length, not the long one: `python -m")
    assert once.endswith("<!-- end of the ledger -->\nafter\n")
    assert "old" not in once
    assert put_section(once, text) == once
    assert put_section("no marks", text) == text + "\n"
