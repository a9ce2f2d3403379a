"""The Debian package: what is in it, and what it does on a real systemd when it comes, changes and goes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import __version__
from tests.deploy.installing import (
    BUILDER,
    CHECKOUT,
    NEXT,
    PREFIX,
    REPOSITORY,
    WHEELS,
    Board,
    Wheels,
    make_wheels,
)
from tests.testbeds.systemd_container import container_or_skip

pytestmark = pytest.mark.slow

SETTINGS = "/etc/edge-agent/config.toml"
OWN = '[device]\nid = "kitchen"\n'


def build(wheels: Path, out: Path) -> Path:
    """Builds the package of a folder of wheels, quickly and not small."""
    subprocess.run(
        [str(BUILDER), "--wheels", str(wheels), "--out", str(out), "--level", "1"],
        env={**os.environ, "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
    )
    (made,) = out.glob("*.deb")
    return made


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    return make_wheels(tmp_path_factory)


@pytest.fixture(scope="module")
def package(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(wheels.base, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def following(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package once more, with a higher version and one module that says so."""
    folder = tmp_path_factory.mktemp("following")
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {__version__}+", f"Version: {NEXT}+"))
    module = next(tree.glob("opt/edge-agent/lib/python3.*/site-packages/edge_agent/__init__.py"))
    module.write_text(module.read_text().replace(f'"{__version__}"', f'"{NEXT}"'))
    (module.parent / "__pycache__/__init__.cpython-311.pyc").unlink()
    target = folder / "following.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", str(tree), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def board(
    wheels: Wheels, package: Path, following: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Board]:
    binds = {
        REPOSITORY: CHECKOUT,
        wheels.folder: WHEELS,
        package: "/mnt/edge-agent.deb",
        following: "/mnt/following.deb",
    }
    with container_or_skip(tmp_path_factory.mktemp("board"), binds=binds) as machine:
        yield Board(machine, dpkg=False)


def apt(board: Board, *words: str, check: bool = True) -> str:
    done = board.run("apt-get", "-y", "-q", "--no-install-recommends", *words, check=check)
    return done.stdout + done.stderr


def contents(package: Path) -> dict[str, str]:
    """Path to mode and owner."""
    listed = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
    )
    rows = (line.split(maxsplit=5) for line in listed.stdout.splitlines())
    return {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


def test_the_package_holds_what_serves_and_nothing_of_the_machine_that_built_it(package: Path) -> None:
    held = contents(package)
    assert held["/opt/edge-agent/bin/edge-agentd"] == "-rwxr-xr-x root/root"
    assert held["/usr/lib/systemd/system/edge-agent.service"] == "-rw-r--r-- root/root"
    assert "/usr/share/edge-agent/models/home/model.tflite" in held
    assert "/opt/edge-agent/bin/python3.11 -> /usr/bin/python3.11" in held
    assert {mode.split()[1] for mode in held.values()} == {"root/root"}
    assert not [path for path in held if path.endswith(("/RECORD", "/direct_url.json", "/pip/__init__.py"))]
    asked = ["dpkg-deb", "--field", str(package), "Package", "Architecture", "Depends", "Version"]
    fields = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert f"Version: {__version__}+python3.11" in fields
    assert "Depends: python3.11, libc6 (>= 2.34)" in fields


def test_whoever_builds_it_again_has_the_same_bytes(package: Path, wheels: Wheels, tmp_path: Path) -> None:
    built = (build(wheels.base, tmp_path), package)
    first, second = (hashlib.sha256(file.read_bytes()).hexdigest() for file in built)
    assert first == second


def test_it_comes_is_upgraded_and_goes_and_leaves_nothing(board: Board) -> None:
    empty, accounts = board.empty
    apt(board, "install", "/mnt/edge-agent.deb")
    assert board.active()
    assert board.ask()["intent"] == "HassTurnOn"
    assert board.version() == __version__
    assert board.run("dpkg", "--verify", "edge-agent").stdout == ""

    refused = board.install(check=False)
    assert refused.returncode == 1
    assert "is installed as a Debian package; remedy: upgrade or remove it with apt" in refused.stderr

    board.write(SETTINGS, OWN)
    apt(board, "install", "/mnt/following.deb")
    assert board.version() == NEXT
    assert board.run("cat", SETTINGS).stdout == OWN
    assert board.active()
    assert board.ask()["recognized"]

    apt(board, "remove", "edge-agent")
    left = {line.split()[2] for line in board.listing() - empty}
    assert SETTINGS in left
    assert "/var/lib/edge-agent" in left
    assert not board.has(PREFIX)
    assert not board.has("/usr/share/edge-agent")

    apt(board, "purge", "edge-agent")
    # dpkg removes a folder that its package had and that is empty: /opt too, which no package here owns.
    board.run("mkdir", "--parents", "/opt")
    assert board.listing() == empty
    assert board.accounts() == accounts
    assert board.machine.show("edge-agent")["LoadState"] == "not-found"


def test_it_does_not_come_upon_what_the_script_installed(board: Board) -> None:
    board.write(f"{PREFIX}/manifest", "")
    said = apt(board, "install", "/mnt/edge-agent.deb", check=False)
    assert "edge-agent was installed by install.sh; remedy:" in said
    assert not board.active()
    board.run("rm", "-r", PREFIX)
    apt(board, "purge", "edge-agent")
    assert board.listing() == board.empty[0]
