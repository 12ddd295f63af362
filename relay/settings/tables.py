"""Settings: what an operator may tune, each with its unit, bounds and the source of its number.

They come from a TOML file (config/relay.toml holds every default), then from command-line flags,
which beat the file. `resolve` then fills in what depends on the machine. Everything is checked
here, once; past this module a setting is trusted. A relay that runs takes another file by
`apply_live`, but for the settings of `NEEDS_RESTART`.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, field

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
