"""The facts of a board that has everything, for the tests of what is made of them."""

from __future__ import annotations

from edge_agent.telemetry.metrics.facts import (
    TOTAL_RAIL,
    BatteryFacts,
    EnergyFacts,
    MetricFacts,
    ModelFacts,
    PowerFacts,
    StageTimes,
)


def full_facts() -> MetricFacts:
    """Every field is known."""
    times = StageTimes()
    times.observe(queue_ms=0.1, tokenize_ms=0.1, invoke_ms=1.4, total_ms=1.8)
    times.observe(queue_ms=20.0, tokenize_ms=0.05, invoke_ms=2.0, total_ms=22.5)
    return MetricFacts(
        version="0.1.0",
        device="pi-kitchen",
        runtime="ai-edge-litert 2.3.0",
        python="3.11.2",
        board="Raspberry Pi 5 Model B Rev 1.0",
        status="degraded",
        reasons=2,
        models=(
            ModelFacts("home", "1.0.0", "ab" * 32, True, 1.79e9),
            ModelFacts("sentiment", None, None, False),
        ),
        answered=2,
        errors={"too_large": 3},
        dropped={"retained": 1},
        stages=times.snapshot(),
        queue=4,
        running_correctly_seconds=100.5,
        expected_running_seconds=120.25,
        start_time_seconds=1.79e9,
        mqtt_connected=True,
        mqtt_reconnects=1,
        cpu_seconds=3.5,
        memory_resident_bytes=82.5e6,
        memory_available_bytes=301e6,
        disk_free_bytes=5.12e9,
        clock_synced=True,
        energy=(
            EnergyFacts(1820.5, "pmic", "pmic-rails", TOTAL_RAIL, 400.0),
            EnergyFacts(900.25, "pmic", "pmic-rails", "VDD_CORE", 400.0),
        ),
        power=(
            PowerFacts(4.5, "pmic", "pmic-rails"),
            PowerFacts(2.25, "pmic", "pmic-rails", "VDD_CORE"),
            PowerFacts(None, "pmic", "pmic-rails", "silent"),
        ),
        supply_volts=5.1,
        under_voltage=False,
        under_voltage_since_boot=True,
        throttled={"frequency_capped": True, "throttled": False, "soft_temperature_limit": None},
        throttled_since_boot={"throttled": True},
        temperatures_celsius={"cpu-thermal": 51.2, "broken": None},
        cpu_hertz={"policy0": 1.5e9},
        fan_rpm={"pwmfan": 2000.0},
        batteries=(BatteryFacts("BAT0", 80.0, False),),
        sensor_errors={"pmic": 0},
    )
