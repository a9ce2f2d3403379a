"""What a run says about itself: one line, the ledger as a table, and the history of what was violated."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter

from tests.chaos.driver import KEEPALIVE_SECONDS, QUEUE_SIZE, RECONNECT_MAX_SECONDS, Outcome
from tests.chaos.ledger import Verdict, history

_MOST_VIOLATIONS = 5
_LONG_REQUESTS, _LONG_FAULTS = 200_000, 500


def one_line(outcome: Outcome) -> str:
    """The run in one line."""
    verdict = outcome.verdict
    return (
        f"chaos: seed {outcome.plan.seed}, {verdict.sent} requests, {verdict.faults} faults, "
        f"{verdict.lost} lost, {verdict.lost_by_broker} lost by the broker, {verdict.wrong} wrong, "
        f"{verdict.duplicates} duplicates (bound {verdict.duplicates_bound}), "
        f"{verdict.disorders} out of order, {outcome.seconds:.0f} s: "
        f"{'every promise kept' if verdict.is_kept else f'{len(verdict.violations)} VIOLATIONS'}"
    )


def table(outcome: Outcome) -> str:
    """The ledger in Markdown."""
    verdict = outcome.verdict
    rows = "\n".join(f"| {what} | {count} |" for what, count in _counts(verdict))
    recoveries = "\n".join(
        f"| {one.kind.value} | {one.faults} | {one.median:.2f} | {one.p95:.2f} | {one.worst:.2f} "
        f"| {one.bound:.1f} |"
        for one in verdict.recoveries
    )
    skipped = "".join(
        f"\nNot brought about on this machine: {kind.value}, because {why}.\n"
        for kind, why in outcome.skipped.items()
    )
    return (
        f"| | |\n|---|---|\n{rows}\n\n"
        f"Seconds from the moment that all was whole again to the first answer to a request sent after it. "
        f"The longest pause between two attempts was set to {RECONNECT_MAX_SECONDS:g} s, the keep-alive to "
        f"{KEEPALIVE_SECONDS} s and the queue to {QUEUE_SIZE}; the first start of the daemon took "
        f"{outcome.start_seconds:.1f} s.\n\n"
        f"| fault | times | median | p95 | worst | bound |\n|---|---|---|---|---|---|\n"
        f"{recoveries}\n{skipped}"
    )


def machine() -> str:
    """The machine, and how busy it is with other work, too."""
    load = os.getloadavg()[1]
    return f"{platform.machine()} with {os.cpu_count()} cores (load of all that ran there: {load:.1f})"


def command(outcome: Outcome) -> str:
    """What repeats the run."""
    plan = outcome.plan
    return (
        f"python -m tests.chaos --requests {plan.requests} --faults {plan.faults} --seed {plan.seed} "
        f"--rate {plan.per_second:g}"
    )


def section(outcome: Outcome) -> str:
    """The ledger with its date, its command and its machine."""
    plan = outcome.plan
    is_long = plan.requests >= _LONG_REQUESTS and plan.faults >= _LONG_FAULTS
    what = "The long run" if is_long else "A run of medium length, not the long one"
    return (
        f"{what}: `{command(outcome)}`, {time.strftime('%Y-%m-%d', time.gmtime())}, "
        f"{outcome.seconds:.0f} s on {machine()}, Mosquitto as installed.\n\n{table(outcome)}"
    )


def put_section(document: str, section: str, name: str = "ledger") -> str:
    """The document with the section between the marks of its name; the section alone where there are none."""
    first, last = f"<!-- {name} -->", f"<!-- end of the {name} -->"
    before, begin, rest = document.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        return f"{section}\n"
    return f"{before}{first}\n{section.strip()}\n{last}{after}"


def violations(outcome: Outcome) -> str:
    """Seed, faults and the history of each request to which a promise was broken; empty where none was."""
    verdict = outcome.verdict
    if verdict.is_kept:
        return ""
    lines = [
        command(outcome),
        *(str(fault) for fault in outcome.schedule),
    ]
    kinds = Counter(one.what for one in verdict.violations)
    lines += [f"{count} × {what}" for what, count in kinds.items()]
    for one in verdict.violations[:_MOST_VIOLATIONS]:
        lines.append(f"VIOLATION: {one.what}" + ("" if one.request is None else f", request {one.request}"))
        if one.request is not None:
            lines += history(outcome.events, one.request)
    return "\n".join(lines)


def _counts(verdict: Verdict) -> list[tuple[str, object]]:
    errors = ", ".join(f"{code} {count}" for code, count in sorted(verdict.errors.items())) or "none"
    return [
        ("requests sent", verdict.sent),
        ("confirmed by the broker", verdict.confirmed),
        ("of these answered rightly at least once", verdict.answered),
        ("**lost by the agent**", f"**{verdict.lost}**"),
        ("lost by the killed broker, which had confirmed and not yet saved them", verdict.lost_by_broker),
        ("wrong answers", verdict.wrong),
        ("error answers", errors),
        ("faults", verdict.faults),
        ("links of the agent that broke", verdict.links - 1),
        ("duplicate answers", verdict.duplicates),
        ("… of these marked by the broker as its own", verdict.duplicates_of_broker),
        ("… at most, by what was in flight", verdict.duplicates_bound),
        ("requests that the requester's client had to send again", verdict.resent),
        ("out of order between faults", verdict.disorders),
        ("out of order across a fault", verdict.disorders_at_faults),
    ]
