"""An authority of one's own, and certificates that it signs: for relays, proxies and clients."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY: Final = datetime.timedelta(days=1)
LOOPBACK: Final = ("127.0.0.1", "localhost")


class Certificate:
    """Two PEM files: a certificate and its key, which nobody else may read."""

    def __init__(self, directory: Path, name: str, certificate: bytes, key: bytes) -> None:
        self.file = directory / f"{name}.pem"
        self.key_file = directory / f"{name}.key"
        self.file.write_bytes(certificate)
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(key)


class Authority:
    """Signs certificates, whose files it writes below `directory`; `file` has its own."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(name)
        mine = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(mine)
        own = (
            _begun(self._subject, self._subject, self._key, -1, 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(mine, critical=False)
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(own.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def server(
        self, *hosts: str, name: str = "server", from_day: int = -1, to_day: int = 7
    ) -> Certificate:
        """Return one of a server at `hosts`, good from and to so many days from now."""
        names = [_host(host) for host in hosts or LOOPBACK]
        return self._signed(
            name,
            ExtendedKeyUsageOID.SERVER_AUTH,
            from_day,
            to_day,
            x509.SubjectAlternativeName(names),
        )

    def client(self, name: str = "client", *, from_day: int = -1, to_day: int = 7) -> Certificate:
        """Return one of a client."""
        return self._signed(name, ExtendedKeyUsageOID.CLIENT_AUTH, from_day, to_day)

    def trust(self, own: Certificate | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority, and perhaps shows `own`."""
        context = ssl.create_default_context(cafile=str(self.file))
        if own is not None:
            context.load_cert_chain(own.file, own.key_file)
        return context

    def serving(self, own: Certificate, *, wants_clients: bool = False) -> ssl.SSLContext:
        """Return what a server needs that shows `own`, and perhaps wants clients of ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.file, own.key_file)
        if wants_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context

    def _signed(
        self,
        name: str,
        purpose: x509.ObjectIdentifier,
        from_day: int,
        to_day: int,
        *more: x509.ExtensionType,
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = (
            _begun(_named(name), self._subject, key, from_day, to_day)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(self._signer, critical=False)
        )
        for extension in more:
            wanted = wanted.add_extension(extension, critical=False)
        return Certificate(
            self._directory,
            name,
            wanted.sign(self._key, SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    from_day: int,
    to_day: int,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + from_day * _DAY)
        .not_valid_after(now + to_day * _DAY)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
