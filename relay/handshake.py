"""How a client's TLS begins, and why it came to nothing.

For both who connect to a relay from outside: `relay.client` and the load generator.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, NoReturn

from relay.errors import SettingsError
from relay.trust import Trust

# Of a certificate that was not believed, by OpenSSL's X509_V_ERR_... (x509_vfy.h).
_NOT_BELIEVED: Final = {
    9: "its certificate is not yet valid",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, and is not trusted here",
    19: "its certificate comes from an authority that is not trusted here",
    20: "its certificate comes from an authority that is not trusted here",
    21: "its certificate comes from an authority that is not trusted here",
}
_ANOTHER_HOST: Final = frozenset({62, 64})
# Of a handshake that failed, by the end of OpenSSL's reason; whole names differ by version.
_REASONS: Final = {
    "CERTIFICATE_REQUIRED": "it wants a client certificate",
    "ALERT_UNKNOWN_CA": "it does not trust the authority of the client certificate",
    "ALERT_CERTIFICATE_EXPIRED": "the client certificate has expired",
    "ALERT_CERTIFICATE_REVOKED": "the client certificate is revoked",
    "ALERT_CERTIFICATE_UNKNOWN": "it refuses the client certificate",
    "ALERT_BAD_CERTIFICATE": "it refuses the client certificate",
    "ALERT_HANDSHAKE_FAILURE": "it refuses the handshake; perhaps it wants a client certificate",
    "WRONG_VERSION_NUMBER": "no TLS is spoken there; perhaps it is ws:// in place of wss://",
    "RECORD_LAYER_FAILURE": "no TLS is spoken there; perhaps it is ws:// in place of wss://",
    "HTTP_REQUEST": "no TLS is spoken there; perhaps it is ws:// in place of wss://",
    "ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that is safe",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that is safe",
}
# Servers on asyncio or uvloop end a connection before their alert has left.
SILENT_END: Final = (
    "it ended the connection in the handshake;"
    " perhaps it speaks no TLS, or wants another client certificate"
)


def tls_context(trust: Trust) -> ssl.SSLContext:
    """Return what a client needs for TLS 1.2 or newer; one serves any number of connections.

    Raises:
        SettingsError: a file cannot be read, or has not what it should.
    """
    if trust.key_file and not trust.certificate_file:
        raise SettingsError(f"{trust.key_file}: a key without its certificate")
    for path in (trust.ca_file, trust.certificate_file, trust.key_file):
        _look_at(path)
    try:
        context = ssl.create_default_context(cafile=trust.ca_file or None)
    except ssl.SSLError as error:
        raise SettingsError(f"{trust.ca_file}: no certificates in PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.certificate_file:
        _load_own(context, trust)
    return context


def why(error: BaseException, host: str) -> str:
    """Return in a few words why TLS with `host` came to nothing; empty where it is not TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _ANOTHER_HOST:
            return f"its certificate is not for {host}"
        told = _NOT_BELIEVED.get(error.verify_code)
        return told or f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason or error)
        known = (words for end, words in _REASONS.items() if reason.endswith(end))
        return next(known, f"TLS failed: {reason.lower().replace('_', ' ')}")
    return ""


def _look_at(path: str) -> None:
    if not path:
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


def _load_own(context: ssl.SSLContext, trust: Trust) -> None:
    certificate, key = trust.certificate_file, trust.key_file or trust.certificate_file

    def refuse() -> NoReturn:  # else OpenSSL asks at the terminal
        raise SettingsError(f"{key}: the key is encrypted; a client has nobody to ask")

    try:
        context.load_cert_chain(certificate, trust.key_file or None, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{key}: not the key of {certificate}") from error
        both = certificate if key == certificate else f"{certificate}, {key}"
        raise SettingsError(f"{both}: no certificate and key in PEM") from error
