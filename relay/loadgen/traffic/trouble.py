"""What came when a login did not: the first frame or close that nobody expected, for a person."""

from collections.abc import Callable
from typing import Final

_MAX_SHOWN: Final = 200


class Trouble:
    """What stands between users and their logins; lines for a person, empty where there is none.

    `first` is the first frame or close that came instead of a login, `latest` the latest reason for
    which a connection failed or ended. `on_first` is called once, with `first`.
    """

    def __init__(self, on_first: Callable[[str], None] = lambda _: None) -> None:
        self.first = ""
        self.latest = ""
        self._on_first = on_first

    def came(self, what: str) -> None:
        """Note what came instead of a login."""
        if not self.first:
            self.first = what
            self._on_first(what)


def shown(text: bytes | str) -> str:
    """Return what a server said as one line: at most 200 characters, whatever is in it."""
    if isinstance(text, bytes):
        text = text[: 4 * (_MAX_SHOWN + 1)].decode(errors="replace")
    line = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text[: _MAX_SHOWN + 1]
    )
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"
