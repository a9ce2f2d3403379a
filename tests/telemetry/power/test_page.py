"""The page for users names what the code reads: every source, chip, total and right."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.telemetry.power import ina2xx, mailbox
from edge_agent.telemetry.power.jetson_rails import TOTALS, Total
from edge_agent.telemetry.reading import Quality, Scope
from tests.telemetry.trees import board, board_names

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "power.md").read_text(encoding="utf-8")


def sources() -> set[str]:
    said = [board(name).says for name in board_names()]
    return {part["source"] for says in said for kind in ("power", "supply") for part in says.get(kind, [])}


@pytest.mark.parametrize("name", sorted(sources() | {"estimate"} | {scope.value for scope in Scope}))
def test_the_page_names_every_source_and_scope(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("chip", ina2xx.DRIVERS)
def test_the_page_names_every_chip(chip: str) -> None:
    assert chip.removeprefix("ina").upper() in PAGE


@pytest.mark.parametrize("total", TOTALS, ids=lambda total: "+".join(total.rails))
def test_the_page_names_every_total_with_its_scope(total: Total) -> None:
    rails = " + ".join(f"`{rail}`" for rail in total.rails)
    cell = "the sum of its six rails" if len(total.rails) == 6 else rails
    (row,) = (line for line in PAGE.splitlines() if f"| {cell} |" in line or f"| {cell}, by" in line)
    assert f"`{total.scope.value}`" in row


def test_the_page_names_the_devices_and_the_label_of_estimates() -> None:
    for device in mailbox.DEVICES:
        assert f"`/{device}`" in PAGE
    assert f'"quality": "{Quality.ESTIMATED.value}"' in PAGE
