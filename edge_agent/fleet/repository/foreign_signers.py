"""Keys that live elsewhere: hardware tokens and key services, by the signer URIs of securesystemslib.

Each of its signers finds its public key in its own way; that is the table below. ``gnupg`` is left out on
purpose: a device would need GnuPG to verify what it signed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    AWSSigner,
    AzureSigner,
    CryptoSigner,
    GCPSigner,
    HSMSigner,
    Key,
    Signer,
    VaultSigner,
)

from edge_agent.errors import SettingsError

_UNVERIFIABLE = frozenset({"gnupg"})


def public_key_of(uri: str) -> tuple[str, Key]:
    """The signer's full URI and its public key, read from the token, service or file.

    Args:
        uri: ``hsm:2``, ``awskms:ID``, ``gcpkms:ID``, ``azurekms:VAULT/KEY``, ``hv:KEY`` or ``file2:PATH``.

    Raises:
        SettingsError: no such signer, or it does not answer.
    """
    scheme, _, rest = uri.partition(":")
    finder = _FINDERS.get(scheme)
    if finder is None:
        raise SettingsError(f"no signer takes {scheme!r:.40}: URIs", hint=f"there are: {', '.join(_FINDERS)}")
    try:
        return finder(rest)
    except Exception as error:  # securesystemslib: signers may raise errors that are not documented
        raise _unusable(uri, error) from error


def signer_at(uri: str, key: Key, secrets: Callable[[str], str]) -> Signer:
    """What signs with a key that lives elsewhere.

    Raises:
        SettingsError: it does not answer.
    """
    scheme = uri.partition(":")[0]
    if scheme not in SIGNER_FOR_URI_SCHEME or scheme in _UNVERIFIABLE:
        raise SettingsError(f"no signer takes {scheme!r:.40}: URIs", hint=f"there are: {', '.join(_FINDERS)}")
    try:
        return Signer.from_priv_key_uri(uri, key, lambda name: secrets(f"{name} of {uri}"))
    except SettingsError:
        raise
    except Exception as error:  # as above
        raise _unusable(uri, error) from error


def _unusable(uri: str, error: Exception) -> SettingsError:
    if isinstance(error, UnsupportedLibraryError):
        return SettingsError(
            f"{uri}: {error}",
            hint="pip install 'securesystemslib[PKCS11]', or [awskms], [gcpkms], [azurekms]",
        )
    return SettingsError(
        f"{uri}: cannot be used ({type(error).__name__}: {error!s:.120})",
        hint="is it plugged in and reachable?",
    )


def _from_file(path: str) -> tuple[str, Key]:
    try:
        private = load_pem_private_key(Path(path).read_bytes(), None)
    except UnsupportedAlgorithm as error:
        raise ValueError("a key of an unknown kind") from error
    return f"file2:{Path(path).resolve()}", CryptoSigner(private).public_key


def _from_azure(rest: str) -> tuple[str, Key]:
    vault, _, name = rest.partition("/")
    return AzureSigner.import_(vault, name)


_FINDERS: dict[str, Callable[[str], tuple[str, Key]]] = {
    "hsm": lambda rest: HSMSigner.import_(int(rest) if rest else None),
    "awskms": AWSSigner.import_,
    "gcpkms": GCPSigner.import_,
    "azurekms": _from_azure,
    "hv": VaultSigner.import_,
    "file2": _from_file,
}
