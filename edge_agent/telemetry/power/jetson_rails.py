"""Which rails of a Jetson make its total: known by their labels, never by adding all. Pure.

Sources: energymon's JetsonPowerRails.md; jetson_stats#51 (the sum of ``POM_5V_*`` counts twice) and #900
(Thor's ``VIN``); torvalds/linux, arch/arm64/boot/dts/nvidia/tegra234-p3701.dtsi (AGX Orin).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edge_agent.telemetry.reading import Scope

UNCONNECTED = "NC"


@dataclass(frozen=True, slots=True)
class Total:
    """Rails whose sum is a board's total, and what that covers."""

    rails: tuple[str, ...]
    scope: Scope


TOTALS = (
    Total(("VIN",), Scope.BOARD_INPUT),  # AGX Thor, by an INA238 on the carrier
    Total(("POM_5V_IN",), Scope.BOARD_INPUT),  # Nano: the others hang below it
    Total(("VDD_IN", "VDD_MUX"), Scope.BOARD_INPUT),  # TX1, TX2: module and carrier
    Total(("VDD_IN",), Scope.MODULE),  # TX2 NX, Xavier NX, Orin Nano, Orin NX
    Total(("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), Scope.RAILS_PARTIAL),  # AGX Xavier
    # AGX Orin: VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0
    Total(("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), Scope.RAILS_PARTIAL),
)
"""In the order in which they are looked for: the first whose rails are all there."""


def total_of(labels: Collection[str]) -> Total | None:
    """The total of a board with these rails, or None where no table says what adds up."""
    return next((total for total in TOTALS if set(total.rails) <= set(labels)), None)
