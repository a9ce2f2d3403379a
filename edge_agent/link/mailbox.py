"""Keeps what one connection tells until somebody looks: for those that wait for it in the same thread."""

from __future__ import annotations

from edge_agent.link.connection import Connection
from edge_agent.link.protocol import Accepted, Incoming


class Mailbox:
    """A :class:`~edge_agent.link.protocol.Listener`; what it brings is acknowledged at once.

    Attributes:
        connection: whose mailbox it is, to acknowledge there; set once the connection is made.
        accepted: what the broker grants; None until it let us in.
        subscribed: SUBACKs that came.
        fault: why the broker refused something last, or why the link was lost, in words.
        may_be_protocol: it refused the protocol, or hung up on it without a word.
    """

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.accepted: Accepted | None = None
        self.subscribed = 0
        self.fault: str | None = None
        self.may_be_protocol = False
        self._messages: list[Incoming] = []
        self._confirmed: list[tuple[object, str | None]] = []

    def take(self) -> list[Incoming]:
        """Messages that came since this was asked last."""
        taken, self._messages = self._messages, []
        return taken

    def take_confirmed(self) -> list[tuple[object, str | None]]:
        """Tokens of what the broker has confirmed since this was asked last, each with why it refused it."""
        taken, self._confirmed = self._confirmed, []
        return taken

    def on_accepted(self, accepted: Accepted) -> None:
        """The broker let us in."""
        self.accepted = accepted

    def on_refused(self, reason: str, wrong_protocol: bool) -> None:
        """The broker does not let us in."""
        self.fault, self.may_be_protocol = reason, wrong_protocol

    def on_subscribed(self, fault: str | None) -> None:
        """The broker has answered a SUBSCRIBE."""
        self.subscribed += 1
        self.fault = fault

    def on_message(self, message: Incoming) -> None:
        """A message came."""
        self._messages.append(message)
        if message.qos and self.connection is not None:
            self.connection.acknowledge(message.mid)

    def on_confirmed(self, token: object, fault: str | None) -> None:
        """The broker has a message of ours, or refuses it."""
        self._confirmed.append((token, fault))

    def on_lost(self, reason: str) -> None:
        """The link is gone; what was said before says more of why."""
        if self.accepted is None and self.fault is None:
            self.may_be_protocol = True
        self.fault = self.fault or reason
