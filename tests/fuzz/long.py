"""Millions of hostile requests through parsing and the worker, in one process and one thread of inputs.

``python -m tests.fuzz.long --inputs 5000000 --seed 1`` says how far it is and what the inputs came to; the
first one that raises, hangs, or has no answer or two ends it with a traceback that shows the input. The same
seed gives the same inputs, so ``--skip`` goes straight to one.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter

from tests.fuzz.inputs import Inputs
from tests.fuzz.stand import Stand

_BATCH = 500
_TELL_EVERY = 200


def main(argv: list[str] | None = None) -> int:
    """Runs; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.long", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5_000_000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs")
    parser.add_argument("--skip", type=int, default=0, help="inputs that are made and not sent")
    arguments = parser.parse_args(argv)
    outcomes = run(arguments.inputs, arguments.seed, arguments.skip)
    _tell(f"seed {arguments.seed}: {_told(outcomes)}")
    return 0


def run(inputs: int, seed: int, skip: int = 0) -> Counter[str]:
    """Sends inputs; returns what they came to.

    Raises:
        AssertionError: one of them was not answered as PROTOCOL §1 says.
    """
    outcomes: Counter[str] = Counter()
    stream = Inputs(seed)
    for _ in range(skip):
        stream.next()
    begun = time.monotonic()
    with Stand() as stand:
        for batch in range(0, inputs, _BATCH):
            cases = [stream.next() for _ in range(min(_BATCH, inputs - batch))]
            try:
                outcomes += stand.ask(cases)
            except BaseException:
                sys.stderr.write(f"seed {seed}, among inputs {skip + batch} to {skip + batch + len(cases)}\n")
                raise
            if batch // _BATCH % _TELL_EVERY == _TELL_EVERY - 1:
                rate = outcomes.total() / (time.monotonic() - begun)
                rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
                _tell(f"{outcomes.total()} inputs, {rate:.0f}/s, {rss_mb:.0f} MB at most: {_told(outcomes)}")
    return outcomes


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in outcomes.most_common())


if __name__ == "__main__":
    sys.exit(main())
