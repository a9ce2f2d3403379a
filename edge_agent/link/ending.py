"""How a connection ended, in words and for the count, and which MQTT the next one speaks. Pure.

MQTT 5 comes first on every attempt; 3.1.1 only right after the broker refused 5. Brokers that know only 3.1.1
say so, or hang up at an MQTT 5 CONNECT. But a broker that restarts behind a proxy hangs up without an answer,
too, and a request of MQTT 5 that is delivered over 3.1.1 has lost its response topic, so that its answer goes
astray. So a mere hang-up counts only when it comes again and again (decision 0010).
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.link.backoff import Outcome
from edge_agent.link.protocol import MQTT_3_1_1, MQTT_5
from edge_agent.link.refusal import MUTE_HINT, Kind, Refusal

FLOODED = "the broker sends more than we can hold"
_HANG_UPS_OF_3_1_1 = 3


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of a connection that has ended.

    Attributes:
        protocol: ``MQTT_5`` or ``MQTT_3_1_1``.
        came_up: it served.
        was_answered: the broker said yes or no.
        refusal: the broker's reason, or None.
        loss: why the link is gone, in words.
        hint: what helps against it, where that is known.
    """

    protocol: int
    came_up: bool
    was_answered: bool
    refusal: Refusal | None
    loss: str | None
    hint: str | None

    @property
    def outcome(self) -> Outcome:
        """How it is to be counted."""
        refusal, is_v5 = self.refusal, self.protocol == MQTT_5
        if refusal is None:
            if self.came_up:
                return Outcome.DISMISSED if self.loss == FLOODED else Outcome.LOST
            is_mute = not self.was_answered and self.hint is None
            return Outcome.WRONG_PROTOCOL if is_mute and is_v5 else Outcome.UNREACHABLE
        if refusal.kind is Kind.WRONG_PROTOCOL and is_v5 and not self.came_up:
            return Outcome.WRONG_PROTOCOL
        if refusal.kind is Kind.TAKEN_OVER:
            return Outcome.TAKEN_OVER
        is_for_a_message = self.came_up and refusal.kind in (Kind.TOO_LARGE, Kind.NOT_ALLOWED)
        if refusal.kind.is_lasting and not is_for_a_message:
            return Outcome.DENIED
        return Outcome.DISMISSED if self.came_up else Outcome.REFUSED

    @property
    def words(self) -> tuple[str, str | None]:
        """Why it did not come up, and what to do about it."""
        if self.refusal is not None:
            return f"the broker refused the connection: {self.refusal.words}", self.refusal.hint
        return f"the broker hung up without an answer: {self.loss}", self.hint or MUTE_HINT


class Dialect:
    """Learns from each ending which MQTT the broker speaks."""

    def __init__(self) -> None:
        self._hang_ups = 0
        self._knows_5 = False

    def judge(self, ending: Ending) -> Outcome:
        """The outcome; a mere hang-up is a refusal of MQTT 5 only when it has come often enough."""
        outcome = ending.outcome
        if ending.was_answered:
            self._hang_ups = 0
            self._knows_5 = self._knows_5 or (ending.came_up and ending.protocol == MQTT_5)
        elif outcome is Outcome.WRONG_PROTOCOL:
            self._hang_ups += 1
            if self._knows_5 or self._hang_ups < _HANG_UPS_OF_3_1_1:
                return Outcome.UNREACHABLE
        return outcome


def next_protocol(protocol: int, outcome: Outcome) -> int:
    """What the next attempt speaks, after one in this protocol."""
    return MQTT_3_1_1 if protocol == MQTT_5 and outcome is Outcome.WRONG_PROTOCOL else MQTT_5
