"""Addresses: the one jid grammar (PROTOCOL R11) and the spellings that go out (R12).

Inside the relay a user is its bare local part and so is a group; which one is told by the field
it stands in. No text of a client is used as an address before it went through this module.
"""

import re
from functools import lru_cache
from typing import Final

from relay.errors import JidError

_LOCAL: Final = r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}"
# Longer than every valid spelling: keeps the patterns, and the caches, off huge texts.
MAX_LENGTH: Final = 256

# ASCII, or IGNORECASE would let U+017F (long s) pass for an s of the domain. Every text that
# fits `digits_digits` is caught by the first branch, so an agent never stays in a local part.
_USER: Final = re.compile(
    rf"\+?(?:([0-9]{{1,64}})_[0-9]{{1,64}}|({_LOCAL}))"
    r"(?::[0-9A-Za-z._-]{1,64})?"
    r"(?i:@(?:s\.whatsapp\.com|s\.whatsapp\.net|c\.us|sc\.us))?",
    re.ASCII,
)
_GROUP: Final = re.compile(rf"({_LOCAL})(?i:@g\.us)", re.ASCII)


def parse_user(text: object) -> str:
    """Return the local part of a user jid in any accepted spelling.

    A leading `+`, a `:device` suffix, the `_agent` of `digits_agent` and the domain are dropped;
    the case of the local part stays.

    Raises:
        JidError: no text, or no user jid.
    """
    return _user_in(_checked(text))


def parse_group(text: object) -> str:
    """Return the local part of a group jid, whose domain `g.us` must be there.

    Raises:
        JidError: no text, or no group jid.
    """
    return _group_in(_checked(text))


def parse_chat(text: object) -> tuple[str, bool]:
    """Return the local part of a user or group jid, and whether it is a group.

    Raises:
        JidError: no text, or neither kind of jid.
    """
    return chat_in(_checked(text))


@lru_cache(maxsize=8192)
def chat_in(text: str) -> tuple[str, bool]:
    """Return the same of a text of at most `MAX_LENGTH` characters."""
    # Only a group jid can end so, and no user jid can.
    if text[-5:].lower() == "@g.us":
        return _group_in(text), True
    return _user_in(text), False


def user_com(local: str) -> str:
    """Spell the chat of a delivered one-to-one message."""
    return local + "@s.whatsapp.com"


def user_net(local: str) -> str:
    """Spell the participant of a delivered group message."""
    return local + "@s.whatsapp.net"


def user_cus(local: str) -> str:
    """Spell a user in an ack."""
    return local + "@c.us"


def group_jid(local: str) -> str:
    """Spell a group, wherever it stands."""
    return local + "@g.us"


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise JidError(f"a jid is a string, not {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        raise JidError(f"jid of {len(text)} characters")
    return text


@lru_cache(maxsize=8192)
def _user_in(text: str) -> str:
    if match := _USER.fullmatch(text):
        return match[1] or match[2]
    raise JidError(f"no user jid: {text!a}")


@lru_cache(maxsize=8192)
def _group_in(text: str) -> str:
    if match := _GROUP.fullmatch(text):
        return match[1]
    raise JidError(f"no group jid: {text!a}")
