"""The house's import rules, read from the source: who may see whom, and where heavy libraries may stand."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "edge_agent"
LEAVES = frozenset({"errors", "types", "settings", "log", "files"})
CAPABILITIES = frozenset({"inference", "link", "telemetry", "update"})

# part of the package → the parts that its files may import
MAY_IMPORT: dict[str, frozenset[str]] = {
    **dict.fromkeys(LEAVES, LEAVES),
    **{part: LEAVES | {part} for part in CAPABILITIES},
    "__init__": LEAVES | {"inference"},
    "service": LEAVES | CAPABILITIES | {"service"},
    "bench": LEAVES | {"inference", "link", "telemetry", "bench"},
    "forge": LEAVES | {"inference", "forge"},
    "fleet": LEAVES | {"inference", "link", "update", "fleet"},
    "console": LEAVES | {"inference", "link", "console"},
    "cli": LEAVES | CAPABILITIES | {"service", "bench", "forge", "fleet", "console", "cli"},
}

# heavy library → the files (or folders) that may import it
HOMES: dict[str, tuple[str, ...]] = {
    "ai_edge_litert": ("inference/runtime.py", "forge/export/"),
    "tflite_runtime": ("inference/runtime.py",),
    "flatbuffers": ("forge/export/flatbuffer.py", "inference/tflite_metadata.py"),
    "paho": ("link/paho_client.py",),
    "amqtt": ("cli/embedded_broker.py",),
    "prometheus_client": ("telemetry/metrics/families.py",),
    "psutil": ("service/machine.py",),
    "pydantic_settings": ("settings/sections.py",),
    "structlog": ("log.py",),
    "torch": ("forge/",),
    "safetensors": ("forge/",),
    "sklearn": ("forge/",),
    "matplotlib": ("forge/report/plots.py",),
    "tuf": ("fleet/", "update/"),
    "securesystemslib": ("fleet/", "update/"),
    "urllib3": ("update/fetch.py", "fleet/repository/verifying.py"),
    "cryptography": ("fleet/repository/keys.py", "fleet/repository/foreign_signers.py"),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "tensorflow": (),
    "transformers": (),
}
SCHEMA = "ai_edge_litert.schema_py_generated"


@dataclass(frozen=True)
class Source:
    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def part(self) -> str:
        """``link`` for link/client.py, ``errors`` for errors.py."""
        return self.name.partition("/")[0].removesuffix(".py")

    def imported(self) -> Iterator[str]:
        """Modules by their full names; strings that name a module count, since importlib takes them."""
        for node in ast.walk(ast.parse(self.path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Constant) and _is_heavy_module(node.value):
                yield str(node.value)


def _is_heavy_module(value: object) -> bool:
    return (
        isinstance(value, str)
        and bool(re.fullmatch(r"(?:\w+\.)+\w+", value))
        and value.split(".")[0] in HOMES
    )


SOURCES = [Source(path) for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_file_imports_only_the_parts_that_its_own_part_may_see(source: Source) -> None:
    parts = {name.split(".")[1] for name in source.imported() if name.startswith("edge_agent.")}
    own_attributes = {"__version__", "load"}
    assert parts - own_attributes <= MAY_IMPORT[source.part]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_heavy_library_is_imported_only_where_it_is_at_home(source: Source) -> None:
    for name in source.imported():
        homes = HOMES.get(name.split(".")[0])
        if homes is not None:
            assert source.name.startswith(homes), f"{name} in {source.name}"


def test_training_sees_of_the_runtime_only_the_schema() -> None:
    seen = {
        name
        for source in SOURCES
        if source.part == "forge"
        for name in source.imported()
        if name.startswith("ai_edge_litert")
    }
    assert seen == {SCHEMA}


def test_no_file_imports_relatively() -> None:
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), source.name


def _modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after a statement."""
    program = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def _tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


DAEMON_NEVER = {
    "amqtt",
    "cryptography",
    "matplotlib",
    "prometheus_client",
    "rich",
    "sklearn",
    "tensorflow",
    "torch",
    "transformers",
    "typer",
}
DAEMON_NEVER_OURS = {f"edge_agent.{part}" for part in ("forge", "fleet", "console", "bench", "cli")}


def test_the_daemon_loads_neither_command_line_nor_training() -> None:
    modules = _modules_after("import edge_agent.service.agent")
    assert not DAEMON_NEVER & _tops(modules)
    assert not DAEMON_NEVER_OURS & modules


def test_the_daemon_with_its_model_loads_neither_command_line_nor_training(tmp_path: Path) -> None:
    from tests.tiny_bundle import build_tiny_bundle

    bundle = build_tiny_bundle(tmp_path / "tiny")
    modules = _modules_after(
        "import edge_agent, edge_agent.service.agent\n"
        f"with edge_agent.load({str(bundle)!r}) as model: model.predict('turn on the light')"
    )
    assert "ai_edge_litert" in _tops(modules)
    assert not DAEMON_NEVER & _tops(modules)
    assert not DAEMON_NEVER_OURS & modules


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not (_tops(_modules_after("import edge_agent")) & {*HOMES, "numpy", "pydantic"})


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    loaded = _tops(_modules_after("import edge_agent.cli.main"))
    assert not loaded & {
        "numpy",
        "torch",
        "ai_edge_litert",
        "paho",
        "pydantic_settings",
        "structlog",
        "matplotlib",
    }
