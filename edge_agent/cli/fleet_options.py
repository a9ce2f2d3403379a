"""Options that the commands of ``edge-agent fleet`` share: the repository, the keys and their passphrase."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.console import needs_extra
from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from edge_agent.fleet.repository.keys import KeyRing
    from edge_agent.fleet.repository.model_repository import ModelRepository

_KEYS_SUFFIX = "-keys"
_PASSPHRASE = "passphrase of"
"""How KeyRing begins to ask for its own; what a token asks for begins otherwise."""

RepositoryOption = Annotated[Path, typer.Option("--repo", metavar="DIR", help="The repository.")]
KeysOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        help="Folder of the keys; may be repeated. Default: beside the repository, NAME-keys.",
    ),
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Its first line is the keys' passphrase."),
]
PassphraseEnvOption = Annotated[
    str | None,
    typer.Option("--passphrase-env", metavar="NAME", help="The environment variable that holds it."),
]
PinFileOption = Annotated[
    Path | None, typer.Option("--pin-file", metavar="FILE", help="Its first line is a hardware token's PIN.")
]
SignerOption = Annotated[
    str | None,
    typer.Option("--signer", metavar="URI", help="A token or key service in place of a file, such as hsm:2."),
]
SignedByOption = Annotated[
    str, typer.Option("--as", metavar="ROLE", help="The role that signs: targets or a delegated one.")
]
AllowOlderOption = Annotated[
    bool, typer.Option("--allow-older", help="Take a version that is lower than what is there.")
]
DEFAULT_REPOSITORY = Path("repository")


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Where secrets come from: a file, an environment variable, or a prompt that does not echo.

    Attributes:
        file: its first line.
        variable: name of an environment variable.
        pin_file: its first line is what a token or service asks for, which is not the passphrase.
        confirm: ask twice, since new keys are made with it.
    """

    file: Path | None
    variable: str | None
    pin_file: Path | None = None
    confirm: bool = False

    def __call__(self, purpose: str) -> str:
        """The secret.

        Args:
            purpose: what it is for, in words.

        Raises:
            SettingsError: it is not where it was said to be, or there is nobody to ask.
        """
        if self.file is not None and self.variable is not None:
            raise SettingsError("the passphrase comes from a file or a variable", hint="give one of the two")
        own = purpose.startswith(_PASSPHRASE)
        file = self.file if own else self.pin_file
        if file is not None:
            return _first_line(file)
        if own and self.variable is not None:
            return _from_environment(self.variable)
        if not sys.stdin.isatty():
            raise SettingsError(
                f"the {purpose} is needed and there is no terminal to ask on",
                hint="--passphrase-file FILE or --passphrase-env NAME" if own else "--pin-file FILE",
            )
        text = f"{purpose[:1].upper()}{purpose[1:]}"
        return str(typer.prompt(text, hide_input=True, confirmation_prompt=own and self.confirm, err=True))


def _first_line(path: Path) -> str:
    try:
        line = path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror})", hint="name a file whose first line is the secret"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: is no text", hint="name a file whose first line is the secret"
        ) from error
    if not line:
        raise SettingsError(f"{path}: its first line is empty", hint="write the passphrase there")
    return line


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise SettingsError(f"the environment variable {name} is not set", hint="export it, or use a file")
    return value


def key_ring(repository: Path, folders: list[Path] | None, secrets: Callable[[str], str]) -> KeyRing:
    """The keys of a command; what others may read of them is told on stderr."""
    with needs_extra("fleet"):
        from edge_agent.fleet.repository.keys import KeyRing

    beside = repository.resolve()
    ring = KeyRing(folders or [beside.with_name(beside.name + _KEYS_SUFFIX)], secrets)
    exposed = ring.open_to_others()
    for folder in ring.folders:
        own = [path for path in exposed if folder in {path, path.parent}]
        if own:
            names = ", ".join(path.name for path in own[:3]) + (" …" if len(own) > 3 else "")
            typer.echo(f"edge-agent: warning: others may read keys: {names}", err=True)
            typer.echo(f"  hint: chmod -R go= {folder}", err=True)
    return ring


@contextmanager
def opened_repository(
    repository: Path, folders: list[Path] | None, secrets: Callable[[str], str]
) -> Iterator[ModelRepository]:
    """The repository of a command, locked while it is used.

    Raises:
        SettingsError: there is none, its keys are not here, or another command is at it.
        BundleError: it is not what its keys signed.
    """
    ring = key_ring(repository, folders, secrets)
    from edge_agent.fleet.repository.model_repository import opened

    with opened(repository, ring) as found:
        yield found
