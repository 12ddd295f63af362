"""Certificates as an operator has them: of a CA of the test, for hosts and for clients."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY: Final = timedelta(days=1)


class Certificate:
    """One with its key, and the files that they are in."""

    def __init__(self, certificate: x509.Certificate, key: Any, chain: bytes) -> None:
        self.certificate = certificate
        self.chain = certificate.public_bytes(Encoding.PEM) + chain
        self.key: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.serial = certificate.serial_number

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both, each by a rename; return the paths of the chain and of the key."""
        paths = directory / f"{name}.pem", directory / f"{name}.key"
        for path, content in zip(paths, (self.chain, self.key), strict=True):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.chmod(0o600)
            new.rename(path)
        return paths


class Authority:
    """A CA; by an intermediate one where a chain is to be more than a certificate."""

    def __init__(self, name: str = "a CA", parent: Authority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._parent = parent
        self._name = _named(name)
        signer = parent or self
        self.certificate = (
            _builder(self._name, signer._name, self._key, -_DAY, 2 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(signer._key, SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, *names: str, begins: timedelta = -_DAY, ends: timedelta = 2 * _DAY, key: Any = None
    ) -> Certificate:
        """Return one for host names and addresses, or for a client of that name."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        found = [_general(name) for name in names]
        certificate = (
            _builder(_named(names[0]), self._name, key, begins, ends)
            .add_extension(x509.SubjectAlternativeName(found), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return Certificate(certificate, key, self.pem if self._parent else b"")

    def trusted(self) -> ssl.SSLContext:
        """Return what a client needs that trusts nobody else."""
        root = self._parent or self
        return ssl.create_default_context(cadata=root.pem.decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def tls_config(*pairs: tuple[Path, Path], more: str = "") -> str:
    """Return the table [tls] for these files."""
    certificates = ", ".join(f'"{certificate}"' for certificate, _ in pairs)
    keys = ", ".join(f'"{key}"' for _, key in pairs)
    return f"[tls]\ncertificate_files = [{certificates}]\nkey_files = [{keys}]\n{more}\n"
