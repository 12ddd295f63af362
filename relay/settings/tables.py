"""Settings: what an operator may tune, a row each (see relay.settings.rows).

They come from a TOML file (config/relay.toml holds every default), then from command-line flags,
which beat the file. `resolve` then fills in what depends on the machine. Everything is checked in
relay.settings, once; past it a setting is trusted. A relay that runs takes another file by
`apply_live`, but for the settings of `NEEDS_RESTART`.

A setting is added here and nowhere else; `python -m relay.settings.explain --write` then brings
config/relay.toml and README up to date.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, field

from relay.settings.rows import Flag, Row, Setting, Table, settings_in

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
_MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z"

_PER_CORE = "one per two cores, at least 1"


class ServerSettings(Table, frozen=True):
    """[server]: where the relay listens and how many processes it is."""

    host: Annotated[
        str,
        Meta(pattern=_HOST, description='an IP address or host name, such as "127.0.0.1" or "::1"'),
        Row(
            'Address to listen on. Loopback, because auth.mode "open" lets everyone be anyone.',
            restart=True,
            flag=Flag("network", "--host", "ADDRESS", "address to listen on"),
            readme="address to listen on",
        ),
    ] = "127.0.0.1"
    # 9011: the port of PROTOCOL 2.1.
    port: Annotated[
        int,
        Meta(ge=0, le=65535),
        Row(
            "TCP port; 9011 is the protocol's. 0: any free one, and the ready line tells which.",
            restart=True,
            flag=Flag("network", "--port", "N", "port to listen on; 0 takes a free one"),
            readme="port to listen on",
        ),
    ] = 9011
    fronts: Annotated[
        int,
        Meta(ge=0, le=MAX_PROCESSES),
        Row(
            f"Processes that hold the clients' connections. 0: {_PER_CORE}.",
            restart=True,
            flag=Flag("processes", "--fronts", "N", "fronts, sharing the port"),
            readme="processes that hold connections",
            default_words=_PER_CORE,
        ),
    ] = 0
    workers: Annotated[
        int,
        Meta(ge=0, le=MAX_PROCESSES),
        Row(
            f"Processes that hold the mailboxes, each its share of the users. 0: {_PER_CORE}.",
            restart=True,
            flag=Flag(
                "processes",
                "--workers",
                "N",
                "workers, each owning a share of the users; with another number than before the"
                " data are first laid out anew",
            ),
            readme="processes that own mailboxes",
            default_words=_PER_CORE,
        ),
    ] = 0
    data: Annotated[
        str,
        Meta(pattern=_PATH, description="a path to a directory"),
        Row(
            "Directory of the stores; a relative path starts at the working directory.",
            restart=True,
            flag=Flag("data", "--data", "DIR", "directory of the stores, made if missing"),
            readme="where the stores are",
        ),
    ] = "./data"
    # PROTOCOL 2.5.
    groups: Annotated[
        str,
        Meta(pattern=_PATH_OR_EMPTY, description="a path to a file, or empty for none"),
        Row(
            'JSON file of provisioned groups, read at start and on SIGHUP; "": none. See'
            " groups.example.json.",
            restart=True,
            flag=Flag("data", "--groups", "FILE", "groups and their members, JSON"),
            readme="file of groups and members, JSON",
        ),
    ] = ""
    insecure_open: Annotated[
        bool,
        Row(
            'Allow auth.mode "open" on a host that other machines reach. Then whoever reaches the'
            " port can read and write as any user: only behind a proxy that authenticates, or on"
            " a network of friends.",
            restart=True,  # it allows a host, which stays
            flag=Flag(
                "network",
                "--insecure-open",
                help="allow a host that other machines reach, though anyone there can be anyone",
            ),
        ),
    ] = False
    extensions: Annotated[
        tuple[Annotated[str, Meta(pattern=_MODULE, max_length=255)], ...],
        Meta(
            max_length=100,
            description='a list of at most 100 names of Python modules, such as ["company.audit"]',
        ),
        Row(
            "Python modules of further extensions to load, by dotted name. An extension may have"
            " a table of settings of its own in this file.",
            restart=True,
        ),
    ] = ()


class AuthSettings(Table, frozen=True):
    """[auth]: how a connection becomes a session (PROTOCOL 2.2)."""

    mode: Annotated[
        Literal["open"],
        # Sessions would go on that another mode would not have let in.
        Row('"open": a client is who it says it is. The only mode so far.', restart=True),
    ] = "open"
    # Rule 5.
    deadline_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds from connecting to a successful auth, then the connection is closed (4401).",
            unit="s",
        ),
    ] = 30.0
    # Rule 4.
    max_failures: Annotated[
        int,
        Meta(ge=1, le=1000),
        Row("Failed auths on one connection, then it is closed (4401)."),
    ] = 3
    # Rule 8.
    max_takeovers: Annotated[
        int,
        Meta(ge=1, le=100_000),
        Row(
            "Logins that throw out a living session of the same user within takeover_window_s,"
            " then 429: stops two clients with one identity from throwing each other out for ever."
        ),
    ] = 5
    takeover_window_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row("Seconds over which max_takeovers are counted.", unit="s"),
    ] = 10.0


class LimitSettings(Table, frozen=True):
    """[limits]: what one client may send (PROTOCOL 2.1 and section 5)."""

    frame_bytes: Annotated[
        int,
        Meta(ge=KIB, le=16 * MIB),
        Row(
            "Bytes of one frame from a client, then its connection is closed (1009). {default}. A"
            " connection keeps the size that held when it was made.",
            unit="bytes",
        ),
    ] = 256 * KIB
    message_bytes: Annotated[
        int,
        Meta(ge=256, le=16 * MIB),
        Row(
            "Bytes of one message, then it is refused (413). {default}: text; media travel by"
            " other means.",
            unit="bytes",
            readme="the largest message",
        ),
    ] = 64 * KIB
    messages_per_action: Annotated[
        int,
        Meta(ge=1, le=100_000),
        Row("Messages in one `action` frame, then it is refused (413)."),
    ] = 256
    ids_per_ack: Annotated[
        int,
        Meta(ge=1, le=100_000),
        Row("Message ids in one ack frame, then it is refused (413)."),
    ] = 1000
    # Above about 100 some client libraries overflow their stack.
    nesting: Annotated[
        int,
        Meta(ge=4, le=100),
        Row(
            "Levels of nested JSON, then it is refused (400): deep nesting is an attack on parsers."
        ),
    ] = 32
    # R28.
    malformed_frames: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        Row("Malformed frames within malformed_window_s, then the connection is closed (1008)."),
    ] = 20
    malformed_window_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row("Seconds over which malformed_frames are counted.", unit="s"),
    ] = 60.0
    frames_per_s: Annotated[
        float,
        Meta(ge=0, le=1_000_000),
        Row(
            "Frames a second that one session may send, then 429. 0.0: no limit, because the"
            " protocol sheet knows none; a session that is faster than its workers is then read"
            " more slowly.",
            readme="what one session may send",
            default_words="off",
        ),
    ] = 0.0
    frames_burst: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        Row("Frames that a session may send at once before frames_per_s holds it back."),
    ] = 100
    connections: Annotated[
        int,
        Meta(ge=1, le=10_000_000),
        Row("Connections of one front; further ones are cut at once. Some 5 KiB of memory each."),
    ] = 100_000
    group_members: Annotated[
        int, Meta(ge=1, le=100_000), Row("Members of one group: 256 and its creator.")
    ] = 257


class KeepaliveSettings(Table, frozen=True):
    """[keepalive]: WebSocket pings, which find dead connections and confirm receipts (R7)."""

    ping_interval_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds between WebSocket pings; under the 30 to 60 after which NATs and proxies drop"
            " idle TCP.",
            unit="s",
        ),
    ] = 20.0
    pong_timeout_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds without a pong until a connection counts as dead. Its messages stay queued.",
            unit="s",
        ),
    ] = 20.0
    # PROTOCOL 2.1 says within 1.
    receipt_ping_s: Annotated[
        float,
        Meta(ge=0.01, le=0.8),
        Row(
            "Seconds from writing a receipt to the ping whose pong confirms it. The protocol"
            " allows 1, and a ping may be late by two tenths.",
            unit="s",
        ),
    ] = 0.5


class FlowSettings(Table, frozen=True):
    """[flow]: bytes in memory between a mailbox and a socket; beyond them, waiting is on disk."""

    # Some tens of milliseconds of a fast link.
    session_pause_bytes: Annotated[
        int,
        Meta(ge=4 * KIB, le=GIB),
        Row(
            "Bytes not yet taken by a session's socket at which deliveries to it pause; they wait"
            " in its mailbox. {default}: a reader that keeps up never gets there.",
            unit="bytes",
        ),
    ] = 256 * KIB
    # PROTOCOL 2.1.
    session_max_bytes: Annotated[
        int,
        Meta(ge=64 * KIB, le=GIB),
        Row(
            "Bytes not yet taken by a session's socket, then it is closed (1013); nothing is lost."
            " {default}.",
            unit="bytes",
        ),
    ] = 4 * MIB
    # PROTOCOL 2.1.
    write_blocked_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds for which a session's socket takes nothing, then it is closed (1013).",
            unit="s",
        ),
    ] = 30.0
    link_bytes: Annotated[
        int,
        Meta(ge=64 * KIB, le=GIB),
        Row(
            "Bytes under way between two processes, then the sockets that feed them are not read."
            " {default}: enough to keep a worker busy during an fsync.",
            unit="bytes",
            restart=True,  # both ends of a link count by it
        ),
    ] = 8 * MIB
    page_bytes: Annotated[
        int,
        Meta(ge=4 * KIB, le=16 * MIB),
        Row(
            "Bytes that are read from a mailbox at once. {default}: as much as one `q` frame"
            " holds.",
            unit="bytes",
        ),
    ] = 256 * KIB
    # PROTOCOL 2.2 rule 3; the libraries accept 1 MiB.
    q_frame_bytes: Annotated[
        int,
        Meta(ge=4 * KIB, le=16 * MIB),
        Row(
            "Bytes of one `q` frame before the queue is split over several. {default}: a quarter"
            " of what common client libraries accept.",
            unit="bytes",
        ),
    ] = 256 * KIB


class MailboxSettings(Table, frozen=True):
    """[mailbox]: what waits for one user (PROTOCOL 2.7)."""

    max_entries: Annotated[
        int,
        Meta(ge=1, le=100_000_000),
        Row(
            "Messages waiting for one user. At the limit the oldest that was sent before makes"
            " room; where none was, the sender is refused (507).",
            readme="messages that wait for one user",
        ),
    ] = 10_000
    max_bytes: Annotated[
        int,
        Meta(ge=KIB, le=TIB),
        Row(
            "Bytes of messages waiting for one user; the same happens. {default}.",
            unit="bytes",
            readme="what they may come to",
        ),
    ] = 64 * MIB
    max_receipts: Annotated[
        int,
        Meta(ge=1, le=100_000_000),
        Row(
            "Receipts waiting for one user. At the limit the oldest that were sent before go,"
            " otherwise new ones are dropped. Ten times the messages, because a message to a group"
            " returns many."
        ),
    ] = 100_000
    # 0.00001 is about a second, for trials.
    ttl_days: Annotated[
        float,
        Meta(ge=0.00001, le=3650),
        Row(
            "Days that a message waits for its recipient.",
            unit="days",
            readme="how long a message waits",
        ),
    ] = 30.0


class DedupeSettings(Table, frozen=True):
    """[dedupe]: how long a resend is recognised (R20)."""

    # (author, chat, id) after ack 1; PROTOCOL section 5 asks for 7 or more.
    retention_days: Annotated[
        float,
        Meta(ge=7, le=3650),
        Row(
            "Days for which a message sent again under its id is recognised and not delivered"
            " twice. At least 7, and at least mailbox.ttl_days.",
            unit="days",
        ),
    ] = 30.0


class AckSettings(Table, frozen=True):
    """[acks]: receipts."""

    # R19 b.
    relay_unknown_acks: Annotated[
        bool,
        Row(
            "Forward an ack of a message that this relay has never seen, once and to a live"
            " session only. false: drop it."
        ),
    ] = True


class StoreSettings(Table, frozen=True):
    """[store]: one LMDB environment a worker."""

    durability: Annotated[
        Literal["fsync", "os"],
        Row(
            'What "sent" (ack 1) promises. "fsync": the message is on the disk. "os": it is with'
            " the kernel, which is faster and survives a killed process, but not a power cut.",
            restart=True,  # fixed when LMDB opens the store
            flag=Flag(
                "data",
                "--durability",
                "MODE",
                "fsync: ack 1 means on the disk; os: it survives a killed process, not a power cut",
            ),
            readme="`os` trusts the kernel instead of the disk",
        ),
    ] = "fsync"
    # A generous start costs nothing and saves growing.
    map_bytes: Annotated[
        int,
        Meta(ge=64 * MIB, le=64 * TIB),
        Row(
            "Bytes that a worker's store starts with, {default}. The file is sparse: it takes disk"
            " for what it holds only.",
            unit="bytes",
            restart=True,  # fixed when LMDB opens the store
        ),
    ] = GIB
    # Far below the 128 TiB of address space of a 64-bit process. At least 64 MiB, so that the
    # eighth of it that stays free holds a whole batch.
    max_map_bytes: Annotated[
        int,
        Meta(ge=64 * MIB, le=64 * TIB),
        Row(
            "Bytes to which a worker's store may grow, {default}, then senders are refused (500).",
            unit="bytes",
        ),
    ] = TIB
    min_free_bytes: Annotated[
        int,
        Meta(ge=0, le=TIB),
        Row(
            "Bytes that stay free on the disk. Below, sends are refused (500) while reads and acks"
            " go on, which need a little room themselves; {default} is some seconds of the fastest"
            " traffic.",
            unit="bytes",
        ),
    ] = 64 * MIB


class SupervisorSettings(Table, frozen=True):
    """[supervisor]: starting, watching and stopping the processes."""

    # From SIGTERM to SIGKILL; it is TimeoutStopSec that must be longer.
    stop_deadline_s: Annotated[
        float,
        Meta(ge=0.1, le=3600),
        Row(
            "Seconds from SIGTERM until what has not stopped is killed. relay.service must wait"
            " longer.",
            unit="s",
        ),
    ] = 30.0
    restart_min_s: Annotated[
        float,
        Meta(ge=0.001, le=3600),
        Row(
            "Seconds until a died process is started again, the first time: short, because its"
            " users wait.",
            unit="s",
        ),
    ] = 0.1
    restart_max_s: Annotated[
        float,
        Meta(ge=0.001, le=3600),
        Row(
            "The same at most; it doubles from death to death, because who dies again does so for"
            " a reason.",
            unit="s",
        ),
    ] = 10.0
    heartbeat_s: Annotated[
        float,
        Meta(ge=0.01, le=3600),
        Row("Seconds between the signs of life of a process.", unit="s"),
    ] = 1.0
    hung_after_s: Annotated[
        float,
        Meta(ge=0.1, le=3600),
        Row(
            "Seconds without a sign of life until a process is killed and started again: longer"
            " than the slowest fsync of a busy disk, during which a worker is silent.",
            unit="s",
        ),
    ] = 15.0


class LogSettings(Table, frozen=True):
    """[log]: events on stderr."""

    format: Annotated[
        Literal["text", "json"],
        Row(
            '"text" for people, "json" for collectors; to stderr, one line an event.',
            flag=Flag(
                "settings and log", "--log-format", "FORMAT", "text or json, one line an event"
            ),
            readme="`json` for collectors",
        ),
    ] = "text"
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Row(
            '"debug", "info", "warning" or "error": the least that is worth a line.',
            flag=Flag("settings and log", "--log-level", "LEVEL", "debug, info, warning or error"),
        ),
    ] = "info"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings; `Settings()` is the defaults, as in config/relay.toml.

    An unknown key is refused also where the children read settings.json.
    """

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
    # The tables of the extensions, by extension: checked, complete, and plain as JSON has them.
    # `extension_settings` makes a typed one of them.
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_T = TypeVar("_T", bound=Table)


def extension_settings(settings: Settings, name: str, kind: type[_T]) -> _T:
    """Return the table [`name`] of the extension `name`, of its type; defaults if there is none."""
    return msgspec.convert(settings.extensions.get(name, {}), kind)


# The relay's own tables, by name and in order.
TABLES: Final[Mapping[str, type[Table]]] = {
    each.name: each.type for each in msgspec.structs.fields(Settings) if each.name != "extensions"
}
# Their settings by key, such as "server.port".
SETTINGS: Final[Mapping[str, Setting]] = {
    setting.key: setting
    for table, kind in TABLES.items()
    for setting in settings_in(table, kind).values()
}
# What holds until the relay starts again; SIGHUP applies every other setting at once.
NEEDS_RESTART: Final = frozenset(key for key, setting in SETTINGS.items() if setting.row.restart)
