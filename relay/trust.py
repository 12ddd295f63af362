"""Whom a client trusts over TLS, and what it shows of itself: names of files, and nothing read.

`relay.handshake` makes something of it; apart from it, as a `--help` needs no TLS.
"""

from __future__ import annotations

import msgspec


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files. Empty: what the system trusts, and no certificate of one's own.

    `ca_file` stands in place of what the system trusts, not beside it: whoever names the authority
    of its relay wants to hear it from no other. `key_file` may be left out where the certificate's
    file has the key too.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
