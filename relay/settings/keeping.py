"""What is kept, how long and where: [mailbox], [dedupe], [acks], [store]."""

from typing import Annotated, Literal

from msgspec import Meta

from relay.settings.rows import Flag, Row, Table
from relay.settings.sizes import GIB, KIB, MIB, TIB


class MailboxSettings(Table, frozen=True):
    """[mailbox]: what waits for one user (PROTOCOL 2.7)."""

    max_entries: Annotated[
        int,
        Meta(ge=1, le=100_000_000),
        Row(
            "Messages waiting for one user. At the limit one that its client is known to have makes"
            " room, the oldest of whoever has most there; where there is none, the sender is"
            " refused (507).",
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
    # Below a hundredth, those who are near their share are too many to be told apart cheaply.
    author_share: Annotated[
        float,
        Meta(ge=0.01, le=1),
        Row(
            "The part of max_entries and of max_bytes that one author may fill of a mailbox, then"
            " that author alone is refused (507). {default}: a friend who writes a hundred messages"
            " a day to somebody away gets there after 25 days. 1.0: one may fill all of it.",
            readme="the part of them that one author may fill",
        ),
    ] = 0.25
    max_receipts: Annotated[
        int,
        Meta(ge=1, le=100_000_000),
        Row(
            "Receipts waiting for one user. At the limit new ones are dropped. Ten times the"
            " messages, because a message to a group returns many."
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
            " session only. false: drop it. The protocol sheet prints such an ack, so a client"
            " that goes by it may count on it."
        ),
    ] = True
    unknown_acks_per_s: Annotated[
        float,
        Meta(ge=0, le=1_000_000),
        Row(
            "Such acks a second that one user may have forwarded; more are dropped. 0.0: no limit."
            " {default}: an ack of ten bytes becomes a frame of a hundred, for somebody else."
        ),
    ] = 5.0
    unknown_acks_burst: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        Row(
            "Such acks that a user may have forwarded at once: one who reads old chats after the"
            " relay has forgotten their ids."
        ),
    ] = 100


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
            own=True,  # it is of a disk, as the next
        ),
    ] = TIB
    min_free_bytes: Annotated[
        int,
        Meta(ge=0, le=TIB),
        Row(
            "Bytes that stay free on the disk. Below, sends are refused (500) while reads and acks"
            " go on, which need a little room themselves; {default} is some seconds of the fastest"
            " traffic. What is free inside a worker's store counts, but for the last quarter.",
            unit="bytes",
            own=True,
        ),
    ] = 64 * MIB
    compact: Annotated[
        bool,
        Row(
            "Before the relay serves, give the disk back what is free inside the stores. That takes"
            " as long as a copy of what is live. A store is left as it is where there is no room"
            " for that.",
            restart=True,  # the supervisor has it done before it starts a worker
            flag=Flag(
                "data",
                "--compact",
                help="before it serves, give the disk back what is free inside the stores",
            ),
        ),
    ] = False
