"""The link's own loop-back: does the broker bring us what is published to our topics? Pure.

A broker may grant a subscription and then deliver nothing: Mosquitto applies its access list at delivery, and
a publication that is refused is confirmed all the same on MQTT 3.1.1. So a number used once goes out on a
topic of our own now and then, and has to come back.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex


class Canary:
    """One number under way at a time; times in seconds of one clock.

    Args:
        topic: where to and from.
        period: between two rounds.
        broken_period: between two rounds while none came back.
        patience: within which it must be back.
        make_nonce: makes the numbers.

    Attributes:
        topic: as given.
        is_broken: the last one did not come back.
    """

    def __init__(
        self,
        topic: str,
        *,
        period: float = 300.0,
        broken_period: float = 30.0,
        patience: float = 10.0,
        make_nonce: Callable[[], str] = lambda: token_hex(8),
    ) -> None:
        self.topic = topic
        self.is_broken = False
        self._period = period
        self._broken_period = broken_period
        self._patience = patience
        self._make_nonce = make_nonce
        self._nonce: bytes | None = None
        self._next = 0.0

    def begin(self, now: float) -> None:
        """A new connection: the next round is due, and what was under way is void."""
        self._nonce, self._next = None, now

    def next_round(self, now: float) -> bytes | None:
        """What to publish now; None while it is not the time."""
        if self._nonce is not None or now < self._next:
            return None
        self._nonce, self._next = self._make_nonce().encode(), now + self._patience
        return self._nonce

    def heard(self, payload: bytes, now: float) -> bool:
        """Whether this is the number that is under way; if so, all is well."""
        if self._nonce is None or payload != self._nonce:
            return False
        self._end(now, is_broken=False)
        return True

    def look(self, now: float, *, is_proven: bool, is_busy: bool) -> None:
        """Ends a round that took too long.

        Args:
            now: time.
            is_proven: something else arrived meanwhile, so there is a way in.
            is_busy: the broker or we hold messages back, so that nothing can be said yet.
        """
        if self._nonce is None or now < self._next:
            return
        if is_proven:
            self._end(now, is_broken=False)
        elif is_busy:
            self._next = now + self._patience
        else:
            self._end(now, is_broken=True)

    def wait_seconds(self, now: float) -> float:
        """Until something is to be done."""
        return max(0.0, self._next - now)

    def _end(self, now: float, *, is_broken: bool) -> None:
        self._nonce, self.is_broken = None, is_broken
        self._next = now + (self._broken_period if is_broken else self._period)
