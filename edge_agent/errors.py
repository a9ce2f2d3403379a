"""Every error that this package raises on purpose.

The peer's fault and our own are separate branches, because they are answered differently: a request's
fault becomes an error payload on MQTT, a bundle's fault takes one model out of service, a settings
fault ends the program with a hint. Foreign exceptions are wrapped once, at the edge where they arise,
with ``raise … from``.

    EdgeAgentError
    ├── RequestError            the sender's fault or our overload; has an ErrorCode (PROTOCOL §1)
    ├── BundleError             a bundle that is missing, altered, foreign or unknown: exit code 3
    │   ├── GoldenError         a bundle that is intact and answers wrongly on this machine
    │   └── UpdateError         an update refused, or not possible now (edge_agent.update.refusal)
    ├── RuntimeFailure          the TFLite runtime is absent, cannot load the file, or failed on a call
    ├── SettingsError           settings or usage: exit code 2
    ├── BrokerError             the broker cannot be reached or refused us: exit code 5
    ├── DataError               training data or a recipe that cannot be used: exit code 2
    └── GateError               a trained model misses a gate of its recipe: exit code 1
"""

from __future__ import annotations

from enum import Enum


class ErrorCode(str, Enum):
    """The error codes of PROTOCOL §1, as they stand on the wire."""

    BAD_PAYLOAD = "bad_payload"
    BAD_ENCODING = "bad_encoding"
    EMPTY_TEXT = "empty_text"
    TOO_LARGE = "too_large"
    UNKNOWN_MODEL = "unknown_model"
    EXPIRED = "expired"
    OVERLOADED = "overloaded"
    MODEL_UNAVAILABLE = "model_unavailable"
    INTERNAL = "internal"


class EdgeAgentError(Exception):
    """Base of all errors of this package.

    Args:
        message: one line in words, without the user's text.
        hint: what to do about it, one line, or None.
    """

    exit_code = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RequestError(EdgeAgentError):
    """A request that cannot be answered with a result; its code goes to the requester."""

    exit_code = 1

    def __init__(self, code: ErrorCode, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class BundleError(EdgeAgentError):
    """A model bundle that is missing, truncated, altered, foreign or of an unknown format."""

    exit_code = 3


class GoldenError(BundleError):
    """An intact bundle whose golden sentences do not come out right on this machine."""


class RuntimeFailure(EdgeAgentError):
    """The TFLite runtime is absent, refuses the file, or failed while it ran."""

    exit_code = 1


class SettingsError(EdgeAgentError):
    """Wrong settings or usage."""

    exit_code = 2


class BrokerError(EdgeAgentError):
    """The broker cannot be reached, or it refused us."""

    exit_code = 5


class DataError(EdgeAgentError):
    """Training data or a recipe that cannot be used."""

    exit_code = 2


class GateError(EdgeAgentError):
    """A trained model that misses a gate of its recipe; it is not written."""

    exit_code = 1
