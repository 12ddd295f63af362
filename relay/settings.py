"""Settings: what an operator may tune, each with its unit, bounds and the source of its number.

They come from a TOML file (config/relay.toml holds every default), then from command-line flags,
which beat the file. `resolve` then fills in what depends on the machine. Everything is checked
here, once; past this module a setting is trusted. A relay that runs takes another file by
`apply_live`, but for the settings of `NEEDS_RESTART`.
"""

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

import msgspec
from msgspec import Meta, field
from msgspec import inspect as types

from relay.errors import SettingsError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

# Every front has a link to every worker, and every worker to every other: past this many of
# either, the links cost more than the cores that they join.
MAX_PROCESSES = 256

# NUL cannot be in a path, and a lone surrogate (a byte in argv that is not UTF-8) cannot be
# written to settings.json for the child processes.
_PATH = r"^[^\x00\ud800-\udfff]+\Z"
_PATH_OR_EMPTY = r"^[^\x00\ud800-\udfff]*\Z"
_HOST = r"^[0-9A-Za-z.:_%-]{1,253}\Z"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of one table; an unknown key is refused also where the children read settings.json."""


class ServerSettings(_Table, frozen=True):
    """[server]: where the relay listens and how many processes it is."""

    # Loopback, because auth.mode "open" lets everyone be anyone.
    host: Annotated[
        str,
        Meta(pattern=_HOST, description='an IP address or host name, such as "127.0.0.1" or "::1"'),
    ] = "127.0.0.1"
    # 9011: the port of PROTOCOL 2.1. 0: any free one; the ready line tells which.
    port: Annotated[int, Meta(ge=0, le=65535)] = 9011
    # Processes. 0: one per two cores, at least 1.
    fronts: Annotated[int, Meta(ge=0, le=MAX_PROCESSES)] = 0
    workers: Annotated[int, Meta(ge=0, le=MAX_PROCESSES)] = 0
    # Directory of the stores; a relative one is taken from the working directory.
    data: Annotated[str, Meta(pattern=_PATH, description="a path to a directory")] = "./data"
    # Provisioning file of PROTOCOL 2.5; empty: none.
    groups: Annotated[
        str, Meta(pattern=_PATH_OR_EMPTY, description="a path to a file, or empty for none")
    ] = ""
    # Allows auth.mode "open" on a host that other machines reach.
    insecure_open: bool = False


class AuthSettings(_Table, frozen=True):
    """[auth]: how a connection becomes a session (PROTOCOL 2.2)."""

    # "open": a client is who it says it is, as in the protocol sheet.
    mode: Literal["open"] = "open"
    # Seconds from connect to a successful auth, then close 4401 (rule 5).
    deadline_s: Annotated[float, Meta(ge=0.05, le=3600)] = 30.0
    # Failed auths on one connection, then close 4401 (rule 4).
    max_failures: Annotated[int, Meta(ge=1, le=1000)] = 3
    # Takeovers of a live session within the window, then 429: two clients with one identity and
    # automatic reconnects would throw each other out for ever (rule 8).
    max_takeovers: Annotated[int, Meta(ge=1, le=100_000)] = 5
    takeover_window_s: Annotated[float, Meta(ge=0.05, le=3600)] = 10.0


class LimitSettings(_Table, frozen=True):
    """[limits]: what one client may send (PROTOCOL 2.1 and section 5)."""

    # Bytes of one inbound frame, then close 1009.
    frame_bytes: Annotated[int, Meta(ge=KIB, le=16 * MIB)] = 256 * KIB
    # Bytes of one message element, then 413.
    message_bytes: Annotated[int, Meta(ge=256, le=16 * MIB)] = 64 * KIB
    # Message elements in one `action` frame, then 413.
    messages_per_action: Annotated[int, Meta(ge=1, le=100_000)] = 256
    # Message ids in one ack frame, then 413.
    ids_per_ack: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    # Depth of nested JSON, then 400. Above about 100 some client libraries overflow their stack.
    nesting: Annotated[int, Meta(ge=4, le=100)] = 32
    # Malformed frames within the window, then close 1008 (R28).
    malformed_frames: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    malformed_window_s: Annotated[float, Meta(ge=0.05, le=3600)] = 60.0
    # Frames a second and session, then 429. 0: off, because the protocol sheet knows no limit.
    frames_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    # Frames a session may send at once before frames_per_s holds it back.
    frames_burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    # Connections of one front; further ones are cut at once. Some 5 KiB of memory each.
    connections: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    # Members of one group: 256 and its creator.
    group_members: Annotated[int, Meta(ge=1, le=100_000)] = 257


class KeepaliveSettings(_Table, frozen=True):
    """[keepalive]: WebSocket pings, which find dead connections and confirm receipts (R7)."""

    # Seconds between pings; under the 30 to 60 s after which NATs and proxies drop idle TCP.
    ping_interval_s: Annotated[float, Meta(ge=0.05, le=3600)] = 20.0
    # Seconds without a pong until the connection counts as dead.
    pong_timeout_s: Annotated[float, Meta(ge=0.05, le=3600)] = 20.0
    # Seconds from writing a receipt to the ping whose pong confirms it; PROTOCOL 2.1 says within
    # 1, and a ping may be late by two tenths.
    receipt_ping_s: Annotated[float, Meta(ge=0.01, le=0.8)] = 0.5


class FlowSettings(_Table, frozen=True):
    """[flow]: bytes in memory between a mailbox and a socket; beyond them, waiting is on disk."""

    # Unsent bytes of one session at which its worker is told to pause deliveries: some tens of
    # milliseconds of a fast link, so that a reader that keeps up never sees the pause.
    session_pause_bytes: Annotated[int, Meta(ge=4 * KIB, le=GIB)] = 256 * KIB
    # Unsent bytes of one session, then close 1013 (PROTOCOL 2.1); nothing is lost.
    session_max_bytes: Annotated[int, Meta(ge=64 * KIB, le=GIB)] = 4 * MIB
    # Seconds for which a session's socket takes no byte, then close 1013 (PROTOCOL 2.1).
    write_blocked_s: Annotated[float, Meta(ge=0.05, le=3600)] = 30.0
    # Unconfirmed bytes on one link between two processes, then the feeding sockets are not read:
    # what a worker commits in some hundred milliseconds.
    link_bytes: Annotated[int, Meta(ge=64 * KIB, le=GIB)] = 8 * MIB
    # Bytes of one page that a worker reads from a mailbox at once: as much as one `q` frame holds.
    page_bytes: Annotated[int, Meta(ge=4 * KIB, le=16 * MIB)] = 256 * KIB
    # Bytes of one `q` frame before the queue is split (PROTOCOL 2.2 rule 3): a quarter of the
    # 1 MiB that common client libraries accept.
    q_frame_bytes: Annotated[int, Meta(ge=4 * KIB, le=16 * MIB)] = 256 * KIB


class MailboxSettings(_Table, frozen=True):
    """[mailbox]: what waits for one user (PROTOCOL 2.7)."""

    # Undelivered messages; at the limit the oldest that was sent before goes, otherwise 507.
    max_entries: Annotated[int, Meta(ge=1, le=100_000_000)] = 10_000
    # Bytes of undelivered messages; the same happens.
    max_bytes: Annotated[int, Meta(ge=KIB, le=TIB)] = 64 * MIB
    # Unconfirmed receipts; at the limit the oldest that were sent before go, otherwise new ones are
    # dropped. Ten times the messages, because a message to a group returns many.
    max_receipts: Annotated[int, Meta(ge=1, le=100_000_000)] = 100_000
    # Days that an entry waits; 0.00001 is about a second, for trials.
    ttl_days: Annotated[float, Meta(ge=0.00001, le=3650)] = 30.0


class DedupeSettings(_Table, frozen=True):
    """[dedupe]: how long a resend is recognised (R20)."""

    # Days that (author, chat, id) is remembered after ack 1; PROTOCOL section 5 asks for 7 or more.
    retention_days: Annotated[float, Meta(ge=7, le=3650)] = 30.0


class AckSettings(_Table, frozen=True):
    """[acks]: receipts."""

    # Forward an ack whose message is wholly unknown, live and once (R19 b).
    relay_unknown_acks: bool = True


class StoreSettings(_Table, frozen=True):
    """[store]: one LMDB environment a worker."""

    # "fsync": ack 1 means on the disk. "os": ack 1 means with the kernel; survives a killed
    # process, not a power cut.
    durability: Literal["fsync", "os"] = "fsync"
    # Bytes of address space that a worker's map starts with. The file is sparse: it takes disk
    # only for what it holds, so a generous start costs nothing and saves growing.
    map_bytes: Annotated[int, Meta(ge=64 * MIB, le=64 * TIB)] = GIB
    # Bytes to which the map may grow, then sends get 500; far below the 128 TiB of address space
    # of a 64-bit process.
    # At least 64 MiB, so that the eighth of it that stays free holds a whole batch.
    max_map_bytes: Annotated[int, Meta(ge=64 * MIB, le=64 * TIB)] = TIB
    # Bytes that stay free on the disk: below, sends get 500, while acks and reads go on, which
    # need a little room themselves.
    min_free_bytes: Annotated[int, Meta(ge=0, le=TIB)] = 64 * MIB


class SupervisorSettings(_Table, frozen=True):
    """[supervisor]: starting, watching and stopping the processes."""

    # Seconds from SIGTERM to SIGKILL of what has not stopped; TimeoutStopSec in relay.service
    # must be longer.
    stop_deadline_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    # Seconds before a died process starts again: the first wait, and the longest, doubling
    # between. Short first, because its users wait; long at last, because it dies for a reason.
    restart_min_s: Annotated[float, Meta(ge=0.001, le=3600)] = 0.1
    restart_max_s: Annotated[float, Meta(ge=0.001, le=3600)] = 10.0
    # Seconds between a process's signs of life.
    heartbeat_s: Annotated[float, Meta(ge=0.01, le=3600)] = 1.0
    # Seconds without one until a process counts as hung and is killed; longer than the slowest
    # fsync of a busy disk, during which a worker is silent.
    hung_after_s: Annotated[float, Meta(ge=0.1, le=3600)] = 15.0


class LogSettings(_Table, frozen=True):
    """[log]: events on stderr."""

    # "text" for people, "json" for collectors; one line an event in both.
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(_Table, frozen=True):
    """All settings; `Settings()` is the defaults, as in config/relay.toml."""

    server: ServerSettings = field(default_factory=ServerSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    keepalive: KeepaliveSettings = field(default_factory=KeepaliveSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    mailbox: MailboxSettings = field(default_factory=MailboxSettings)
    dedupe: DedupeSettings = field(default_factory=DedupeSettings)
    acks: AckSettings = field(default_factory=AckSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    supervisor: SupervisorSettings = field(default_factory=SupervisorSettings)
    log: LogSettings = field(default_factory=LogSettings)


# What holds until the relay starts again; SIGHUP applies every other setting at once. What a
# process looks at only when it starts belongs here, and config/relay.toml says it of each.
NEEDS_RESTART: Final = frozenset(
    [
        # Held or laid out for as long as the supervisor lives.
        "server.host",
        "server.port",
        "server.fronts",
        "server.workers",
        "server.data",
        "server.groups",
        "server.insecure_open",  # allows a host, which stays
        "auth.mode",  # sessions would go on that it would not have let in
        "flow.link_bytes",  # both ends of a link count by it
        # Fixed when LMDB opens the store.
        "store.durability",
        "store.map_bytes",
    ]
)

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
