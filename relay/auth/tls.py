"""What the port shows of itself over TLS. Its libraries are loaded where there are certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from relay.errors import SettingsError
from relay.settings.tables import AdminSettings, Settings, TlsSettings


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


def certificate_of_admin(settings: AdminSettings) -> Certificates | None:
    """Return the certificate of the admin's API over TCP, None where that has none.

    Raises:
        SettingsError: a file is unusable; it tells every one.
    """
    if not (settings.tls_certificate and settings.tls_key):
        return None
    from relay.auth.certificates import CertificateFiles  # its libraries take some MiB

    files = TlsSettings(
        certificate_files=(settings.tls_certificate,), key_files=(settings.tls_key,)
    )
    return CertificateFiles(files, ("admin.tls_certificate", "admin.tls_key"))


def all_warnings_of(settings: Settings) -> Sequence[str]:
    """Return what clients will not like of the port's certificates, nor operators of the admin's.

    Raises:
        SettingsError: as `certificates_of` and `certificate_of_admin`.
    """
    warnings: list[str] = []
    problems: list[str] = []
    admin = AdminSettings() if settings.admin.disabled else settings.admin
    readers: tuple[Callable[[], Certificates | None], ...] = (
        lambda: certificates_of(settings.tls),
        lambda: certificate_of_admin(admin),
    )
    for read in readers:
        try:
            certificates = read()
        except SettingsError as error:
            problems += error.problems
        else:
            warnings += certificates.warnings if certificates is not None else ()
    if problems:
        raise SettingsError(*problems)
    return warnings


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
