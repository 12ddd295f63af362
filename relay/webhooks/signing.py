"""Signatures of what is posted, as Standard Webhooks has them (v1).

The signed text is ID.TIMESTAMP.BODY, of the headers webhook-id and webhook-timestamp. Every secret
of the file signs, so that a receiver may go from one to the next at its leisure.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

from relay import log
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError

PREFIX: Final = b"whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
# Each is a signature of 47 bytes in a header.
MOST_SECRETS: Final = 8


def sign(secrets: Sequence[bytes], name: str, time_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign `body` under the id `name`, as of `time_s`."""
    text = f"{name}.{time_s}.".encode() + body
    signatures = (b64encode(hmac.digest(secret, text, "sha256")).decode() for secret in secrets)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


def read_secrets(content: bytes) -> list[bytes]:
    """Return the secrets of a file in its order; lines that begin with # say nothing.

    Raises:
        SettingsError: a line is no secret, or there are none, or too many.
    """
    found: list[bytes] = []
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            if not text.startswith(PREFIX):
                raise ValueError
            secret = b64decode(text[len(PREFIX) :], validate=True)
        except (ValueError, binascii.Error):
            raise SettingsError(
                f"line {number} is no secret: whsec_ and base64 are expected, such as"
                " echo whsec_$(openssl rand -base64 32)"
            ) from None
        if not LEAST_BYTES <= len(secret) <= MOST_BYTES:
            raise SettingsError(
                f"line {number} has a secret of {len(secret)} bytes; {LEAST_BYTES} to"
                f" {MOST_BYTES} are allowed"
            )
        found.append(secret)
    if not 1 <= len(found) <= MOST_SECRETS:
        raise SettingsError(f"it has {len(found)} secrets; 1 to {MOST_SECRETS} are allowed")
    return found


class Secrets:
    """Those of a file, read again when it has changed; a bad file keeps those of before."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            SettingsError: it is unusable.
        """
        self._file = SecretFile(path, "webhooks.secret_file", is_secret=True)
        self.all: Sequence[bytes] = self._read()

    def refresh(self) -> None:
        """Read the file again if it is another."""
        if self._file.has_changed():
            try:
                self.all = self._read()
            except SettingsError as error:
                log.get_logger().error("webhooks.secrets_refused", reason=str(error), kept="old")
            else:
                log.get_logger().info("webhooks.secrets_taken", secrets=len(self.all))

    def _read(self) -> list[bytes]:
        content = self._file.read()
        try:
            return read_secrets(content)
        except SettingsError as error:
            raise SettingsError(f"{self._file.setting}: {self._file.path}: {error}") from None
