"""The short run: 2,000 requests under 20 faults, none lost."""

from __future__ import annotations

import pytest

from tests.chaos.driver import Plan, run
from tests.chaos.report import one_line, table, violations
from tests.chaos.schedule import Kind

PLAN = Plan(requests=2000, faults=20, seed=164)


@pytest.mark.slow
def test_no_confirmed_request_is_lost_under_twenty_faults(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(PLAN)
    with capsys.disabled():
        print(f"\n{one_line(outcome)}")  # noqa: T201
        for kind, why in outcome.skipped.items():
            print(f"skipped: {kind.value}: {why}")  # noqa: T201
    assert outcome.verdict.is_kept, f"{violations(outcome)}\n{outcome.daemon_log[-10_000:]}"
    assert outcome.verdict.sent == outcome.verdict.confirmed == PLAN.requests
    assert (
        outcome.verdict.faults + sum(one.kind in outcome.skipped for one in outcome.schedule) == PLAN.faults
    )
    assert {fault.kind for fault in outcome.schedule} == set(Kind)
    assert "**lost by the agent** | **0**" in table(outcome)
