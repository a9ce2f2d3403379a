"""``docs/settings.md``, written from the settings model.

``python -m edge_agent.cli.settings_reference FILE`` writes the page; ``make docs`` does so where it belongs.

So that the reference cannot say anything else than the program does: keys, defaults, limits and descriptions
come from :mod:`edge_agent.settings`. A test holds the committed file against this one's text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.files import write_atomic
from edge_agent.settings import DEFAULT_PATH, Settings, describe, may_repeat

_INTRODUCTION = f"""\
# Settings

This page is generated from the settings model (`make docs`); edit the descriptions there.

The daemon and the commands read the same settings. Every key has a default that works on a laptop with a
broker on localhost, so an empty file, or none, is a good beginning.

- **The file** is TOML, by default `{DEFAULT_PATH}`; `--config FILE` names another, which must then exist.
- **The environment** goes before the file: `mqtt.host` is `EDGE_AGENT_MQTT__HOST`, with two underscores
  between section and key.
- **Unknown keys are errors**, in the file and in the environment. The message names the nearest known key.
- **Secrets** never stand in the file. `mqtt.password_file` names a file that holds the password alone; where
  it is not set, the systemd credential `mqtt.password` is read, if there is one.
- **Changes** count from the next start. SIGHUP makes the daemon read the models' folders again, and not the
  settings.

`edge-agent check --config FILE` says whether a file is right, and whether the broker and the models that it
names are well.

```toml
[device]
id = "pi-kitchen"

[mqtt]
host = "localhost"
username = "pi-kitchen"
password_file = "/etc/edge-agent/mqtt-password"

[log]
level = "info"
```"""


def render_settings_reference() -> str:
    """The whole page as Markdown."""
    schema = Settings.model_json_schema()
    lines = [_INTRODUCTION]
    section = ""
    for key, default, description in describe():
        name, _, short = key.partition(".")
        definition = _definition(schema, name)
        if name != section:
            section = name
            heading = f"[[{name}]]" if may_repeat(name) else f"[{name}]"
            lines += [f"\n## `{heading}`\n", f"{definition['description']}\n"]
            lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
        cells = (f"`{short}`", _kind(definition["properties"][short]), _code(default), description)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _definition(schema: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """The JSON schema of a section."""
    found = schema["properties"][section]
    name = (found["items"] if may_repeat(section) else found)["$ref"].rpartition("/")[2]
    definition: Mapping[str, Any] = schema["$defs"][name]
    return definition


def _kind(item: Mapping[str, Any]) -> str:
    """What values a key takes, in words."""
    if "anyOf" in item:
        item = next(option for option in item["anyOf"] if option.get("type") != "null")
    if "enum" in item:
        return ", ".join(f"`{value}`" for value in item["enum"])
    if item["type"] == "array":
        return f"list of {_kind(item['items'])}s"
    if item.get("format") == "path":
        return "path"
    kind = {"string": "text", "boolean": "`true`, `false`", "integer": "whole number", "number": "number"}
    return kind[item["type"]] + _limits(item)


def _limits(item: Mapping[str, Any]) -> str:
    least, most = item.get("minimum"), item.get("maximum")
    if least is not None and most is not None:
        return f", {_shown(least)} to {_shown(most)}"
    if "exclusiveMinimum" in item and most is not None:
        return f", above {_shown(item['exclusiveMinimum'])}, to {_shown(most)}"
    return ""


def _shown(number: float) -> str:
    return f"{number:.15g}"


def _code(default: str) -> str:
    return f"`{default}`" if default else "–"


def main() -> None:
    """Writes the page into the file that the command line names."""
    write_atomic(Path(sys.argv[1]), render_settings_reference().encode())


if __name__ == "__main__":
    main()
