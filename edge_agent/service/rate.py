"""How fast one topic may bring requests: a token bucket for each. Pure; the clock is given.

A bucket holds up to ``burst`` tokens and gains ``per_second`` of them a second; a request takes one (RFC 2697
calls them tokens and committed burst size). It bounds what one client costs the others where each writes to
a topic of its own, which the broker's access list must see to: who may invent topics gets a bucket for each.
"""

from __future__ import annotations

from collections import OrderedDict

_LONGEST_KEY = 128


class RateLimiter:
    """Buckets by topic, of the latest topics only.

    Args:
        per_second: requests a second that a topic may bring for long, more than 0.
        burst: requests that it may bring at once, at least 1.
        most_topics: buckets kept; beyond, the one that was used longest ago is forgotten, that is full again.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, per_second: float, burst: int, most_topics: int = 1024) -> None:
        if not 0 < per_second < float("inf") or burst < 1 or most_topics < 1:
            raise ValueError("a rate is above 0, and a burst and the number of topics at least 1")
        self._per_second = per_second
        self._burst = float(burst)
        self._most_topics = most_topics
        self._buckets: OrderedDict[str | int, tuple[float, float]] = OrderedDict()

    def allows(self, topic: str, now: float) -> bool:
        """Whether a request on this topic may go on; if so, it has taken its token.

        Args:
            topic: as the message names it.
            now: monotonic clock, seconds.
        """
        key = topic if len(topic) <= _LONGEST_KEY else hash(topic)
        tokens, since = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - since) * self._per_second)
        is_allowed = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if is_allowed else tokens, now)
        if len(self._buckets) > self._most_topics:
            self._buckets.popitem(last=False)
        return is_allowed

    def __len__(self) -> int:
        return len(self._buckets)
