"""Users, as fronts and workers know them: sessions, and what waits."""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.inquiries.contract import Inquiry

# Sessions that one inquiry looks at, some 2 ms.
MAX_SEEN = 5000
# Entries of a mailbox that one inquiry looks at, and bytes of them: some 5 ms.
MAX_LOOKED = 500
MAX_LOOKED_BYTES = 2 * 1024 * 1024


class SessionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One session, as its front has it."""

    session: int
    user: str
    stage: str  # LIVE, or how far its login is
    address: str
    since_ms: int  # of its last login
    capabilities: tuple[str, ...] = ()


class Sessions(msgspec.Struct, frozen=True):
    """Some of a front's, in the order in which they came; `next` is 0 where no more follow."""

    sessions: list[SessionSeen]
    next: int = 0


class AskSessions(Inquiry[Sessions], frozen=True):
    """Those behind session `after` whose user begins with `prefix`, at most `limit`."""

    name = "sessions"
    answer = Sessions

    limit: int
    after: int = 0
    prefix: str = ""


class AskSession(Inquiry[Sessions], frozen=True):
    """That one; none where it has gone."""

    name = "session"
    answer = Sessions

    session: int


class AuthorWaiting(msgspec.Struct, frozen=True):
    """What of one author waits for one user."""

    author: str
    messages: int
    size: int


class MailboxSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one user, and where he is served.

    `authors` are those of the first `looked_at` entries. While totals are not known they are None.
    """

    front: str = ""  # its identity on the bus; empty: he has no session
    session: int = 0
    state: str = ""  # of the reader: LIVE, READING, PAUSED or STARVED
    messages: int | None = None
    size: int | None = None
    receipts: int | None = None
    oldest_ms: int = 0  # 0: nothing waits
    oldest_message_ms: int = 0  # of the messages alone, 0: none waits
    looked_at: int = 0
    authors: list[AuthorWaiting] = []
    # Of his own, at this worker's users, who have not acked: about.
    sent_messages: int = 0
    sent_size: int = 0


class AskMailbox(Inquiry[MailboxSeen], frozen=True):
    """That of one user of the worker."""

    name = "mailbox"
    answer = MailboxSeen

    user: str


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a mailbox."""

    seq: int
    kind: Literal["message", "group_message", "receipt"]
    id: str
    author: str  # of a receipt: who has acked
    group: str = ""
    queued_ms: int
    size: int
    level: int = 0  # of a receipt
    message: bytes | None = None  # JSON, where texts were asked for


class Queue(msgspec.Struct, frozen=True):
    """Some of the entries, in order; `next` is 0 where no more follow."""

    entries: list[Queued]
    next: int = 0


class AskQueue(Inquiry[Queue], frozen=True):
    """Those of a user of the worker behind the entry `after`, at most `limit`."""

    name = "queue"
    answer = Queue

    user: str
    limit: int
    after: int = 0
    texts: bool = False
