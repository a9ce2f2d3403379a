"""How long to wait before the next connection attempt. Pure.

Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015): a uniformly random
pause below an exponentially growing limit, so that a fleet that lost its broker together does not come
back together.
"""

from __future__ import annotations

STABLE_SECONDS = 10.0


def pause_seconds(attempt: int, *, base: float, cap: float, fraction: float) -> float:
    """The pause before an attempt.

    Args:
        attempt: failures in a row so far, 0 for the first pause.
        base: limit of the first pause, seconds.
        cap: limit of every pause, seconds.
        fraction: a random number in [0, 1).
    """
    return fraction * min(cap, base * 2.0 ** min(attempt, 32))


def failures_after(failures: int, lasted_seconds: float) -> int:
    """Failures in a row after a connection ended that lasted this long.

    A link that came up and broke at once (two devices with one name evict each other so) still counts.
    """
    return 0 if lasted_seconds >= STABLE_SECONDS else failures + 1
