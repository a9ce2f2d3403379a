"""The interpreter alone: what the hardware and the runtime give, and nothing of ours in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from edge_agent.bench.figures import AtLength, Percentiles
from edge_agent.bench.sentences import ids_of_length
from edge_agent.inference.bundle import read_tokenizer
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import Runner
from edge_agent.inference.variants import model_of

LENGTHS = (8, 16, 32, 64, 128)
_WARM_UP = 20


@contextmanager
def bare_runner(model: Model) -> Iterator[Runner]:
    """The file of a loaded model in an interpreter of its own, one thread.

    Raises:
        RuntimeFailure: it cannot be loaded.
    """
    tokenizer = read_tokenizer(model.bundle)
    runner = Runner(
        model_of(model.bundle, model.variant),
        threads=1,
        dynamic_length=model.variant.dynamic_length,
        pad_id=tokenizer.pad_id,
        vocabulary_size=tokenizer.vocabulary_size,
        max_tokens=model.manifest.input.max_tokens,
        tensors=model.variant.tensors,
    )
    try:
        yield runner
    finally:
        runner.close()


def run_loop(
    runner: Runner, sentences: Sequence[Sequence[int]], calls: int
) -> tuple[tuple[float, ...], float]:
    """Calls the interpreter in a loop, the sentences in turn.

    Returns:
        Milliseconds of each call, and calls a second of the whole loop.
    """
    times = []
    count = len(sentences)
    begun = before = perf_counter()
    for number in range(calls):
        runner.run(sentences[number % count])
        now = perf_counter()
        times.append((now - before) * 1e3)
        before = now
    return tuple(times), calls / (before - begun)


def warm_up(runner: Runner, sentences: Sequence[Sequence[int]]) -> None:
    """Calls that are not counted: the first ones after a change of length are slower."""
    run_loop(runner, sentences, _WARM_UP)


def run_lengths(
    runner: Runner, sentences: Sequence[Sequence[int]], max_tokens: int, rounds: int, calls: int
) -> tuple[AtLength, ...]:
    """The runtime's time by sentence length, the lengths in turn in every round.

    Args:
        runner: the interpreter.
        sentences: whose tokens the longer ones are made of.
        max_tokens: longest input; longer lengths are left out.
        rounds: how often each length has its turn.
        calls: counted in each turn.
    """
    inputs = {length: ids_of_length(sentences, length) for length in LENGTHS if length <= max_tokens}
    times: dict[int, list[float]] = {length: [] for length in inputs}
    for _ in range(rounds):
        for length, ids in inputs.items():
            run_loop(runner, [ids], 3)
            times[length] += run_loop(runner, [ids], calls)[0]
    return tuple(AtLength(length, Percentiles.of(found)) for length, found in times.items())
