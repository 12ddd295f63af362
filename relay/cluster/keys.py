"""The secrets of a cluster: who may be one of its hosts.

All hosts have the same, in one file. Whoever has it can be any of them, so there is one certificate
for all, with the addresses of all, and one pair of keys for the bus.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import zmq
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.errors import BootError
from relay.settings.clustering import ClusterSettings

# Nobody is there to renew them, and a cluster whose certificate has expired is down.
_GOOD_FOR: Final = timedelta(days=20 * 365)
# For hosts whose clocks are behind.
_GOOD_BEFORE: Final = timedelta(days=1)
_PASSWORD_BYTES: Final = 32
_CURVE: Final = ec.SECP256R1()


class Secrets(NamedTuple):
    """What `[cluster]` has under these names: certificates and keys in PEM, the bus's in Z85."""

    ca: str
    ca_key: str
    certificate: str
    certificate_key: str
    password: str
    bus_public: str
    bus_secret: str


def make_secrets(name: str, addresses: Iterable[str]) -> Secrets:
    """Return new secrets for the cluster `name`, whose hosts are at `addresses`."""
    key = ec.generate_private_key(_CURVE)
    authority = _named(f"authority of {name}")
    ca = (
        _builder(authority, authority, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_identifier(key), critical=False)
        .sign(key, SHA256())
    )
    signed = sign_certificate(ca, key, name, addresses)
    bus_public, bus_secret = zmq.curve_keypair()
    return Secrets(
        ca=_pem(ca),
        ca_key=_pem(key),
        certificate=signed.certificate,
        certificate_key=signed.key,
        password=secrets.token_urlsafe(_PASSWORD_BYTES),
        bus_public=bus_public.decode(),
        bus_secret=bus_secret.decode(),
    )


class Signed(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


def sign_certificate(
    ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, name: str, addresses: Iterable[str]
) -> Signed:
    """Return a certificate of the authority `ca` for the hosts at `addresses`."""
    key = ec.generate_private_key(_CURVE)
    certificate = (
        _builder(_named(f"hosts of {name}"), ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        # A host is a server to others, and their client.
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([_alternative(each) for each in addresses]), critical=False
        )
        .add_extension(_identifier(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
        .sign(ca_key, SHA256())
    )
    return Signed(_pem(certificate), _pem(key))


def is_named(certificate: str, address: str) -> bool:
    """Tell whether a certificate, in PEM, is for an address."""
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return _alternative(address) in names


def require_secrets(cluster: ClusterSettings) -> None:
    """Return if the secrets are whole and go together, for the address of this host.

    Raises:
        BootError: one line says what is wrong, and tells nothing of what is in them.
    """
    try:
        [ca] = x509.load_pem_x509_certificates(cluster.ca.encode())
    except ValueError:
        raise BootError("cluster.ca is not one certificate in PEM") from None
    try:
        [certificate] = x509.load_pem_x509_certificates(cluster.certificate.encode())
    except ValueError:
        raise BootError("cluster.certificate is not one certificate in PEM") from None
    try:
        key = load_pem_private_key(cluster.certificate_key.encode(), password=None)
    except (ValueError, TypeError):
        raise BootError("cluster.certificate_key is no private key in PEM") from None
    if key.public_key() != certificate.public_key():
        raise BootError("cluster.certificate_key is not the key of cluster.certificate")
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        raise BootError("cluster.certificate is not signed by cluster.ca") from None
    _require_valid(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for name, address in cluster.addresses.items():
        if _alternative(address) not in names:
            raise BootError(
                f"cluster.certificate is not for {address}, the address of {name} in cluster.hosts:"
                " it is for those of the file that `relay cluster init` wrote"
            )
    require_bus_keys(cluster)


def require_bus_keys(cluster: ClusterSettings) -> None:
    """Return if the keys of the bus go together.

    Raises:
        BootError: as `require_secrets`.
    """
    try:
        public = zmq.curve_public(cluster.bus_secret.encode()).decode()
    except (zmq.ZMQError, ValueError):
        raise BootError("cluster.bus_secret is no key of CURVE") from None
    if public != cluster.bus_public:
        raise BootError("cluster.bus_secret is not the secret half of cluster.bus_public")


def _require_valid(certificate: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise BootError(
            f"cluster.certificate has expired, on {certificate.not_valid_after_utc:%Y-%m-%d}:"
            " `relay cluster init` makes another"
        )
    if certificate.not_valid_before_utc > now:
        raise BootError(
            f"cluster.certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}:"
            " this host's clock is wrong"
        )


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _GOOD_BEFORE)
        .not_valid_after(now + _GOOD_FOR)
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


def _pem(what: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(Encoding.PEM).decode()
    return what.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())
