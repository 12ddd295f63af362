"""Certificates of the port by the names that they are for, read from files and watched.

TLS 1.2 and 1.3, with ciphers that encrypt and authenticate in one and keys that are used once.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from relay import log
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError
from relay.settings.tables import TlsSettings

# Of TLS 1.2; those of 1.3 are all of this kind.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
# A client has one connection and comes again with a ticket of its last one at most.
TICKETS: Final = 1

# A chain of ten with keys of 4096 bits has 20 KiB. What a front reads beside its clients takes some
# time of theirs: so much is 15 ms.
MAX_BYTES: Final = 64 * 1024
# All authorities that a browser trusts have 220 KiB.
MAX_AUTHORITIES_BYTES: Final = 512 * 1024

OF_THE_PORT: Final = ("tls.certificate_files", "tls.key_files")

_VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class _Pair(NamedTuple):
    """A certificate, its key, and the names that it is for, in lower case."""

    context: ssl.SSLContext
    names: frozenset[str]
    until_s: float  # it is good


class _Files(NamedTuple):
    certificate: SecretFile
    key: SecretFile


class CertificateFiles:
    """The `Certificates` of files.

    Raises:
        SettingsError: from the start, where a file is unusable; it tells every one.
    """

    def __init__(self, settings: TlsSettings, names: tuple[str, str] = OF_THE_PORT) -> None:
        """`names` are of the settings that name the certificates and the keys, for people."""
        self.settings = settings
        self.asks_clients = settings.client_certificates != "none"
        self._files = [
            _Files(
                SecretFile(certificate, names[0], is_secret=False, max_bytes=MAX_BYTES),
                SecretFile(key, names[1], is_secret=True, max_bytes=MAX_BYTES),
            )
            for certificate, key in zip(settings.certificate_files, settings.key_files, strict=True)
        ]
        self._client_ca = (
            SecretFile(
                settings.client_ca_file,
                "tls.client_ca_file",
                is_secret=False,
                max_bytes=MAX_AUTHORITIES_BYTES,
            )
            if self.asks_clients
            else None
        )
        self.warnings: Sequence[str] = ()
        self.expiries: Mapping[str, float] = {}
        self._context, self._by_name = self._read()

    @property
    def context(self) -> ssl.SSLContext:
        """See `Certificates.context`."""
        return self._context

    def refresh(self) -> bool:
        """See `Certificates.refresh`."""
        watched = [file for files in self._files for file in files]
        if self._client_ca is not None:
            watched.append(self._client_ca)
        have_changed = [file.has_changed() for file in watched]  # each of them is to note it
        if not any(have_changed):
            return False
        try:
            self._context, self._by_name = self._read()
        except SettingsError as error:
            log.get_logger().error("tls.certificates_unusable", reason=str(error), kept="the old")
            return False
        log.get_logger().info("tls.certificates_read", files=len(self._files))
        self.log_warnings()
        return True

    def log_warnings(self) -> None:
        """See `Certificates.log_warnings`."""
        for warning in self.warnings:
            log.get_logger().warning("tls.certificate_warning", reason=warning)

    # ---------------------------------------------------------------------------------- reading

    def _read(self) -> tuple[ssl.SSLContext, Mapping[str, ssl.SSLContext]]:
        """Return the context of the first pair, and all by name."""
        problems: list[str] = []
        warnings: list[str] = []
        client_ca: Sequence[bytes] = ()
        if self._client_ca is not None:
            try:
                client_ca = _read_authorities(self._client_ca)
            except SettingsError as error:
                problems += error.problems
        pairs = []
        for files in self._files:
            try:
                pairs.append(self._read_pair(files, client_ca, warnings))
            except SettingsError as error:
                problems += error.problems
        if problems:
            raise SettingsError(*problems)
        by_name: dict[str, ssl.SSLContext] = {}
        for pair in pairs:
            for name in pair.names:
                by_name.setdefault(name, pair.context)
        self.warnings = warnings
        paths = (files.certificate.path for files in self._files)
        self.expiries = {path: pair.until_s for path, pair in zip(paths, pairs, strict=True)}
        pairs[0].context.sni_callback = self._choose
        return pairs[0].context, by_name

    def _read_pair(self, files: _Files, client_ca: Sequence[bytes], warnings: list[str]) -> _Pair:
        certificate = _read_pair(files, warnings)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = TICKETS
        context.set_alpn_protocols(["http/1.1"])
        context.verify_mode = _VERIFY[self.settings.client_certificates]
        try:
            # From the files once more, since there is no other way in; should they have changed
            # in between and not go together, this fails, and they are read again for the change.
            context.load_cert_chain(files.certificate.path, files.key.path)
            for authority in client_ca:  # one by one, as other threads wait for each call
                context.load_verify_locations(cadata=authority)
        except (ssl.SSLError, OSError) as error:
            named = files.certificate
            raise SettingsError(
                f"{named.setting}: {named.path} cannot be used: {_words(error)}"
            ) from None
        until_s = certificate.not_valid_after_utc.timestamp()
        return _Pair(context, _names_of(certificate), until_s)

    # --------------------------------------------------------------------------- by their names

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Take the certificate of the name that a client asks for; else it stays the first."""
        if name is None:
            return
        name = name.lower().rstrip(".")
        found = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        if found is not None:
            tls.context = found


