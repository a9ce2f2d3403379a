"""The operator's keys: a folder apart from the repository, one encrypted file a key, and a list of them.

    KEYS/keys.json        key id → the public key and where its private half is: no secret
    KEYS/root-1.pem …     PKCS #8, encrypted with the passphrase, mode 0600

A key that is not a file is named by a signer URI of securesystemslib (``hsm:2``, ``awskms:…``), so that a
hardware token or a key service signs; its PIN is asked for as the passphrase is. This is the one file that
sees a private key, and it never shows one. Several folders may be open at once: root keys on a stick that is
otherwise in a safe, the daily ones on this machine.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from edge_agent.errors import SettingsError
from edge_agent.files import write_atomic
from edge_agent.fleet.repository.foreign_signers import public_key_of, signer_at

INDEX: Final = "keys.json"
LEAST_PASSPHRASE: Final = 12
"""Characters. The library derives the key by PBKDF2 with 2048 rounds, which a short one would not survive."""
_FORMAT: Final = 1
_FILE: Final = "encrypted:"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

Secrets = Callable[[str], str]
"""What a secret is for, in words → the secret. Raises SettingsError where there is none."""


@dataclass(frozen=True, slots=True)
class _Entry:
    folder: Path
    uri: str
    key: Key


class KeyRing:
    """The keys of one or more folders.

    Args:
        folders: the first takes new keys; it is made when the first key is.
        secrets: asked for a passphrase when one is needed, once a folder.

    Raises:
        SettingsError: a list of keys cannot be read.
    """

    def __init__(self, folders: Iterable[Path], secrets: Secrets) -> None:
        self._folders = tuple(folders)
        self._ask = secrets
        self._known: dict[Path, str] = {}
        self._signers: dict[str, Signer] = {}
        self._entries: dict[str, _Entry] = {}
        for folder in self._folders:
            for keyid, entry in _read_index(folder).items():
                if keyid not in self._entries or not _is_here(self._entries[keyid]):
                    self._entries[keyid] = entry

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the keys are."""
        return self._folders

    def signer(self, keyid: str) -> Signer | None:
        """What signs with a key; None where the key, or its file, is not here.

        Raises:
            SettingsError: it is here and cannot be used: passphrase, damage, a token that is away.
        """
        entry = self._entries.get(keyid)
        if entry is None or not _is_here(entry):
            return None
        if keyid not in self._signers:
            self._signers[keyid] = self._open(entry)
        return self._signers[keyid]

    def create(self, role: str) -> Key:
        """Make a new key as an encrypted file.

        Raises:
            SettingsError: the passphrase is too short, or the folder cannot be written.
        """
        folder = self._folders[0]
        passphrase = self._passphrase(folder)
        if len(passphrase) < LEAST_PASSPHRASE:
            raise SettingsError(
                f"the passphrase is shorter than {LEAST_PASSPHRASE} characters",
                hint="several words are best; keep them where the keys are not",
            )
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode())
        )
        signer = CryptoSigner(private)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self._free_name(folder, role)
            write_atomic(folder / name, pem, mode=0o600)
            self._add(folder, _FILE + name, signer.public_key)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._signers[signer.public_key.keyid] = signer
        return signer.public_key

    def adopt(self, uri: str) -> Key:
        """Take a key that lives elsewhere, by its signer URI.

        Raises:
            SettingsError: there is no such signer, or it does not answer.
        """
        found, key = public_key_of(uri)
        folder = self._folders[0]
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._add(folder, found, key)
        except OSError as error:
            raise _unwritable(folder, error) from error
        return key

    def open_to_others(self) -> list[Path]:
        """Files and folders of keys that somebody else on this machine may read."""
        files = {entry.folder / entry.uri.removeprefix(_FILE) for entry in self._own_files()}
        looked_at = [path for path in (*self._folders, *sorted(files)) if path.exists()]
        return [path for path in looked_at if stat.S_IMODE(path.stat().st_mode) & _OTHERS]

    def _own_files(self) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.uri.startswith(_FILE)]

    def _free_name(self, folder: Path, role: str) -> str:
        """A file's name that is not in use, and was not by a key that is away or lost."""
        listed = {entry.uri.removeprefix(_FILE) for entry in _read_index(folder).values()}
        numbers = (f"{role}-{number}.pem" for number in count(1))
        return next(name for name in numbers if name not in listed and not (folder / name).exists())

    def _add(self, folder: Path, uri: str, key: Key) -> None:
        self._entries[key.keyid] = _Entry(folder, uri, key)
        _write_index(folder, {**_read_index(folder), key.keyid: self._entries[key.keyid]})

    def _open(self, entry: _Entry) -> Signer:
        if not entry.uri.startswith(_FILE):
            return signer_at(entry.uri, entry.key, self._ask)
        path = entry.folder / entry.uri.removeprefix(_FILE)
        passphrase = self._passphrase(entry.folder)
        try:
            private = load_pem_private_key(path.read_bytes(), passphrase.encode())
            return CryptoSigner(private, _as_file_key(entry.key))
        except OSError as error:
            raise SettingsError(
                f"{path}: cannot be read ({error.strerror})", hint="name the folder of the keys with --keys"
            ) from error
        except TypeError as error:
            raise SettingsError(
                f"{path}: is not encrypted", hint="openssl pkcs8 -topk8 encrypts it"
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SettingsError(
                f"{path}: wrong passphrase, or a damaged file", hint="nothing was signed; try again"
            ) from error

    def _passphrase(self, folder: Path) -> str:
        if folder not in self._known:
            self._known[folder] = self._ask(f"passphrase of the keys in {folder}")
        return self._known[folder]


def _as_file_key(key: Key) -> SSlibKey:
    if not isinstance(key, SSlibKey):
        raise ValueError("not a key of a file")
    return key


def _is_here(entry: _Entry) -> bool:
    return not entry.uri.startswith(_FILE) or (entry.folder / entry.uri.removeprefix(_FILE)).exists()


def _read_index(folder: Path) -> dict[str, _Entry]:
    path = folder / INDEX
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            raise ValueError("format")
        return {keyid: _entry(folder, keyid, item) for keyid, item in document["keys"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{path}: not a list of keys that this version reads", hint="bring back the folder's copy"
        ) from error


def _entry(folder: Path, keyid: str, item: Mapping[str, Any]) -> _Entry:
    uri = str(item["signer"])
    if uri.startswith(_FILE) and "/" in uri:
        raise ValueError("a key outside its folder")
    return _Entry(folder, uri, Key.from_dict(keyid, dict(item["key"])))


def _write_index(folder: Path, entries: Mapping[str, _Entry]) -> None:
    keys = {keyid: {"signer": entry.uri, "key": entry.key.to_dict()} for keyid, entry in entries.items()}
    content = json.dumps({"format": _FORMAT, "keys": keys}, indent=1, sort_keys=True)
    write_atomic(folder / INDEX, content.encode() + b"\n", mode=0o600)


def _unwritable(folder: Path, error: OSError) -> SettingsError:
    reason = error.strerror or os.strerror(error.errno or 0)
    return SettingsError(f"{folder}: cannot be written ({reason})", hint="choose a folder with --keys")
