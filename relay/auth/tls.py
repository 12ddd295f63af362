"""What the port shows of itself over TLS. Its libraries are loaded where there are certificates."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from relay.errors import SettingsError
from relay.settings.tables import TlsSettings


class Certificates(Protocol):
    """Those of the settings, in one process."""

    settings: TlsSettings
    asks_clients: bool
    warnings: Sequence[str]  # what clients will not like of them, a line each

    expiries: Mapping[str, float]  # until when each is good: seconds since 1970, by its file

    @property
    def context(self) -> ssl.SSLContext:
        """What the next connection begins with; the name that it asks for may change it."""

    def refresh(self) -> bool:
        """Read again what has changed on the disk; tell whether others are shown now.

        What cannot be used stays as it was, and the log says so once.
        """

    def log_warnings(self) -> None:
        """Log the warnings."""


def certificates_of(settings: TlsSettings) -> Certificates | None:
    """Return the certificates of these settings, None where the port speaks no TLS.

    Raises:
        SettingsError: settings do not go together, or files are unusable; it tells every one.
    """
    if problems := tuple(_disagreements(settings)):
        raise SettingsError(*problems)
    if not settings.certificate_files:
        return None
    from relay.auth.certificates import CertificateFiles

    return CertificateFiles(settings)


def warnings_of(settings: TlsSettings) -> Sequence[str]:
    """Return what clients will not like of the certificates.

    Raises:
        SettingsError: as `certificates_of`.
    """
    certificates = certificates_of(settings)
    return certificates.warnings if certificates is not None else ()


def _disagreements(settings: TlsSettings) -> Iterator[str]:
    certificates, keys = len(settings.certificate_files), len(settings.key_files)
    if certificates != keys:
        yield (
            f"tls.key_files: {keys} for {certificates} of tls.certificate_files: each certificate"
            " has a key of its own, in the same order"
        )
    if settings.client_certificates != "none":
        for name in ("certificate_files", "client_ca_file"):
            if not getattr(settings, name):
                yield f'tls.client_certificates = "{settings.client_certificates}" needs tls.{name}'
