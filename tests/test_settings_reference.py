"""``docs/settings.md`` is what the settings model says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cli.settings_reference import main, render_settings_reference
from edge_agent.settings import known_keys

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"


def test_the_committed_page_is_what_the_generator_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_settings_reference(), "run `make docs`"


def test_every_key_has_a_row_in_its_section() -> None:
    sections = render_settings_reference().split("\n## ")
    for key in known_keys():
        name, _, short = key.partition(".")
        page = next(part for part in sections if part.startswith((f"`[{name}]`", f"`[[{name}]]`")))
        assert f"\n| `{short}` | " in page


def test_the_page_does_not_depend_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render_settings_reference()
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    assert render_settings_reference() == before
    assert "another-host" not in before


def test_the_generator_writes_the_file_that_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "settings.md"
    monkeypatch.setattr("sys.argv", ["settings_reference", str(page)])
    main()
    assert page.read_text(encoding="utf-8") == render_settings_reference()
