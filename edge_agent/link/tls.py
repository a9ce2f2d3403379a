"""TLS towards the broker: what is accepted, and what went wrong in words.

The operating system's certificate authorities or one of our own; TLS 1.2 or newer; the certificate's name is
always checked, against ``tls_server_name`` where that is set. Pins come on top: a certificate whose SHA-256
is not among them is refused, whoever signed it.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from edge_agent.errors import BrokerError
from edge_agent.link.address import BrokerAddress

_CA_HINT = "mqtt.ca_file must hold the authority that signed the broker's certificate"
_NAME_HINT = "connect by the name in the certificate, or set mqtt.tls_server_name to it"
_CLOCK_HINT = "renew it at the broker; a clock that is wrong looks alike"
_OWN_HINT = "set mqtt.cert_file and mqtt.key_file to this device's certificate and key"
_OWN_WRONG_HINT = "mqtt.cert_file must be signed by an authority that the broker trusts, and be valid"
_PORT_HINT = "use the broker's TLS port (often 8883), or set mqtt.tls to false"
_PIN_HINT = "if the broker's certificate was renewed, add its fingerprint to mqtt.tls_pins"

# X.509 verification codes of OpenSSL (x509_vfy.h)
_VERIFICATION: dict[int, tuple[str, str]] = {
    9: ("the broker's certificate is not valid yet", _CLOCK_HINT),
    10: ("the broker's certificate has expired", _CLOCK_HINT),
    18: ("the broker's certificate is self-signed", _CA_HINT),
    19: ("the broker's certificate is signed by an unknown authority", _CA_HINT),
    20: ("the broker's certificate is signed by an unknown authority", _CA_HINT),
    21: ("the broker's certificate is signed by an unknown authority", _CA_HINT),
    62: ("the broker's certificate is for another host name", _NAME_HINT),
    64: ("the broker's certificate is for another address", _NAME_HINT),
}

# Part of OpenSSL's reason → words, hint
_REASONS: tuple[tuple[str, str, str | None], ...] = (
    ("CERTIFICATE_REQUIRED", "the broker wants a certificate of this device", _OWN_HINT),
    ("ALERT_HANDSHAKE_FAILURE", "the broker wants a certificate of this device, or other ciphers", _OWN_HINT),
    ("ALERT_UNKNOWN_CA", "the broker does not know who signed this device's certificate", _OWN_WRONG_HINT),
    ("ALERT_BAD_CERTIFICATE", "the broker does not accept this device's certificate", _OWN_WRONG_HINT),
    ("ALERT_CERTIFICATE_EXPIRED", "this device's certificate has expired", _OWN_WRONG_HINT),
    ("ALERT_CERTIFICATE_REVOKED", "this device's certificate was revoked", _OWN_WRONG_HINT),
    ("ALERT_CERTIFICATE_UNKNOWN", "the broker does not accept this device's certificate", _OWN_WRONG_HINT),
    ("PROTOCOL_VERSION", "the broker speaks only TLS older than 1.2", None),
    ("UNSUPPORTED_PROTOCOL", "the broker speaks only TLS older than 1.2", None),
    ("WRONG_VERSION_NUMBER", "the broker does not speak TLS at this port", _PORT_HINT),
    ("RECORD_LAYER_FAILURE", "the broker does not speak TLS at this port", _PORT_HINT),
    ("HTTP_REQUEST", "the broker does not speak TLS at this port", _PORT_HINT),
    ("EOF", "the broker hung up in the TLS handshake; it may not speak TLS at this port", _PORT_HINT),
)


def make_context(address: BrokerAddress) -> ssl.SSLContext:
    """What TLS accepts and shows.

    The files are read each time, so that a renewed certificate serves from the next connection on.

    Raises:
        BrokerError: a file cannot be read, or does not hold what it should.
    """
    for setting, path in (
        ("ca_file", address.ca_file),
        ("cert_file", address.cert_file),
        ("key_file", address.key_file),
    ):
        _check_readable(setting, path)
    if address.transport == "unix" and address.tls_server_name is None:
        raise BrokerError(
            "a unix socket has no host name to check", hint="set mqtt.tls_server_name, or mqtt.tls to false"
        )
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=address.ca_file)
    except ssl.SSLError as error:
        raise BrokerError(f"no PEM certificate in mqtt.ca_file {address.ca_file}", hint=_CA_HINT) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    if address.cert_file is not None:
        _load_own(context, address.cert_file, address.key_file)
    elif address.key_file is not None:
        raise BrokerError("mqtt.key_file without mqtt.cert_file", hint=_OWN_HINT)
    return context


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, in hex: what ``mqtt.tls_pins`` holds."""
    return hashlib.sha256(certificate).hexdigest()


def check_pins(certificate: bytes | None, pins: tuple[str, ...]) -> None:
    """Refuses a broker whose certificate is not among the pins.

    Args:
        certificate: DER, as the handshake brought it.
        pins: SHA-256 fingerprints in hex, with or without colons; empty to accept any.

    Raises:
        BrokerError: it is not among them.
    """
    if not pins:
        return
    shown = fingerprint(certificate or b"")
    if shown not in {pin.replace(":", "").strip().lower() for pin in pins}:
        raise BrokerError(
            f"the broker's certificate is none of mqtt.tls_pins: its fingerprint is {shown}", hint=_PIN_HINT
        )


def in_words(error: ssl.SSLError) -> tuple[str, str | None]:
    """What went wrong in a handshake or after it, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFICATION.get(error.verify_code)
        return known or (f"the broker's certificate is refused: {error.verify_message}", _CA_HINT)
    reason = f"{error.reason or ''} {type(error).__name__}".upper()
    for part, words, hint in _REASONS:
        if part in reason:
            return words, hint
    return f"TLS failed: {(error.reason or 'unknown reason').replace('_', ' ').lower()}", None


def _load_own(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            message = f"mqtt.key_file {key_file} is not the key of mqtt.cert_file {cert_file}"
            raise BrokerError(message, hint=_OWN_HINT) from error
        raise BrokerError(
            f"no PEM certificate and key in mqtt.cert_file {cert_file} and mqtt.key_file {key_file}",
            hint="both must be PEM, and the key must not be encrypted",
        ) from error


def _check_readable(setting: str, path: str | None) -> None:
    if path is None:
        return
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise BrokerError(
            f"cannot read mqtt.{setting} {path}: {error.strerror}",
            hint="the file must be there, and readable for the user that runs edge-agentd",
        ) from error
