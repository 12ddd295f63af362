"""The file of a cluster with a host more, or one less: the same text, but for what that changes.

Pure but for `write_new`.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.cluster.keys import is_named, sign_certificate
from relay.errors import RelayError
from relay.settings.clustering import ClusterSettings

_HOSTS: Final = re.compile(r"^[ \t]*hosts[ \t]*=[ \t]*\[[^\]]*\]", re.MULTILINE)


class NotChanged(RelayError):
    """The file cannot be made into the one that is asked for; the message says why."""


class Changed(NamedTuple):
    """The text of the new file, and whether its certificate is a new one."""

    text: str
    is_signed_anew: bool = False


def with_host(text: str, cluster: ClusterSettings, host: str) -> Changed:
    """Return the file `text` of `cluster` with the host "NAME=ADDRESS" at the end of the list.

    At the end: there it takes its share of the ranges and moves no others. Where the certificate
    is not for its address, a new one is, of the same authority, which all hosts go on trusting.

    Raises:
        NotChanged: its name or address is there already, or the file is not written so.
    """
    name, _, address = host.partition("=")
    if name in cluster.addresses:
        raise NotChanged(f"there is a host {name} already, at {cluster.addresses[name]}")
    if address in cluster.addresses.values():
        raise NotChanged(f"there is a host at {address} already")
    hosts = [*cluster.hosts, host]
    changes: dict[str, Any] = {"hosts": hosts}
    new = _with_hosts(text, hosts)
    is_signed_anew = not is_named(cluster.certificate, address)
    if is_signed_anew:
        certificate, key = _sign(cluster, [*cluster.addresses.values(), address])
        for was, is_now, what in (
            (cluster.certificate, certificate, "certificate"),
            (cluster.certificate_key, key, "certificate_key"),
        ):
            if new.count(was) != 1:
                raise NotChanged(f"cluster.{what} is not written as `relay cluster init` does it")
            new = new.replace(was, is_now)
            changes[what] = is_now
    _require_same(text, new, changes)
    return Changed(new, is_signed_anew)


def without_host(text: str, cluster: ClusterSettings, name: str) -> Changed:
    """Return the file `text` of `cluster` without a host.

    Raises:
        NotChanged: it is not there, or the file is not written so.
    """
    if name not in cluster.addresses:
        raise NotChanged(f"there is no host {name}: they are {', '.join(cluster.addresses)}")
    if name == cluster.witness:
        raise NotChanged(f"{name} is the witness: change cluster.witness by hand first")
    hosts = [each for each in cluster.hosts if each.partition("=")[0] != name]
    new = _with_hosts(text, hosts)
    _require_same(text, new, {"hosts": hosts})
    return Changed(new)


def _with_hosts(text: str, hosts: list[str]) -> str:
    # What is allowed in a host JSON and TOML write alike.
    line = f"hosts = {msgspec.json.encode(hosts).decode()}"
    new, count = _HOSTS.subn(lambda _: line, text)
    if count != 1:
        raise NotChanged("cluster.hosts is not written as `relay cluster init` does it")
    return new


def _require_same(text: str, new: str, changes: dict[str, Any]) -> None:
    """Make sure that nothing else has changed."""
    try:
        before, after = tomllib.loads(text), tomllib.loads(new)
        before["cluster"].update(changes)
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise NotChanged(f"the file cannot be changed as it is written: {error}") from None
    if before != after:
        raise NotChanged("the file cannot be changed as it is written: change it by hand")


def _sign(cluster: ClusterSettings, addresses: list[str]) -> tuple[str, str]:
    if not cluster.ca_key:
        raise NotChanged(
            "the certificate is not for that address, and cluster.ca_key is not there to sign"
            " another: put it into the file again"
        )
    try:
        ca = x509.load_pem_x509_certificate(cluster.ca.encode())
        key = load_pem_private_key(cluster.ca_key.encode(), password=None)
    except (ValueError, TypeError):
        raise NotChanged("cluster.ca or cluster.ca_key is no such thing in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise NotChanged("cluster.ca_key is not the key of cluster.ca")
    signed = sign_certificate(ca, key, cluster.name, addresses)
    return signed.certificate, signed.key
