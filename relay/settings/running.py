"""What the relay is on its machine: [server], [tls], [supervisor], [log]."""

from typing import Annotated, Literal

from msgspec import Meta

from relay.settings.rows import Flag, Row, Table
from relay.settings.serving import NETWORK

# Every front has a link to every worker, and every worker to every other: past this many of
# either, the links cost more than the cores that they join.
MAX_PROCESSES = 256

# NUL cannot be in a path, and a lone surrogate (a byte in argv that is not UTF-8) cannot be
# written to settings.json for the child processes.
_PATH = r"^[^\x00\ud800-\udfff]+\Z"
_PATH_OR_EMPTY = r"^[^\x00\ud800-\udfff]*\Z"
_HOST = r"^[0-9A-Za-z.:_%-]{1,253}\Z"
_USER = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z|^\Z"
_MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z"

# `relay.auth.origins` takes what this takes.
_ALLOWED_ORIGIN = (
    r"^(\*|[A-Za-z][0-9A-Za-z+.-]{0,30}://(\*\.)?"
    r"([0-9A-Za-z_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?)\Z"
)

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
    user: Annotated[
        str,
        Meta(pattern=_USER, description="the name of a user of this machine, or empty"),
        Row(
            "Where root starts the relay: the user that it becomes once the port is bound, so that"
            " a port below 1024 takes no root to serve. What the relay reads and writes it must"
            " be able to as that user."
            ' "": it stays whoever has started it.',
            restart=True,
        ),
    ] = ""
    allowed_origins: Annotated[
        tuple[Annotated[str, Meta(pattern=_ALLOWED_ORIGIN)], ...],
        Meta(
            max_length=1000,
            description='a list of at most 1000 origins, such as ["https://chat.example.org"],'
            ' perhaps with a label left open, "https://*.example.org", or ["*"]',
        ),
        Row(
            "Whose pages may connect, others get HTTP 403: scheme, host, and port if it is not the"
            ' scheme\'s own. []: those of the host that is connected to. ["*"]: every page that'
            " anybody visits. What is no browser says no origin, and is always let in."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[Annotated[str, Meta(pattern=NETWORK)], ...],
        Meta(
            max_length=100,
            description="a list of at most 100 addresses or networks, such as"
            ' ["127.0.0.1", "10.0.0.0/28"]',
        ),
        Row(
            "Addresses and networks of proxies that are believed when they say whose a connection"
            " is; limits and the log then go by that address. Whoever else connects from there can"
            " be any address."
        ),
    ] = ()
    forwarded_header: Annotated[
        Literal["X-Forwarded-For", "Forwarded"],
        Row(
            "The header by which trusted_proxies say it, as nginx and HAProxy do or as RFC 7239"
            " has it. Only this one is read: a proxy passes the other on as a client wrote it."
        ),
    ] = "X-Forwarded-For"
    proxy_protocol: Annotated[
        bool,
        Row(
            "Whether trusted_proxies say it by the PROXY protocol, version 1 or 2, before the"
            " first byte. They all must then, their health checks too, and nobody else may."
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


# Names that one relay serves have a certificate each, or share one.
_FILES = Meta(max_length=100, description="a list of at most 100 paths to files")


class TlsSettings(Table, frozen=True):
    """[tls]: certificates of the clients' port, which speaks TLS and nothing else with them.

    What must agree here is looked at with the files (`relay.auth.tls`): all of it changes together.
    """

    certificate_files: Annotated[
        tuple[Annotated[str, Meta(pattern=_PATH)], ...],
        _FILES,
        Row(
            "Certificates in PEM, each file with its chain, such as certbot's fullchain.pem. A"
            " client gets the one for the name that it asks for, else the first. []: no TLS. These"
            " and the next files are read again when they change.",
            own=True,
        ),
    ] = ()
    key_files: Annotated[
        tuple[Annotated[str, Meta(pattern=_PATH)], ...],
        _FILES,
        Row(
            "Their keys in PEM, in the same order. No one but the owner and group of a file may"
            " read it.",
            own=True,
        ),
    ] = ()
    client_certificates: Annotated[
        Literal["none", "optional", "required"],
        Row(
            'Whether a client is asked for a certificate. "required": it must show one.'
            ' "optional": one that is shown must be good. It says nothing of which user it is.',
            own=True,  # it goes with the next
        ),
    ] = "none"
    client_ca_file: Annotated[
        str,
        Meta(pattern=_PATH_OR_EMPTY, description="a path to a file, or empty for none"),
        Row("Certificates in PEM of those who sign clients' certificates.", own=True),
    ] = ""
    handshakes: Annotated[
        int,
        Meta(ge=16, le=1_000_000),
        Row(
            "Handshakes of TLS under way in each front, 45 KiB of memory each. Of more the oldest"
            " is cut: an honest one takes as long as a packet there and back, and 2,000 are 4,000"
            " logins a second at half a second each."
        ),
    ] = 2000


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
    drain_notice_s: Annotated[
        float,
        Meta(ge=0, le=1800),
        Row(
            "Seconds of a stop for which clients are still served and let in, while /readyz says"
            " 503; then they are sent away. 0.0: nobody asks. Behind a load balancer as long as it"
            " takes to notice: its interval times the failures that it waits for.",
            unit="s",
        ),
    ] = 0.0
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
            own=True,
        ),
    ] = "text"
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Row(
            '"debug", "info", "warning" or "error": the least that is worth a line.',
            flag=Flag("settings and log", "--log-level", "LEVEL", "debug, info, warning or error"),
            own=True,
        ),
    ] = "info"
    visitors_s: Annotated[
        float,
        Meta(ge=0.1, le=86400),
        Row(
            "Seconds between two lines of a front that tell how many are there, came, went and were"
            " turned away: often enough to see a storm, and under 200 KB a day.",
            unit="s",
            own=True,
        ),
    ] = 60.0
