"""How operators see and steer the relay: [admin]."""

from typing import Annotated

from msgspec import Meta

from relay.settings.rows import Flag, Row, Table

_FILE = r"^[^\x00\ud800-\udfff]*\Z"
# A user's local part, but for one with an agent, which no address means (R11).
_USER = r"^(?:(?!\d+_\d+\Z)[0-9A-Za-z][0-9A-Za-z._-]{0,63})?\Z"
_HOST = r"^[0-9A-Za-z.:_%-]{1,253}\Z"
# What a Content-Security-Policy can name, which knows no addresses of IPv6.
_RELAY_URL = r"^(wss?://[0-9A-Za-z._-]{1,253}(:[0-9]{1,5})?(/[0-9A-Za-z._~/-]{0,200})?)?\Z"


class AdminSettings(Table, frozen=True):
    """[admin]: the process that answers operators, beside the path of messages."""

    disabled: Annotated[
        bool,
        Row(
            "Whether to do without the process that answers operators: `relay status`, /metrics,"
            " the API. It serves admin.sock in the run directory, and a port where a token_file"
            " says who may. It takes some 30 MiB, and 15 more from the first question on.",
            restart=True,
            flag=Flag(
                "processes",
                "--no-admin",
                help="start no process that answers operators: no relay status, no metrics",
            ),
        ),
    ] = False
    host: Annotated[
        str,
        Meta(pattern=_HOST, description='an IP address or host name, such as "127.0.0.1" or "::1"'),
        Row(
            "Address of the API over TCP. One that other machines reach needs tls_certificate and"
            " tls_key, since each request carries a token.",
            restart=True,
        ),
    ] = "127.0.0.1"
    # Next to the protocol's 9011.
    port: Annotated[
        int,
        Meta(ge=0, le=65535),
        Row(
            "TCP port of the API, once there is a token_file or a chat_url. 0: any free one, and"
            " the log tells which. Where it is taken, the socket in the run directory is served"
            " all the same.",
            restart=True,
        ),
    ] = 9012
    token_file: Annotated[
        str,
        Meta(pattern=_FILE, description="a path to a file, or empty for none"),
        Row(
            'File of tokens, a line each: the token, then what it may: read, act, texts. "": the'
            " API is not served over TCP. It is read again when it changes, and others than its"
            " owner and group must not read it.",
            restart=True,
        ),
    ] = ""
    tls_certificate: Annotated[
        str,
        Meta(pattern=_FILE, description="a path to a file, or empty for none"),
        Row('Certificate of the API over TCP, PEM with its chain. "": without TLS.', restart=True),
    ] = ""
    tls_key: Annotated[
        str,
        Meta(pattern=_FILE, description="a path to a file, or empty for none"),
        Row("Private key of that certificate, PEM.", restart=True),
    ] = ""
    jid: Annotated[
        str,
        Meta(pattern=_USER, description='the local part of a user, such as "operator", or empty'),
        Row(
            "As whom operators send (`relay announce`), the local part alone. No client may log in"
            ' as that user; what people answer waits in its mailbox, and is read there. "": they'
            " cannot send.",
            restart=True,
        ),
    ] = ""
    backup_directory: Annotated[
        str,
        Meta(pattern=_FILE, description="a path to a directory, or empty for none"),
        Row(
            "Directory that backups go to which are asked for through the API (`relay backup"
            ' NAME`), each in one of its own. "": none can be, since a token is not to write'
            " anywhere. It must lie outside server.data.",
            own=True,
        ),
    ] = ""
    chat_url: Annotated[
        str,
        Meta(
            pattern=_RELAY_URL,
            description="an address as wss://HOST, of a name or an IPv4 address, or empty for none",
        ),
        Row(
            "Where the chat page of this process connects to: the relay as browsers reach it, such"
            ' as "wss://chat.example.org/". "": there is no such page. It is at /chat/ of host'
            " and port, and needs no token of token_file. server.allowed_origins must name its"
            " origin.",
            restart=True,
        ),
    ] = ""
    ask_within_s: Annotated[
        float,
        Meta(ge=0.01, le=60),
        Row(
            "Seconds that a front or a worker has to answer a question; an answer then says that"
            " it could not be asked. Under a second: an operator waits for that, when something is"
            " wrong.",
            unit="s",
        ),
    ] = 0.7
