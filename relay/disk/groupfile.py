"""The provisioning file of groups (PROTOCOL 2.5 rule 1 and R31).

    {"917069852821-1566557065@g.us": {"subject": "Hike",
                                      "participants": ["917069852821@c.us", ...],
                                      "admins": ["917069852821@c.us"]}}

A file is accepted whole or refused whole: half of a membership list would deliver to people who
were taken off it. Jids may have any spelling that clients may use.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from unicodedata import category

import msgspec

from relay.errors import JidError, SettingsError
from relay.protocol.jid import group_jid, parse_group, parse_user, user_cus
from relay.settings.givenfile import read_given
from relay.settings.words import one_line

# Some 2,500 full groups. Reading takes about 0.15 s a MiB, during which a process does nothing
# else: at this size still well under supervisor.hung_after_s.
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
# PROTOCOL E8.
MAX_SUBJECT: Final = 100

_REQUIRED: Final = ("subject", "participants")
_KEYS: Final = (*_REQUIRED, "admins")


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group and its members, all by bare local part, in the order of the file.

    Nobody is in `participants` twice, and `admins` are all of them participants.
    """

    local: str
    subject: str
    participants: tuple[str, ...]
    admins: tuple[str, ...]


def load_groups(path: Path, *, max_members: int) -> dict[str, Group]:
    """Return the groups of the file at `path` by local part, in the order of the file.

    Raises:
        SettingsError: a line a mistake, naming the file, the group and what is allowed.
    """
    raw = read_given(path, max_bytes=MAX_FILE_BYTES)
    return parse_groups(raw, place=one_line(str(path)), max_members=max_members)


def parse_groups(raw: bytes, *, place: str, max_members: int) -> dict[str, Group]:
    """Return the groups of the text `raw` of a file; `place` begins each error line.

    Raises:
        SettingsError: as `load_groups`.
    """
    try:
        document = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise SettingsError(f"{place}: not JSON: {error.msg} (at {at})") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{place}: not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond all sense
        raise SettingsError(f"{place}: not JSON that is allowed here: {error}") from None
    if not isinstance(document, _Object):
        raise SettingsError(f"{place}: must be an object of groups by jid, not {_kind(document)}")

    groups: dict[str, Group] = {}
    mistakes: list[str] = []
    names: set[str] = set()
    for jid, content in document.pairs:
        at_group = f"{place}: group {_shown(jid)}"
        try:
            local = parse_group(jid)
        except JidError:
            mistakes.append(f'{at_group}: no group jid, such as "123-456@g.us"')
            continue
        if local in names:
            mistakes.append(f"{at_group}: given twice; a group is named once")
            continue
        names.add(local)
        try:
            groups[local] = _Reader(at_group, max_members).group(local, content)
        except SettingsError as error:
            mistakes += error.problems
    if mistakes:
        raise SettingsError(*mistakes)
    return groups


def encode_groups(groups: Mapping[str, Group]) -> bytes:
    """Return `groups` as a file has them."""
    document = {
        group_jid(local): {
            "subject": group.subject,
            "participants": [*map(user_cus, group.participants)],
            "admins": [*map(user_cus, group.admins)],
        }
        for local, group in groups.items()
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def pack_groups(groups: Mapping[str, Group]) -> bytes:
    """Return `groups` for another process of the relay, which need not check them again."""
    return msgspec.msgpack.encode(list(groups.values()))


def unpack_groups(packed: bytes) -> dict[str, Group]:
    """Return the groups that `pack_groups` packed: some 15 times as fast as reading the file."""
    return {group.local: group for group in msgspec.msgpack.decode(packed, type=list[Group])}


class _Object:
    """A JSON object with its repeated keys, which a dict would swallow."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


class _Reader:
    """Checks one group of the file; `place` names it in errors."""

    def __init__(self, place: str, max_members: int) -> None:
        self._place = place
        self._max_members = max_members
        self._mistakes: list[str] = []

    def group(self, local: str, content: object) -> Group:
        """Return the group.

        Raises:
            SettingsError: its `problems` are all that is wrong with it.
        """
        entries = self._entries(content)
        self._stop_at_mistakes()
        subject = self._subject(entries["subject"])
        participants = self._users("participants", entries["participants"])
        admins = self._users("admins", entries.get("admins", []))
        self._stop_at_mistakes()
        if not 1 <= len(participants) <= self._max_members:
            self._mistake(
                f"has {len(participants)} participants; allowed are 1 to {self._max_members}"
            )
        members = set(participants)
        for admin in admins:
            if admin not in members:
                self._mistake(f"admin {_shown(user_cus(admin))} must be a participant too")
        self._stop_at_mistakes()
        return Group(local=local, subject=subject, participants=participants, admins=admins)

    def _entries(self, content: object) -> dict[str, Any]:
        if not isinstance(content, _Object):
            self._mistake(f"must be an object with {', '.join(_KEYS)}, not {_kind(content)}")
            return {}
        names = [name for name, _ in content.pairs]
        for name in names:
            if name not in _KEYS:
                near = get_close_matches(name, _KEYS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(_KEYS)}"
                self._mistake(f"unknown key {_shown(name)}; {hint}")
        for name in _repeated(names):
            self._mistake(f"{name} is given twice; allowed is once")
        for name in _REQUIRED:
            if name not in names:
                self._mistake(f"{name} is missing; needed are {' and '.join(_REQUIRED)}")
        return dict(content.pairs)

    def _subject(self, value: object) -> str:
        if (
            isinstance(value, str)
            and 1 <= len(value) <= MAX_SUBJECT
            # Control characters, and lone surrogates, which no client could be sent.
            and not any(category(c) in ("Cc", "Cs") for c in value)
        ):
            return value
        allowed = f"a string of 1 to {MAX_SUBJECT} characters without control characters"
        self._mistake(f"subject = {_shown(value)} is not allowed; it must be {allowed}")
        return ""

    def _users(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            self._mistake(f"{key} must be an array of user jids, not {_kind(value)}")
            return ()
        users = []
        for jid in value:
            try:
                users.append(parse_user(jid))
            except JidError:
                self._mistake(f'{key}: {_shown(jid)} is no user jid, such as "123@c.us"')
        for user in _repeated(users):
            self._mistake(f"{key}: {_shown(user_cus(user))} is given twice; allowed is once")
        return tuple(users)

    def _mistake(self, problem: str) -> None:
        self._mistakes.append(f"{self._place}: {problem}")

    def _stop_at_mistakes(self) -> None:
        if self._mistakes:
            raise SettingsError(*self._mistakes)


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)


def _kind(value: object) -> str:
    match value:
        case _Object():
            return "an object"
        case list():
            return "an array"
        case _:
            return _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, _Object | list):
        return _kind(value)
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
