"""A signed repository, made by the operator's own commands."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_MAIN = "from edge_agent.cli.main import main; raise SystemExit(main())"


@dataclass(frozen=True, slots=True)
class Signed:
    """A repository, and the root that devices trust."""

    repository: Path
    root: Path


def sign(folder: Path, *bundles: Path) -> Signed:
    """Makes one in a folder, with these bundles published."""
    passphrase = folder / "passphrase"
    passphrase.write_text("four words for tests")
    repository = folder / "repository"
    fleet("init", str(repository), "--passphrase-file", str(passphrase))
    for bundle in bundles:
        words = ("--repo", str(repository), "--passphrase-file", str(passphrase))
        fleet("publish", str(bundle), *words)
    return Signed(repository, folder / "repository-keys/root.json")


def fleet(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """``edge-agent fleet …``, as on the operator's machine."""
    command = [sys.executable, "-c", _MAIN, "fleet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done
