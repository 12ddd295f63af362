"""How settings and their values are written for a person: on one line, quoted, within bounds."""

import json
import re
from typing import Any, Final

from msgspec import inspect as types

# What stands where a secret would.
HIDDEN: Final = "***"
# Of a value that is refused; the rest of it would not help.
_MOST_SHOWN: Final = 80


def quoted(text: str) -> str:
    """Return `text` on one line, quoted and escaped as in TOML and JSON."""
    return json.dumps(text)


def key_word(name: str) -> str:
    """Return `name` as a key is written, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]+", name) else quoted(name)


def one_line(text: str) -> str:
    """Return `text` itself if it prints as one line, otherwise quoted."""
    return text if text.isprintable() else quoted(text)


def shown(value: object) -> str:
    """Return a value of a file or flag as it is told back, on one line, cut if it is long."""
    # A date or an array is as wrong as anything: it need not look its best.
    text = json.dumps(value, default=str)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."


def allowed(kind: Any) -> str | None:
    """Say in words which values the type of a setting allows; None: it has no such words."""
    match types.type_info(kind):
        case types.BoolType():
            return "true or false"
        case types.IntType(ge=int(low), le=int(high)):
            return f"an integer from {low} to {high}"
        case types.FloatType(ge=int() | float() as low, le=int() | float() as high):
            return f"a number from {low} to {high}"
        case types.LiteralType(values=values):
            return " or ".join(quoted(str(value)) for value in values)
        case types.Metadata(extra_json_schema={"description": str(words)}):
            return words
    return None
