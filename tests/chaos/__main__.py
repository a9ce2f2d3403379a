"""``python -m tests.chaos``: one run, its ledger, and exit status 1 where a promise was broken."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.driver import Plan, run
from tests.chaos.report import one_line, put_section, section, table, violations


def main() -> int:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second, at most")
    parser.add_argument(
        "--report", type=Path, help="Markdown file that takes the ledger, between its marks where it has them"
    )
    arguments = parser.parse_args()
    plan = Plan(arguments.requests, arguments.faults, arguments.seed, arguments.rate)
    outcome = run(plan, _tell)
    _tell(table(outcome))
    found = violations(outcome)
    if found:
        _tell(found)
        _tell(outcome.daemon_log[-20_000:])
    if arguments.report is not None:
        before = arguments.report.read_text(encoding="utf-8") if arguments.report.exists() else ""
        arguments.report.write_text(put_section(before, section(outcome)), encoding="utf-8")
    _tell(one_line(outcome))
    return 0 if outcome.verdict.is_kept else 1


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
