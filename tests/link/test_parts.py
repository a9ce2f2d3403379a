"""The link's pure parts: what is refused, the canary, retained state, what is owed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.backoff import History
from edge_agent.link.canary import Canary
from edge_agent.link.denials import Denials, Purpose
from edge_agent.link.owed import Owed
from edge_agent.link.protocol import Delivery, Incoming
from edge_agent.link.state import StateBook
from edge_agent.link.troubles import Troubles

TREE = "edge-agent/pi"


def delivery(mid: int, size: int = 1) -> Delivery:
    return Delivery(Incoming("t", b"x" * size, 1, False, mid, None, None, None, None, None), 1, 0.0)


def test_a_refusal_names_our_own_tree_and_nothing_that_a_stranger_chose() -> None:
    denials = Denials(TREE)
    denials.note(Purpose.ANSWER, f"{TREE}/out/home", "Not authorized")
    denials.note(Purpose.ANSWER, f"{TREE}/out/home/secret-of-a-caller", "Not authorized")
    denials.note(Purpose.ANSWER, "somebody/else", "Not authorized")
    denials.note(Purpose.STATE, f"{TREE}/cmd/say hello/1", "Quota exceeded")
    assert denials.lines() == (
        "answers to out/home: Not authorized",
        "answers to out/home/…: Not authorized",
        "answers to a topic of another tree: Not authorized",
        "retained state on cmd/…/…: Quota exceeded",
    )


def test_a_refusal_goes_when_the_same_topic_is_taken() -> None:
    denials = Denials(TREE)
    denials.note(Purpose.STATE, f"{TREE}/health", "Not authorized")
    denials.clear(Purpose.STATE, f"{TREE}/info")
    denials.clear(Purpose.ANSWER, f"{TREE}/health")
    assert denials.lines() == ("retained state on health: Not authorized",)
    denials.clear(Purpose.STATE, f"{TREE}/health")
    assert not denials


@given(st.lists(st.text(max_size=8), max_size=120))
def test_the_list_of_refusals_is_bounded_whatever_is_refused(names: list[str]) -> None:
    denials = Denials(TREE)
    for name in names:
        denials.note(Purpose.ANSWER, f"{TREE}/{name}", "x")
    lines = denials.lines()
    assert len(lines) <= 9
    assert all(len(line) < 300 for line in lines)


def test_a_canary_that_comes_back_proves_the_way_in() -> None:
    canary = Canary("c", period=300, broken_period=30, patience=10, make_nonce=lambda: "n")
    canary.begin(0.0)
    assert canary.next_round(0.0) == b"n"
    assert canary.next_round(1.0) is None
    assert not canary.heard(b"other", 1.0)
    assert canary.heard(b"n", 2.0)
    assert not canary.heard(b"n", 2.5), "once"
    assert (canary.is_broken, canary.wait_seconds(2.0)) == (False, 300.0)


def test_a_canary_that_stays_away_is_sent_again_sooner() -> None:
    canary = Canary("c", period=300, broken_period=30, patience=10, make_nonce=lambda: "n")
    canary.begin(0.0)
    canary.next_round(0.0)
    canary.look(9.0, is_proven=False, is_busy=False)
    assert not canary.is_broken
    canary.look(10.0, is_proven=False, is_busy=False)
    assert (canary.is_broken, canary.wait_seconds(10.0)) == (True, 30.0)
    assert canary.next_round(40.0) == b"n"
    assert canary.heard(b"n", 41.0)
    assert not canary.is_broken


def test_a_canary_that_waits_behind_requests_proves_nothing_yet() -> None:
    canary = Canary("c", patience=10)
    canary.begin(0.0)
    canary.next_round(0.0)
    canary.look(10.0, is_proven=False, is_busy=True)
    assert (canary.is_broken, canary.wait_seconds(10.0)) == (False, 10.0)
    canary.look(20.0, is_proven=True, is_busy=True)
    assert (canary.is_broken, canary.wait_seconds(20.0)) == (False, 300.0)


def test_state_under_way_is_followed_by_the_newest_only() -> None:
    book = StateBook()
    book.note("t", b"1")
    first = book.next("t")
    assert first is not None
    for payload in (b"2", b"3"):
        book.note("t", payload)
        assert book.next("t") is None
    assert book.ended(first)
    second = book.next("t")
    assert second is not None
    assert second.payload == b"3"
    assert not book.ended(second)
    assert not book.ended(first), "of an earlier connection"


def test_cleared_state_is_forgotten_once_the_broker_knows() -> None:
    book = StateBook()
    book.note("t", b"")
    token = book.next("t")
    assert token is not None
    book.lost()
    assert book.topics() == ["t"], "the broker may not have it"
    token = book.next("t")
    assert token is not None
    assert not book.ended(token)
    assert book.topics() == []


def test_retracted_state_is_not_published_again() -> None:
    book = StateBook()
    book.note("t", b"1")
    token = book.next("t")
    assert token is not None
    book.forget("t")
    assert not book.ended(token)
    assert book.topics() == []


@given(st.permutations(range(8)))
def test_acknowledgements_leave_in_the_order_of_receipt(order: list[int]) -> None:
    owed = Owed(100, 1000)
    held = [delivery(mid) for mid in range(8)]
    assert all(owed.add(one) for one in held)
    sent: list[int] = []
    for index in order:
        held[index].settled = True
        sent += owed.settled()
    assert sent == list(range(8))
    assert len(owed) == 0


def test_what_is_owed_is_bounded_in_number_and_bytes() -> None:
    owed = Owed(2, 1000)
    assert [owed.add(delivery(mid)) for mid in range(3)] == [True, True, False]
    large = Owed(100, 1000)
    assert [large.add(delivery(mid, 600)) for mid in range(3)] == [True, True, False]
    large.clear()
    assert large.add(delivery(9))


def test_news_of_troubles_is_told_once_and_not_more_often_than_each_second() -> None:
    troubles = Troubles(TREE, None)
    troubles.judge(Purpose.STATE, f"{TREE}/health", "x")
    lines = troubles.lines("id", 0.0)
    assert troubles.news(lines, 5.0) == list(lines)
    troubles.judge(Purpose.STATE, f"{TREE}/info", "x")
    assert troubles.news(troubles.lines("id", 0.0), 5.5) is None
    assert troubles.has_news
    assert troubles.news(troubles.lines("id", 0.0), 6.5) == ["retained state on info: x"]
    assert not troubles.has_news


def test_an_eviction_is_named_while_the_peace_is_young() -> None:
    troubles = Troubles(TREE, None)
    troubles.history = History(evictions=1)
    assert "another client took over the id id" in troubles.lines("id", 30.0)[0]
    assert troubles.lines("id", 700.0) == ()
