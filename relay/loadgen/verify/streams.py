"""What is kept of a run: who takes part, what each sends to whom, and what came of it.

A *stream* is what one author sends to one chat; its numbers count from 0, so each recipient's next
number is known. A *copy* is the stream as one recipient sees it. Plain state: only the ledger
changes it.
"""

from __future__ import annotations

from relay.loadgen.verify.grouporder import GroupOrder


class Party:
    """One user: what is known of its login, what it sends, and what it should receive."""

    __slots__ = ("inbox", "login_ns", "logins", "sent_count", "stored_up_to", "streams", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.logins = 0
        self.login_ns = 0  # when the present login began
        self.sent_count = 0
        self.stored_up_to = -1  # the latest send, of all chats, that ack 1 came for
        self.streams: list[Stream] = []
        self.inbox: dict[str, Copy] = {}  # by the stream's six digits


class Stream:
    """What one author sends to one chat: `recipients` is one user, or a group's other members."""

    __slots__ = (
        "acks_to",
        "author",
        "copies",
        "delivered_participant",
        "delivered_remote_jid",
        "group",
        "order",
        "prefix",
        "receipts_from",
        "recipients",
        "refused",
        "remote_jid",
        "stored_from",
        "unfinished",
        "written",
    )

    def __init__(self, prefix: str, author: Party, group: str, recipients: list[Party]) -> None:
        self.prefix = prefix  # run and stream, the first 12 digits of its ids
        self.author = author
        self.group = group
        self.recipients = {party.user: party for party in recipients}
        self.copies: dict[str, Copy] = {}
        self.written = 0
        self.unfinished: dict[int, Sent] = {}
        self.refused: set[int] = set()
        self.order: GroupOrder | None = None
        # The jids of PROTOCOL R12, as they must come.
        peer = recipients[0].user
        self.remote_jid = f"{group}@g.us" if group else f"{peer}@s.whatsapp.com"
        self.delivered_remote_jid = f"{group}@g.us" if group else f"{author.user}@s.whatsapp.com"
        self.delivered_participant = f"{author.user}@s.whatsapp.net" if group else ""
        self.acks_to = f"{group}@g.us" if group else f"{peer}@c.us"
        self.stored_from = author.user if group else f"{author.user}@c.us"
        self.receipts_from = f"{author.user}@c.us"


class Sent:
    """A message under way."""

    __slots__ = (
        "deliveries",
        "id",
        "intended_ns",
        "is_measured",
        "is_stored",
        "message",
        "number",
        "ordinal",
        "receipts",
        "resends",
        "stream",
        "time_s",
    )

    def __init__(
        self,
        stream: Stream,
        message: bytes,
        *,
        message_id: str,
        time_s: int,
        intended_ns: int,
        is_measured: bool,
    ) -> None:
        self.stream = stream
        self.number = stream.written
        self.ordinal = stream.author.sent_count
        self.id = message_id
        self.message = message
        self.time_s = time_s
        self.intended_ns = intended_ns
        self.is_measured = is_measured
        self.is_stored = False
        self.resends = 0
        self.deliveries = 0
        self.receipts: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether the author holds ack 1 and the receipt of every recipient."""
        return self.is_stored and len(self.receipts) == len(self.stream.recipients)


class Copy:
    """A stream as one recipient sees it."""

    __slots__ = ("confirmed", "next", "next_in_login", "overtaken", "party", "stream")

    def __init__(self, stream: Stream, party: Party) -> None:
        self.stream = stream
        self.party = party
        self.next = 0  # the first number that never came, but for those overtaken
        self.overtaken: set[int] = set()  # later ones came first
        self.next_in_login = 0  # in this login lower ones must not come again
        self.confirmed = 0  # before this login all lower ones had their receipts
