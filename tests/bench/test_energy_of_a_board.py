"""The energy of a whole benchmark: real broker, real daemon, real files of a board."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cli.bench_energy import EnergyPlan
from edge_agent.cli.bench_plan import QUICK, Plan
from edge_agent.cli.benchmark import run_benchmark
from edge_agent.telemetry.reading import Quality, Scope
from tests.telemetry import trees

SHORT = Plan(1, 20, 50, 1, 1, 2, EnergyPlan(turns=1, seconds=0.8), QUICK.link)


def test_energy_is_measured_through_the_files_of_a_board(tiny_folder: Path, tmp_path: Path) -> None:
    trees.board("jetson_orin_nano_jp5").build(tmp_path)
    (amperes,) = tmp_path.glob("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon*/curr1_input")

    def draw(what: str) -> None:
        """The board draws by what the benchmark is doing."""
        drawn = {"energy: at rest": 4000, "the bare loop": 5000, "the daemon": 7000}
        for phase, milliamperes in drawn.items():
            if what.startswith("energy") and what.endswith(phase):
                (tmp_path / "new").write_text(f"{milliamperes}\n")
                (tmp_path / "new").replace(amperes)

    energy = run_benchmark(tiny_folder, SHORT, draw, root=tmp_path).energy
    assert (energy.source, energy.scope, energy.quality) == ("ina3221", Scope.MODULE, Quality.MEASURED)
    assert energy.rest_watts == pytest.approx(4.968 * 4, rel=1e-3)
    for found, above_rest_w in ((energy.bare, 4.968), (energy.daemon, 3 * 4.968)):
        assert found.reason is None
        assert found.value_mj is not None
        assert found.value_mj == pytest.approx(
            above_rest_w * found.window_seconds / found.requests * 1e3, rel=2e-3
        )
