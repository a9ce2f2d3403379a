"""``docs/security.md`` tells the truth: each test that it names is there, and each threat names one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
FOLDERS = ("tests/security", "tests/deploy")
ELSEWHERE = ("tests/link", "tests/service", "tests/inference", "tests/update", "tests/updating")


def functions_of(*folders: str) -> dict[str, str]:
    """Every test function of these folders, with the file that it stands in."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("test_*.py")):
            for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
                found[name] = path.relative_to(ROOT).as_posix()
    return found


def rows() -> list[list[str]]:
    """The rows of tables whose last column names tests."""
    threats = PAGE.read_text(encoding="utf-8").partition("## Threats")[2]
    lines = re.findall(r"^\|(.+)\|$", threats, re.MULTILINE)
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return [row for row in cells if len(row) == 3 and not set(row[0]) <= set("-| ") and row[2] != "proof"]


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 40
    assert not set(named) - set(functions_of(*FOLDERS, *ELSEWHERE))


def test_every_threat_and_every_place_of_a_text_names_its_proof() -> None:
    assert len(rows()) > 30
    for row in rows():
        assert re.search(r"`test_\w+`", row[2]), row


def test_every_security_test_is_named_by_the_page() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    own = {name for name, path in functions_of("tests/security").items() if not path.endswith("test_page.py")}
    assert not own - named
