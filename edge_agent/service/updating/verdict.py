"""What a proof may take, what it measured, and what its end means. Pure.

What counts as whose fault, and whether the candidate is tried again by itself (``CONDEMNING`` of
:mod:`~edge_agent.update.refusal`):

    what happened                                         reason              tried again
    a golden sentence came out differently, a crash       failed_its_proof    no
    latency or processor time over the limit              too_slow_here       no
    its memory, or the child's, over the limit            too_big_here        no
    too many shadow sentences answered differently        disagrees           no
    no end within the time on the wall                    took_too_long       yes: the board may be busy
    the board ran out of memory, or the kernel killed it  no_memory           yes: others may have it
    somebody stopped it                                   interrupted         yes

A busy board condemns nobody: latency and endless loops are measured in processor time of the child.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from edge_agent.update.refusal import Reason, UpdateError

if TYPE_CHECKING:
    from edge_agent.settings.update_sections import UpdatesSettings

MB: Final = 1_000_000
_LONGEST_MESSAGE: Final = 400
_ASKED_TO_END: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


class Bounds(Protocol):
    """What an order says of a proof, without the daemon's settings."""

    @property
    def memory_bytes(self) -> int: ...  # noqa: D102
    @property
    def max_latency_ms(self) -> float: ...  # noqa: D102
    @property
    def max_model_mb(self) -> int: ...  # noqa: D102
    @property
    def min_agreement(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ProofLimits:
    """What a proof may take, and what the candidate must reach.

    Attributes:
        wall_seconds: until the child is ended, by the clock on the wall.
        cpu_seconds: processor time of the child; the shadow has time of its own beside both.
        memory_bytes: most memory of the child, Python and the runtime included.
        max_latency_ms: median over the golden sentences.
        max_model_mb: memory that loading the model and answering with it takes, MB of 10⁶ bytes.
        min_agreement: share of the shadow sentences, 0..1.
    """

    wall_seconds: float = 180.0
    cpu_seconds: int = 120
    memory_bytes: int = 1024 * MB
    max_latency_ms: float = 1000.0
    max_model_mb: int = 512
    min_agreement: float = 0.9

    @classmethod
    def of(cls, bounds: Bounds) -> ProofLimits:
        """From an order of the daemon's."""
        return cls(
            memory_bytes=bounds.memory_bytes,
            max_latency_ms=bounds.max_latency_ms,
            max_model_mb=bounds.max_model_mb,
            min_agreement=bounds.min_agreement,
        )

    @classmethod
    def from_settings(cls, updates: UpdatesSettings) -> ProofLimits:
        """From the section ``updates``."""
        return cls(
            memory_bytes=updates.max_memory_mb * MB,
            max_latency_ms=updates.max_latency_ms,
            max_model_mb=updates.max_model_mb,
            min_agreement=updates.shadow_agreement,
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What the child measured.

    Attributes:
        runtime: name and version of the runtime that computed.
        latency_ms: median over golden sentences (at most 64 of them); of each sentence the best of a few
            rounds, and of each round the lesser of wall-clock and processor time, milliseconds.
        model_bytes: highest VmRSS (VmHWM) while the model was loaded and answered, less VmRSS before, with
            Python, NumPy and the runtime's library in memory already: private pages, and what is touched of
            the mapped file.
        asked: shadow sentences.
        agreed: of them, those that were answered as the old model did.
    """

    runtime: str
    latency_ms: float
    model_bytes: int
    asked: int
    agreed: int

    def fault(self, limits: ProofLimits) -> UpdateError | None:
        """Why the candidate is refused, or None."""
        if not self.latency_ms <= limits.max_latency_ms:  # nor may it be no number
            return UpdateError(
                Reason.TOO_SLOW_HERE,
                f"the model takes {self.latency_ms:.3g} ms for a golden sentence, "
                f"where {limits.max_latency_ms:g} ms are allowed",
                hint="a smaller model, or a higher updates.max_latency_ms",
            )
        if self.model_bytes > limits.max_model_mb * MB:
            return UpdateError(
                Reason.TOO_BIG_HERE,
                f"the model takes {self.model_bytes / MB:.0f} MB of memory while it serves, "
                f"where {limits.max_model_mb} MB are allowed",
                hint="a smaller model, or a higher updates.max_model_mb",
            )
        if self.asked and self.agreed / self.asked < limits.min_agreement:
            return UpdateError(
                Reason.DISAGREES,
                f"the model answers {self.agreed} of the latest {self.asked} sentences as the old one did, "
                f"where {limits.min_agreement:.0%} are asked for",
            )
        return None


def reason_of_end(code: int, limits: ProofLimits) -> UpdateError:
    """Why a child ended without an answer.

    Args:
        code: its exit code, or the number of the signal that ended it, negated.
        limits: that it ran under.
    """
    if code > 0:
        return UpdateError(Reason.PROOF, f"the proof ended with exit code {code}")
    if -code == signal.SIGXCPU:
        return UpdateError(
            Reason.TOO_SLOW_HERE,
            f"the model took more than {limits.cpu_seconds} s of processor time to load and to answer",
        )
    if -code == signal.SIGKILL:
        return UpdateError(
            Reason.NO_MEMORY,
            "the process that proves the model was killed, as the kernel does where memory is short",
            hint="end what else runs here, or take a smaller model",
        )
    if -code in _ASKED_TO_END:
        return UpdateError(Reason.INTERRUPTED, f"the proof was stopped ({_signal_name(-code)})")
    return UpdateError(Reason.PROOF, f"the model ended the process that loaded it ({_signal_name(-code)})")


def read_proof(printed: bytes) -> Proof:
    """What the child told; it ran foreign code, so that anything may stand there.

    Raises:
        UpdateError: it says that the candidate is refused, or it makes no sense.
    """
    try:
        told: dict[str, Any] = json.loads(printed)
        if "refused" in told:
            raise UpdateError(Reason(told["reason"]), _one_line(told["refused"]))
        return Proof(
            runtime=_one_line(told["runtime"]),
            latency_ms=float(told["latency_ms"]),
            model_bytes=int(told["model_bytes"]),
            asked=int(told["asked"]),
            agreed=int(told["agreed"]),
        )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UpdateError(Reason.PROOF, "the proof ended without a word") from error


def _one_line(text: object) -> str:
    words = " ".join(str(text).split())[:_LONGEST_MESSAGE]
    return "".join(character for character in words if character.isprintable())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
