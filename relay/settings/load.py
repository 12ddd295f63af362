"""Where settings come from: a TOML file, then command-line flags, which beat it; and a reload.

Everything is checked here, once; past this module a setting is trusted. `resolve` fills in what
depends on the machine. A relay that runs takes another file by `apply_live`, but for the settings
of `NEEDS_RESTART`.
"""

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import inspect as types

from relay.errors import SettingsError
from relay.settings.tables import MAX_PROCESSES, NEEDS_RESTART, Settings

# The type of each setting, by table and key.
_TYPES: dict[str, dict[str, Any]] = {
    table.name: {key.name: key.type for key in msgspec.structs.fields(table.type)}
    for table in msgspec.structs.fields(Settings)
}


# (key, factor, other, why): key must be at least factor times other.
_AT_LEAST: tuple[tuple[str, int, str, str], ...] = (
    (
        "dedupe.retention_days",
        1,
        "mailbox.ttl_days",
        "a resend must be known while the first waits",
    ),
    ("limits.frame_bytes", 1, "limits.message_bytes", "a message travels in one frame"),
    ("mailbox.max_bytes", 1, "limits.message_bytes", "every message must fit an empty mailbox"),
    ("flow.session_max_bytes", 1, "flow.session_pause_bytes", "a session pauses before it closes"),
    ("flow.session_max_bytes", 1, "flow.q_frame_bytes", "a q frame is written whole"),
    # An element of a q frame is escaped twice, at worst to 7 times its size (PROTOCOL 2.2 rule
    # 3); 8 leaves room for the frame around it.
    ("flow.session_max_bytes", 8, "limits.message_bytes", "a message grows when escaped in a q"),
    ("flow.link_bytes", 1, "limits.frame_bytes", "a frame crosses a link whole"),
    ("flow.link_bytes", 1, "flow.page_bytes", "a page crosses a link whole"),
    ("store.max_map_bytes", 1, "store.map_bytes", "it is the limit of a map that starts there"),
    ("supervisor.restart_max_s", 1, "supervisor.restart_min_s", "waits grow from the first"),
    ("supervisor.hung_after_s", 3, "supervisor.heartbeat_s", "one late heartbeat is no hang"),
)


# The flags with a name of their own; `flag_of` names the others after their key.
_FLAGS = {
    "server.host": "--host",
    "server.port": "--port",
    "server.fronts": "--fronts",
    "server.workers": "--workers",
    "server.data": "--data",
    "server.groups": "--groups",
    "server.insecure_open": "--insecure-open",
    "store.durability": "--durability",
    "log.format": "--log-format",
    "log.level": "--log-level",
}


def flag_of(key: str) -> str:
    """Return the command-line flag that sets the setting `key`, such as "server.port"."""
    return _FLAGS.get(key) or "--" + re.sub(r"[._]", "-", key)


def load_settings(path: Path | None) -> Settings:
    """Return the defaults with the TOML file at `path` over them; None is no file.

    `resolve` has yet to be called on the result, after the flags.

    Raises:
        SettingsError: one line naming the file, the key or line, and what is allowed.
    """
    if path is None:
        return Settings()
    name = _one_line(str(path))
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise SettingsError(f"{name}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: not UTF-8 at byte {error.start}") from None
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # tomllib names the line but for an error at the very end.
        end = f"at line {len(text.splitlines()) or 1}, end of document"
        reason = _one_line(str(error).replace("at end of document", end))
        raise SettingsError(f"{name}: not TOML: {reason}") from None
    return _Layer(f"{name}: ", lambda key: key, strict=True).over(Settings(), document)


def override(settings: Settings, flags: Mapping[str, object]) -> Settings:
    """Return `settings` with those of `flags` replaced, such as {"server.port": 9000}.

    The values are as typed on a command line: "9000" is as good as 9000.

    Raises:
        SettingsError: as for a file; the line names the flag (see `flag_of`).
    """
    document: dict[str, Any] = {}
    for key, value in flags.items():
        table, dot, name = key.partition(".")
        if dot:
            document.setdefault(table, {})[name] = value
        else:
            document[key] = value

    def name_of(key: str) -> str:
        return flag_of(key) if key in flags else key

    return _Layer("", name_of, strict=False).over(settings, document)


