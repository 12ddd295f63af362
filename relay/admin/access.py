"""Who may do what: by a bearer token, or by having reached the socket in the run directory."""

from __future__ import annotations

import enum
import hmac
from collections.abc import Mapping
from typing import Final

from relay import log
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError

# One that can be guessed is none: 128 bits in hexadecimal, or 24 bytes in base64, have as many.
LEAST_TOKEN_BYTES: Final = 32


class Permission(enum.Enum):
    """What a request needs. The value is how a token file spells it."""

    READ = "read"  # to look, without what people have written
    ACT = "act"  # to change something, or do something to somebody
    TEXTS = "texts"  # to see what people have written


# The directory of the socket is its owner's alone, who could read the data themselves.
OF_THE_SOCKET: Final = frozenset({Permission.READ, Permission.ACT})


def read_tokens(content: bytes) -> dict[bytes, frozenset[Permission]]:
    """Return what each token of a file may; lines that begin with # say nothing.

    Raises:
        SettingsError: a line is no token with what it may, or a token is short enough to guess.
    """
    tokens: dict[bytes, frozenset[Permission]] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        token, *words = line.split() or [b"#"]
        if token.startswith(b"#"):
            continue
        if len(token) < LEAST_TOKEN_BYTES:
            raise SettingsError(
                f"line {number} has a token of {len(token)} bytes, at least {LEAST_TOKEN_BYTES}"
                " are needed: openssl rand -hex 32"
            )
        try:
            tokens[token] = frozenset(Permission(word.decode()) for word in words)
        except ValueError:
            known = ", ".join(each.value for each in Permission)
            raise SettingsError(f"line {number} says what is none of {known}") from None
        if not words:
            raise SettingsError(f"line {number} does not say what its token may")
    if not tokens:
        raise SettingsError("it has no token")
    return tokens


class Tokens:
    """The tokens of a file, read again when it has changed; a bad file keeps those of before."""

    def __init__(self, path: str) -> None:
        """Read the file, if there is a path.

        Raises:
            SettingsError: it is unusable.
        """
        self._file = SecretFile(path, "admin.token_file", is_secret=True) if path else None
        self._tokens: Mapping[bytes, frozenset[Permission]] = {}
        self._lines: Mapping[bytes, int] = {}
        if self._file is not None:
            self._tokens = self._read(self._file)

    def _read(self, file: SecretFile) -> dict[bytes, frozenset[Permission]]:
        content = file.read()
        try:
            tokens = read_tokens(content)
            lines = enumerate(content.splitlines(), start=1)
            self._lines = {line.split()[0]: n for n, line in lines if line.split()}
            return tokens
        except SettingsError as error:
            raise SettingsError(f"{file.setting}: {file.path}: {error}") from None

    def refresh(self) -> None:
        """Read the file again if it is another."""
        if self._file is not None and self._file.has_changed():
            try:
                self._tokens = self._read(self._file)
            except SettingsError as error:
                log.get_logger().error("admin.tokens_refused", reason=str(error), kept="the old")
            else:
                log.get_logger().info("admin.tokens_taken", tokens=len(self._tokens))

    def permissions_of(self, token: bytes) -> frozenset[Permission] | None:
        """Return what `token` may, None where there is none such: in the same time for each."""
        found = None
        for known, permissions in self._tokens.items():
            if hmac.compare_digest(known, token):
                found = permissions
        return found

    def name_of(self, token: bytes) -> str:
        """Return what tells in the log whose a known token is, and gives nothing of it away."""
        return f"token of line {self._lines.get(token, 0)}"
