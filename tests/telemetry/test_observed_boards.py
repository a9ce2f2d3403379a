"""Whole boards out of real files: sources, sampler and the document ``power`` together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.settings.board_sections import PowerSettings, TelemetrySettings
from edge_agent.telemetry.board import Board
from edge_agent.telemetry.observer import Observer
from edge_agent.telemetry.power.find import find_sensors
from edge_agent.telemetry.power_document import render_power
from edge_agent.telemetry.probe import Turn
from tests.fakes.sensors import FakeClock
from tests.telemetry import trees

TIME = "2026-11-23T05:00:00Z"
UNKNOWN: dict[str, Any] = {
    "time": TIME,
    "power_w": None,
    "energy_j": None,
    "source": None,
    "scope": None,
    "quality": None,
    "rails": {},
    "energy_per_answer_mj": None,
    "energy_window_s": None,
    "under_voltage": None,
    "under_voltage_since_boot": None,
    "throttled": None,
    "temperature_c": None,
    "battery_percent": None,
}


def observed(name: str, root: Path) -> Observer:
    """A board after two looks, ten seconds apart."""
    board = trees.board(name)
    tree = board.build(root)
    clock = FakeClock()
    observer = Observer(
        find_sensors(tree, firmware=board.firmware()),
        Board(tree),
        TelemetrySettings(),
        PowerSettings(),
        Turn(clock),
    )
    observer.observe(clock(), 0)
    observer.observe(clock.pass_by(10.0), 0)
    return observer


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (
            "jetson_nano_jp4",
            {
                "power_w": 2.132,
                "energy_j": 21.3,
                "source": "ina3221",
                "scope": "board-input",
                "quality": "measured",
                "rails": {"POM_5V_IN": 2.132, "POM_5V_GPU": 0.078, "POM_5V_CPU": 0.275},
                "energy_window_s": 0.0,
            },
        ),
        (
            "jetson_orin_nano_jp5",
            {
                "power_w": 4.73,
                "energy_j": 47.3,
                "source": "ina3221",
                "scope": "module",
                "quality": "measured",
                "rails": {"VDD_IN": 4.73, "VDD_CPU_GPU_CV": 0.517, "VDD_SOC": 1.073},
                "energy_window_s": 0.0,
                "temperature_c": 43.7,
            },
        ),
        (
            "rpi4_undervolt",
            {"under_voltage": True, "under_voltage_since_boot": True, "throttled": True},
        ),
        (
            "rpi4_ok",
            {
                "under_voltage": False,
                "under_voltage_since_boot": False,
                "throttled": False,
                "temperature_c": 48.3,
            },
        ),
        ("rpi_kernel_2026_volts", {"under_voltage": False}),
        ("ina219_voltage_only", {}),
    ],
)
def test_a_board_is_told_with_its_exact_figures(name: str, known: dict[str, Any], tmp_path: Path) -> None:
    document = json.loads(render_power(observed(name, tmp_path).snapshot, TIME))
    assert document == UNKNOWN | known


def test_a_raspberry_pi_fed_too_little_is_strained_in_words(tmp_path: Path) -> None:
    strain = observed("rpi4_undervolt", tmp_path).snapshot.strain
    assert strain.is_strained
    assert strain.reasons == (
        "power: under-voltage; use a stronger supply",
        "power: the firmware throttles the processor",
    )