def resolve(settings: Settings, *, cpu_count: int) -> Settings:
    """Return `settings` as the child processes read them: counts filled in, paths absolute.

    `cpu_count` is the number of cores that the relay may use. To be called after `override`,
    because it judges host and insecure_open together wherever each was given.

    Raises:
        SettingsError: open auth mode on a host that is not loopback, without insecure_open.
    """
    server = settings.server
    if settings.auth.mode == "open" and not server.insecure_open and not _is_loopback(server.host):
        raise SettingsError(
            f"server.host = {_quoted(server.host)} is not a loopback address, and with auth.mode ="
            ' "open" everyone who reaches it can be anyone; allowed are 127.0.0.0/8, ::1 and'
            " localhost, or any host with server.insecure_open = true (--insecure-open)"
        )
    # Two cores a pair: one for a front, one for a worker.
    default = min(max(1, cpu_count // 2), MAX_PROCESSES)
    return msgspec.structs.replace(
        settings,
        server=msgspec.structs.replace(
            server,
            fronts=server.fronts or default,
            workers=server.workers or default,
            data=os.path.abspath(server.data),
            groups=os.path.abspath(server.groups) if server.groups else "",
        ),
    )


class Reload(NamedTuple):
    """What becomes of settings that were read again: `changed` are (old, new) by key."""

    settings: Settings
    changed: dict[str, tuple[object, object]]
    needs_restart: list[str]


def apply_live(running: Settings, wanted: Settings) -> Reload:
    """Return `running` with all of `wanted` that can change without a restart.

    Raises:
        SettingsError: what would change does not go together with what stays as it is.
    """
    tables: dict[str, Any] = {}
    changed: dict[str, tuple[object, object]] = {}
    needs_restart: list[str] = []
    for table, keys in _TYPES.items():
        old, new = getattr(running, table), getattr(wanted, table)
        values: dict[str, Any] = {}
        for key in keys:
            name = f"{table}.{key}"
            before, after = getattr(old, key), getattr(new, key)
            if before == after:
                continue
            if name in NEEDS_RESTART:
                needs_restart.append(name)
            else:
                values[key] = after
                changed[name] = before, after
        tables[table] = msgspec.structs.replace(old, **values)
    settings = Settings(**tables)

    def name_of(key: str) -> str:
        return f"{key} (needs a restart to change)" if key in needs_restart else key

    _Layer("", name_of, strict=True).check_together(settings)
    return Reload(settings, changed, needs_restart)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name may resolve to anything
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("127.0.0.0/8")
    return address == ipaddress.IPv6Address("::1")


class _Layer:
    """One source of settings: checks its values and lays them over others.

    `place` begins each error line; `name_of` gives the source's name of a dotted key. Not
    `strict`: numbers and truth values may be spelled as strings.
    """

    def __init__(self, place: str, name_of: Callable[[str], str], *, strict: bool) -> None:
        self._place = place
        self._name_of = name_of
        self._strict = strict

    def over(self, base: Settings, document: Mapping[str, Any]) -> Settings:
        tables: dict[str, Any] = {}
        for table, content in document.items():
            if table not in _TYPES:
                self._fail(_unknown(table, is_table=isinstance(content, dict)))
            if not isinstance(content, dict):
                self._fail(f"{table} = {_shown(content)} must be a table: [{table}]")
            changes = {key: self._checked(table, key, value) for key, value in content.items()}
            tables[table] = msgspec.structs.replace(getattr(base, table), **changes)
        settings = msgspec.structs.replace(base, **tables)
        self.check_together(settings)
        return settings

    def _checked(self, table: str, key: str, value: object) -> object:
        if key not in _TYPES[table]:
            self._fail(_unknown(f"{table}.{_key(key)}", is_table=False))
        kind = _TYPES[table][key]
        try:
            return msgspec.convert(value, kind, strict=self._strict)
        except msgspec.ValidationError:
            name = self._name_of(f"{table}.{key}")
            self._fail(f"{name} = {_shown(value)} is not allowed; it must be {_allowed(kind)}")

    def check_together(self, settings: Settings) -> None:
        """Check the settings that bound each other."""
        for key, factor, other, why in _AT_LEAST:
            value, least = _get(settings, key), factor * _get(settings, other)
            if value < least:
                times = f"{factor} times " if factor > 1 else ""
                self._fail(
                    f"{self._name_of(key)} = {value} must be at least {times}"
                    f"{self._name_of(other)}, here {least}: {why}"
                )

    def _fail(self, problem: str) -> NoReturn:
        raise SettingsError(self._place + problem)


def _get(settings: Settings, key: str) -> float:
    table, _, name = key.partition(".")
    value: float = getattr(getattr(settings, table), name)
    return value


def _unknown(key: str, *, is_table: bool) -> str:
    """Say that `key` is no setting or table, with the known ones nearest to it."""
    if is_table:
        name, known = f"table [{_key(key)}]", list(_TYPES)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean [{near[0]}]?" if near else f"known tables: {', '.join(known)}"
        return f"unknown {name}; {hint}"
    table, _, name = key.rpartition(".")
    home = _TYPES.get(table, {})
    # A key of the same table that is spelled alike, or the same key of another table.
    near = [f"{table}.{k}" for k in difflib.get_close_matches(name, home, n=2)]
    near += [f"{t}.{name}" for t, keys in _TYPES.items() if name in keys]
    if not near:
        near = difflib.get_close_matches(key, [f"{t}.{k}" for t in _TYPES for k in _TYPES[t]], n=2)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif home:
        hint = f"known in [{table}]: {', '.join(home)}"
    else:
        hint = f"known tables: {', '.join(_TYPES)}"
    return f"unknown key {key if table else _key(key)}; {hint}"


def _allowed(kind: Any) -> str:
    """Say in words which values the type of a setting allows."""
    match types.type_info(kind):
        case types.BoolType():
            return "true or false"
        case types.IntType(ge=low, le=high):
            return f"an integer from {low} to {high}"
        case types.FloatType(ge=low, le=high):
            return f"a number from {low} to {high}"
        case types.LiteralType(values=values):
            return " or ".join(_quoted(str(value)) for value in values)
        case types.Metadata(extra_json_schema={"description": str(words)}):
            return words
    raise AssertionError(f"a setting of type {kind} that no one described")


def _quoted(text: str) -> str:
    """Return `text` on one line, quoted and escaped as in TOML and JSON."""
    return json.dumps(text)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_.-]+", name) else _quoted(name)


def _one_line(text: str) -> str:
    return text if text.isprintable() else _quoted(text)


def _shown(value: object) -> str:
    # A date or an array is as wrong as anything: it need not look its best.
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
