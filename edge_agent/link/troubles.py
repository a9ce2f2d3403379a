"""What is wrong although the link is up, gathered for ``health``, and when to wake its owner for it. Pure."""

from __future__ import annotations

from edge_agent.link.backoff import PEACE_SECONDS, SUSPECT_SECONDS, History
from edge_agent.link.canary import Canary
from edge_agent.link.denials import Denials, Purpose
from edge_agent.link.refusal import perhaps_taken_over, taken_over

_NEWS_SECONDS = 1.0
_NO_WAY_IN = "the broker does not deliver to us what is published to our topics (access list?)"


class Troubles:
    """Refusals, a canary that does not come back, and another client with our id.

    Args:
        tree: topic above all topics of this device; in words, no other topic is named.
        canary: proves the way in, or None.

    Attributes:
        history: of the connections.
        has_news: something changed; :meth:`news` tells whether it shows.
    """

    def __init__(self, tree: str, canary: Canary | None) -> None:
        self.history = History()
        self.has_news = False
        self._canary = canary
        self._denials = Denials(tree)
        self._told: tuple[str, ...] = ()
        self._told_at = -_NEWS_SECONDS

    def judge(self, purpose: Purpose, topic: str, fault: str | None) -> None:
        """The broker refuses something for good, or takes it (again)."""
        if fault is not None:
            self._denials.note(purpose, topic, fault)
            self.has_news = True
        elif self._denials:
            self._denials.clear(purpose, topic)
            self.has_news = True

    def begin(self) -> None:
        """A new connection, on which what was refused before is tried again."""
        self._denials.forget(Purpose.ANSWER, Purpose.REPORT, Purpose.SUBSCRIPTION)
        self.has_news = True

    def lines(self, client_id: str, age_seconds: float) -> tuple[str, ...]:
        """One line for each trouble, at most eleven.

        Args:
            client_id: ours.
            age_seconds: of this connection.
        """
        lines = self._denials.lines()
        if self._canary is not None and self._canary.is_broken:
            lines = (_NO_WAY_IN, *lines)
        if self.history.evictions and age_seconds < PEACE_SECONDS:
            lines = (taken_over(client_id), *lines)
        elif self.history.is_suspicious and age_seconds < SUSPECT_SECONDS:
            lines = (perhaps_taken_over(client_id), *lines)
        return lines

    def news(self, lines: tuple[str, ...], now: float) -> list[str] | None:
        """Lines that were not told before; None where nothing shows, or it was told less than a second ago.

        Args:
            lines: as :meth:`lines` gives them.
            now: monotonic seconds.
        """
        if now - self._told_at < _NEWS_SECONDS:
            return None
        self.has_news = False
        if lines == self._told:
            return None
        fresh = [line for line in lines if line not in self._told]
        self._told, self._told_at = lines, now
        return fresh