def _read_pair(files: _Files, warnings: list[str]) -> x509.Certificate:
    """Return the first certificate of a chain whose key is in the other file.

    Raises:
        SettingsError: one of them is unusable, or they do not go together.
    """
    certificate, key = files
    try:
        first, *_ = x509.load_pem_x509_certificates(certificate.read())
    except ValueError:
        raise SettingsError(
            f"{certificate.setting}: {certificate.path} is no certificate in PEM"
        ) from None
    try:
        # A front reads it beside its clients: to look whether the factors of 4096 bits are primes
        # would be a quarter of a second without any of them. A signature shows as much, in 5 ms.
        private = load_pem_private_key(
            key.read(), password=None, unsafe_skip_rsa_key_validation=True
        )
        _try(private)
    except TypeError:
        raise SettingsError(
            f"{key.setting}: {key.path} is encrypted, and nobody is there to say the password"
        ) from None
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise SettingsError(f"{key.setting}: {key.path} is no private key in PEM") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise SettingsError(f"{key.setting}: {key.path} is not the key of {certificate.path}")
    now = datetime.now(UTC)
    if first.not_valid_after_utc < now:
        warnings.append(f"{certificate.path} has expired, on {_day(first.not_valid_after_utc)}")
    elif first.not_valid_before_utc > now:
        warnings.append(f"{certificate.path} is not valid until {_day(first.not_valid_before_utc)}")
    if not _names_of(first):
        warnings.append(f"{certificate.path} names no host (no DNS name or address in its SAN)")
    return first


def _try(private: PrivateKeyTypes) -> None:
    """Sign something if it is of RSA; those of other kinds are checked as they are read.

    Raises:
        ValueError, InvalidSignature: its parts do not go together.
    """
    if isinstance(private, RSAPrivateKey):
        signature = private.sign(b"", PKCS1v15(), SHA256())
        private.public_key().verify(signature, b"", PKCS1v15(), SHA256())


def _read_authorities(file: SecretFile) -> Sequence[bytes]:
    content = file.read()
    try:
        found = x509.load_pem_x509_certificates(content)
        return [authority.public_bytes(Encoding.DER) for authority in found]
    except ValueError:
        raise SettingsError(f"{file.setting}: {file.path} is no certificate in PEM") from None


def _names_of(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    names = found.get_values_for_type(x509.DNSName)
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return frozenset(name.lower() for name in (*names, *addresses))


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or "unknown"
    return str(reason).replace("_", " ").lower()
