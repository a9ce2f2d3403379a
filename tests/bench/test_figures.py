from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.bench.figures import Round, bare_of, daemon_of
from edge_agent.bench.machine import describe_machine, resident_mb


def a_round(requests: int, *, rss_mb: float = 90.0, per_second: float = 800.0, slow_ms: float = 3.0) -> Round:
    return Round(
        bare_ms=(0.5,) * 98 + (1.0,) * 2,
        bare_per_second=1000.0,
        daemon_ms=(0.9,) * 98 + (slow_ms,) * 2,
        daemon_per_second=per_second,
        requests=requests,
        rss_mb=rss_mb,
    )


def test_the_overhead_is_what_the_daemon_takes_beyond_the_bare_interpreter() -> None:
    daemon = daemon_of([a_round(100), a_round(200)], [0.5], broker="b", protocol=5, lost=0)
    assert daemon.overhead_p50_ms == pytest.approx(0.4)
    assert daemon.overhead_p99_ms == pytest.approx(2.0)


def test_the_throughput_ratio_is_the_median_of_the_rounds() -> None:
    rounds = [a_round(100), a_round(200, per_second=100.0), a_round(300, per_second=900.0)]
    assert daemon_of(rounds, [0.5], broker="b", protocol=5, lost=0).throughput_ratio == pytest.approx(0.8)


def test_growth_is_counted_from_the_round_at_half_of_the_requests() -> None:
    rounds = [a_round(100 * number, rss_mb=80.0 + number) for number in range(1, 11)]
    daemon = daemon_of(rounds, [0.5], broker="b", protocol=5, lost=0)
    assert (daemon.requests, daemon.rss_mb, daemon.rss_growth_mb) == (1000, 90.0, 5.0)


def test_the_start_is_the_median_of_the_starts() -> None:
    daemon = daemon_of([a_round(100)], [0.4, 3.0, 0.5], broker="b", protocol=5, lost=0)
    assert (daemon.start_seconds, daemon.starts) == (0.5, 3)


def test_the_bare_figures_are_over_all_rounds() -> None:
    bare = bare_of([a_round(100), a_round(200)])
    assert (bare.times.count, bare.times.p50_ms, bare.per_second) == (200, 0.5, 1000.0)


def test_a_machine_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Cortex-A76\n")
    (tmp_path / "meminfo").write_text("MemTotal:        4000000 kB\nMemFree: 1 kB\n")
    (tmp_path / "77").mkdir()
    (tmp_path / "77/status").write_text("Name:\tx\nVmRSS:\t   97656 kB\n")
    machine = describe_machine("Pi", "Debian", tmp_path)
    assert (machine.processor, machine.memory_mb) == ("Cortex-A76", 4096.0)
    assert resident_mb(77, tmp_path) == 100.0


def test_what_proc_does_not_tell_is_none(tmp_path: Path) -> None:
    machine = describe_machine("Pi", "Debian", tmp_path)
    assert machine.processor == machine.architecture
    assert machine.memory_mb is None
    assert resident_mb(77, tmp_path) is None
