"""What a client may do, and how it is served: [limits] to [flow], as config/relay.toml has them."""

from typing import Annotated

from msgspec import Meta

from relay.settings.rows import Row, Table
from relay.settings.sizes import GIB, KIB, MIB


class LimitSettings(Table, frozen=True):
    """[limits]: what one client may send (PROTOCOL 2.1 and section 5)."""

    frame_bytes: Annotated[
        int,
        Meta(ge=KIB, le=16 * MIB),
        Row(
            "Bytes of one frame from a client, then its connection is closed (1009). {default}. A"
            " connection keeps the size that held at its login.",
            unit="bytes",
        ),
    ] = 256 * KIB
    first_frame_bytes: Annotated[
        int,
        Meta(ge=KIB, le=16 * MIB),
        Row(
            "Bytes of a frame before the login was asked for, then its connection is closed (1009)"
            " unread. {default}: a login with a token has two at most, and who has not logged in"
            " may not have the relay hold more.",
            unit="bytes",
        ),
    ] = 8 * KIB
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
    # R28. Ten of malformed_frames for a full `action`, so that one mistake of a program closes
    # nothing.
    refused_messages: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        Row(
            "Messages refused for their form that count as one malformed frame. {default}: a"
            " program with a bad address now and then never meets it, one that sends nothing else"
            " is closed after 500 within malformed_window_s."
        ),
    ] = 25
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
        Row(
            "Connections of one front; further ones are turned away (HTTP 503). Some 5 KiB of"
            " memory each, and a descriptor: a front that may open fewer files takes fewer."
        ),
    ] = 100_000
    group_members: Annotated[
        int, Meta(ge=1, le=100_000), Row("Members of one group: 256 and its creator.")
    ] = 257


# An address, or a network such as 10.0.0.0/8; `relay.settings.agreement` looks closer.
NETWORK = r"^[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?\Z"


class AdmissionSettings(Table, frozen=True):
    """[admission]: who is let in at the port, before anybody knows who it is."""

    # Of one front, as limits.connections: what they guard is a front's memory and time, fronts
    # share nothing, and the kernel spreads an address's connections over them unevenly.
    unauthenticated: Annotated[
        int,
        Meta(ge=1, le=10_000_000),
        Row(
            "Connections of one front that have not logged in yet; further ones are turned away"
            " (HTTP 503). {default}: five seconds of a storm of logins. Up to some 16 KiB of"
            " memory each."
        ),
    ] = 10_000
    handshake_bytes: Annotated[
        int,
        Meta(ge=KIB, le=MIB),
        Row(
            "Bytes of the HTTP request of a handshake, then it is refused (431). {default}:"
            " browsers send under 2, and as much again in cookies of other programs on this host.",
            unit="bytes",
        ),
    ] = 8 * KIB
    # Three losses of a packet on the way, after 1, 2 and 4 s; a proxy sends it in one piece.
    handshake_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds from connecting to a whole request of a handshake, then the connection is"
            " cut. It is one packet, which may get lost three times.",
            unit="s",
        ),
    ] = 10.0
    address_connections: Annotated[
        int,
        Meta(ge=0, le=10_000_000),
        Row(
            "Connections of one front from one address (of IPv6 a /64), then HTTP 429. {default}:"
            " an office behind one NAT has fewer. 0: no limit, as behind a proxy that does not"
            " tell addresses (see server.trusted_proxies)."
        ),
    ] = 1000
    address_unauthenticated: Annotated[
        int,
        Meta(ge=0, le=10_000_000),
        Row(
            "Those of them that have not logged in yet, then HTTP 429; a login takes a fraction of"
            " a second. {default}: an office that comes back at once after its router did. 0: no"
            " limit."
        ),
    ] = 250
    address_handshakes_per_s: Annotated[
        float,
        Meta(ge=0, le=1_000_000),
        Row(
            "Connections a second that one front takes from one address in the long run, then HTTP"
            " 429. {default}: they cost it 2 % of a core; a client that lost its connection waits"
            " longer and longer between its tries. 0.0: no limit."
        ),
    ] = 50.0
    address_handshakes_burst: Annotated[
        int,
        Meta(ge=1, le=10_000_000),
        Row(
            "Connections that an address may make at once before address_handshakes_per_s holds it"
            " back: all that it may have, because all come back when a front has died."
        ),
    ] = 1000
    exempt: Annotated[
        tuple[Annotated[str, Meta(pattern=NETWORK)], ...],
        Meta(
            max_length=100,
            description="a list of at most 100 addresses or networks, such as"
            ' ["127.0.0.0/8", "10.0.0.7"]',
        ),
        Row(
            "Addresses and networks that the limits of one address do not hold for: proxies, from"
            " which all clients come. This machine, because what runs here is proxies and tools."
        ),
    ] = ("127.0.0.0/8", "::1")


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
    """[flow]: what is under way between a mailbox and a socket; beyond it, waiting is on disk."""

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
    gather_s: Annotated[
        float,
        Meta(ge=0, le=0.2),
        Row(
            "Seconds that a front or worker lets pass between two batches, at most: where all"
            " processors are busy, so that more shares what a batch costs. Each on a message's way"
            " adds as much to its latency. One with time to spare waits for nothing. 0.0: nor does"
            " any other.",
            unit="s",
        ),
    ] = 0.01
    ride_s: Annotated[
        float,
        Meta(ge=0, le=0.1),
        Row(
            "Seconds that acks wait for a message to share a batch with, at most, where one comes"
            " within that time: most cost no batch of their own then, and receipts come as much"
            " later. 0.0: they wait for none.",
            unit="s",
        ),
    ] = 0.005
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
