"""Certificates of tests, as the two ends of a connection take them: files and contexts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from .certificates import Authority, Certificate

LOOPBACK: Final = ("127.0.0.1", "localhost")


def ca_file(authority: Authority, directory: Path, name: str = "authority") -> Path:
    """Write what a client trusts; return its path."""
    path = directory / f"{name}.pem"
    path.write_bytes(authority.pem)
    return path


def serving(
    authority: Authority,
    directory: Path,
    own: Certificate | None = None,
    *,
    wants_clients: bool = False,
) -> ssl.SSLContext:
    """Return what a server needs that shows `own`, and perhaps wants clients of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(own or authority.issue(*LOOPBACK)).write(directory, "server"))
    if wants_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authority.pem.decode())
    return context
