"""The head of an HTTP request: its line and its headers, strictly as RFC 9112 has them.

Whatever reads a header goes by this, so that no two readers differ. What it takes the websockets
library takes in the same sense, or refuses.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_LINE: Final = re.compile(rb"([A-Z]{1,20}) ([!-~]+) HTTP/1\.([01])")
# A name is a token, with no blank before the colon; a value is no control character but the tab.
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")

# As many as the websockets library takes.
MOST_HEADERS: Final = 128


class Head(NamedTuple):
    """What was asked for, and the headers in order: names in lower case, values as they came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    is_of_http_1_1: bool = True

    def values(self, name: str) -> list[str]:
        """Return the value of each header of that name, which is in lower case."""
        return [value for each, value in self.headers if each == name]


def parse(raw: bytes) -> Head | None:
    """Return the head that `raw` is, up to its empty line and that included; None: it is none.

    Bytes that are not ASCII are read as ISO-8859-1.
    """
    if not raw.endswith(b"\r\n\r\n"):
        return None
    line, *rest = raw[:-4].split(b"\r\n")
    request = _LINE.fullmatch(line)
    if request is None or len(rest) > MOST_HEADERS:
        return None
    headers = []
    for each in rest:
        header = _HEADER.fullmatch(each)
        if header is None:
            return None
        name, value = header.groups()
        headers.append((name.decode("ascii").lower(), value.rstrip(b" \t").decode("latin-1")))
    method, target, minor = request.groups()
    return Head(method.decode("ascii"), target.decode("ascii"), headers, minor == b"1")
