"""What the sampler costs, in percent of one core: at rest, and while answers are given.

``python -m tests.benchmarks.sampler_cost`` builds a board of fourteen sensors out of real files (a Jetson's
INA3221 with three rails, an alarm, a battery, four thermal zones, a fan, four clocks), lets the sampler look
at them by the default settings, and prints processor time over wall time. Nothing else runs in the process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import timeit
from pathlib import Path
from threading import Event

from edge_agent.settings.board_sections import PowerSettings, TelemetrySettings
from edge_agent.telemetry.board import Board
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power_document import render_power
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.sysfs import Tree
from tests.telemetry import trees

_CPUFREQ = "sys/devices/system/cpu/cpufreq/policy"


def board_files() -> dict[str, str]:
    """A board with more sensors than any real one."""
    files = dict(trees.board("jetson_orin_nano_jp5").files)
    files |= trees.board("battery_bat0").files
    files |= {"sys/class/hwmon/hwmon7/name": "rpi_volt", "sys/class/hwmon/hwmon7/in0_lcrit_alarm": "0"}
    files["sys/class/thermal/thermal_zone1/temp"] = "44100"
    for zone, kind in ((2, "soc0"), (3, "tj")):
        files[f"sys/class/thermal/thermal_zone{zone}/type"] = f"{kind}-thermal"
        files[f"sys/class/thermal/thermal_zone{zone}/temp"] = "45000"
    for policy in range(4):
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
            files[f"{_CPUFREQ}{policy}/{name}"] = "1510400"
    return files


def percent_of_a_core(tree: Tree, seconds: float, answers_per_second: int) -> float:
    """Runs a sampler for so long, with answers that cost nothing, and a document each interval."""
    settings = TelemetrySettings()
    sampler = Sampler(
        find_sensors(tree),
        Board(tree),
        settings,
        PowerSettings(),
        activity=lambda: int(time.monotonic() * answers_per_second),
    )
    sampler.start()
    pause = Event()
    pause.wait(1.0)  # what is only done at the start is not what it costs
    sampler.note_activity()
    began, used = time.monotonic(), time.process_time()
    for _ in range(max(1, round(seconds / settings.interval_seconds))):
        pause.wait(settings.interval_seconds)
        render_power(sampler.snapshot(), "2026-11-23T05:00:00Z")
    percent = (time.process_time() - used) / (time.monotonic() - began) * 100
    snapshot = sampler.snapshot()
    assert snapshot.power is not None
    assert snapshot.power.power_w is not None
    assert not snapshot.strain.faults, snapshot.strain.faults
    sampler.stop(5.0)
    return percent


def main() -> None:
    """Prints what it costs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        tree = trees.build_tree(Path(folder), board_files())
        idle = percent_of_a_core(tree, seconds, 0)
        busy = percent_of_a_core(tree, seconds, 100)
    sampler = Sampler(
        find_sensors(Tree(Path("/nonexistent"))),
        Board(Tree(Path("/nonexistent"))),
        TelemetrySettings(),
        PowerSettings(),
        activity=int,
    )
    rounds = 100_000
    note_us = timeit.timeit(sampler.note_activity, number=rounds) / rounds * 1e6
    ok_us = timeit.timeit(lambda: sampler.is_power_ok(1.0, 2.0), number=rounds) / rounds * 1e6
    lines = [
        f"at rest:         {idle:.3f} % of one core",
        f"while answering: {busy:.3f} % of one core",
        f"note_activity:   {note_us:.2f} µs a request",
        f"is_power_ok:     {ok_us:.2f} µs a request",
    ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
