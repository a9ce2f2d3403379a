"""Size and latency of every encoder family, int8 and int4, as a Markdown table.

    python -m tests.benchmarks.families [--rounds N] [--vocabulary N]

Random weights: neither size nor speed depends on them. One thread; the models take turns, length by length,
so that what else the machine does meets all of them alike; medians. Bare encoders, 512 positions.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.encoders.family import Encoder, HeadShape
from edge_agent.forge.encoders.mobilebert import MobileEncoder, MobileShape
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import export_encoder
from edge_agent.inference.runtime import Runner, runtime_info

TOKENS = (16, 32, 128)
SCHEMES = (Scheme.INT8_PER_CHANNEL, Scheme.INT4_PER_CHANNEL)
YARDSTICK = "MiniLM-L6"
_WARM_UP = 3
_BERTS = {  # layers, width, feed-forward width, heads
    "BERT-tiny": (2, 128, 512, 2),
    "TinyBERT-4": (4, 312, 1200, 12),
    YARDSTICK: (6, 384, 1536, 12),
    "DistilBERT": (6, 768, 3072, 12),
}
FAMILIES = (*_BERTS, "MobileBERT")


@dataclass(frozen=True)
class Measured:
    """One family in one scheme.

    Attributes:
        family: its name.
        scheme: how its weights are held.
        megabytes: of the file.
        milliseconds: median of one call, by tokens.
    """

    family: str
    scheme: Scheme
    megabytes: float
    milliseconds: dict[int, float]


def new_family(family: str, vocabulary: int) -> Encoder:
    """A bare encoder of the published size, with fresh weights."""
    torch.manual_seed(0)
    if family == "MobileBERT":
        return MobileEncoder(MobileShape(vocabulary, HeadShape(0, 0))).eval()
    layers, hidden, intermediate, heads = _BERTS[family]
    shape = EncoderShape(vocabulary, hidden, intermediate, layers, heads, longest=512, labels=0, tags=0)
    return JointEncoder(shape).eval()


def measure(families: Sequence[str], vocabulary: int, rounds: int) -> list[Measured]:
    """Exports, loads and times every family in every scheme, in turns."""
    models: dict[tuple[str, Scheme], tuple[Runner, float]] = {}
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
        for family in families:
            weights = new_family(family, vocabulary).export_weights()
            for scheme in SCHEMES:
                path = Path(folder) / f"{family}-{scheme.value}.tflite"
                export_encoder(weights, path, scheme=scheme)
                models[family, scheme] = (Runner(path, threads=1), path.stat().st_size / 1e6)
        runners = {key: runner for key, (runner, _) in models.items()}
        times = {tokens: _times(runners, tokens, vocabulary, rounds) for tokens in TOKENS}
        for runner in runners.values():
            runner.close()
    return [
        Measured(*key, megabytes, {tokens: times[tokens][key] for tokens in TOKENS})
        for key, (_, megabytes) in models.items()
    ]


def _times(
    runners: dict[tuple[str, Scheme], Runner], tokens: int, vocabulary: int, rounds: int
) -> dict[tuple[str, Scheme], float]:
    """Median milliseconds of a call with so many tokens."""
    ids = [int(number) for number in np.random.default_rng(tokens).integers(0, vocabulary, tokens)]
    found: dict[tuple[str, Scheme], list[float]] = {key: [] for key in runners}
    for number in range(_WARM_UP + rounds):
        for key, runner in runners.items():
            begun = perf_counter()
            runner.run(ids)
            if number >= _WARM_UP:
                found[key].append((perf_counter() - begun) * 1e3)
    return {key: median(values) for key, values in found.items()}


def table(measured: Sequence[Measured]) -> str:
    """The figures as a Markdown table; ratios are to the yardstick's int8 at 32 tokens."""
    yardstick = next(
        (each for each in measured if each.family == YARDSTICK and each.scheme is SCHEMES[0]), measured[0]
    )
    columns = " | ".join(f"{tokens} tokens, ms" for tokens in TOKENS)
    beside = f"÷ {yardstick.family} int8"
    lines = [
        f"| family | weights | MB | {columns} | {beside} in size | in time at 32 tokens |",
        "|---|---|---|" + "---|" * (len(TOKENS) + 2),
    ]
    for each in measured:
        times = " | ".join(f"{each.milliseconds[tokens]:.2f}" for tokens in TOKENS)
        size = each.megabytes / yardstick.megabytes
        time = each.milliseconds[32] / yardstick.milliseconds[32]
        name = "int8" if each.scheme is SCHEMES[0] else "int4"
        lines.append(f"| {each.family} | {name} | {each.megabytes:.1f} | {times} | {size:.2f} | {time:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="calls of each model at each length")
    parser.add_argument("--vocabulary", type=int, default=30_522, help="tokens of each model")
    arguments = parser.parse_args()
    print(f"{runtime_info()}, one thread, {arguments.rounds} rounds, {arguments.vocabulary} words\n")  # noqa: T201
    print(table(measure(FAMILIES, arguments.vocabulary, arguments.rounds)))  # noqa: T201


if __name__ == "__main__":
    main()
