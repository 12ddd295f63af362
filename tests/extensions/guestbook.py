"""An extension that is none of the relay's: guests sign a user's book, and its owner may close it.

It has a request of each kind, two halves, trees, a step, settings, counters and a hook: whatever
an extension may have, so that a test can see that the relay carries all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from relay.bus.envelopes import SendToUser
from relay.errors import FrameError, JidError
from relay.extensions.contract import (
    Asker,
    Extension,
    ExtensionTree,
    FrontDesk,
    FrontHalf,
    Refuse,
    Request,
    Send,
    Step,
    TreeSpec,
    WorkerHalf,
)
from relay.protocol.jid import parse_user
from relay.protocol.request import Parts
from relay.settings.rows import Row, Table


class GuestbookSettings(Table, frozen=True):
    """[guestbook]."""

    max_guests: Annotated[int, Meta(ge=1, le=1000), Row("Guests in one book.")] = 100


class Sign(msgspec.Struct, frozen=True, tag="sign"):
    """Sign the book of `owner`."""

    owner: str


class Read(msgspec.Struct, frozen=True, tag="read"):
    """Who signed the book of `owner`?"""

    owner: str


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Let nobody who has not signed one's own book write to one any more."""


Body = Sign | Read | Close

_decode = msgspec.msgpack.Decoder(Body).decode


def _owner(parts: Parts) -> str:
    try:
        options = msgspec.json.decode(parts[1], type=dict[str, str])
        return parse_user(options.get("jid"))
    except (msgspec.MsgspecError, JidError, IndexError):
        raise FrameError(400, "jid: a user's jid is expected") from None


class GuestbookWorker(WorkerHalf):
    """Keeps the books of the users of one worker: who signed, and whether it is closed."""

    @property
    def guests(self) -> ExtensionTree:
        """Who signed whose book."""
        return self.desk.tree("guests")

    @property
    def closed_books(self) -> ExtensionTree:
        """Whose book is closed."""
        return self.desk.tree("closed")

    def asked(self, asker: Asker, body: bytes) -> None:
        """Sign, read or close a book of this worker."""
        match _decode(body):
            case Sign(owner):
                # By way of a carry, as what concerns another user's worker must go.
                self.desk.carry(owner, asker.user)
                self._say(asker, owner)
            case Read(owner):
                self._say(asker, owner)
            case Close():
                self.closed_books.put(asker.user, b"now", b"")
                self.desk.answer(asker, asker.correlation.answer("guestbook", {"closed": True}))

    def _say(self, asker: Asker, owner: str) -> None:
        names = [key.decode() for key, _ in self.guests.scan(owner)]
        self.desk.answer(asker, asker.correlation.answer("guestbook", {"guests": names}))

    def carried(self, owner: str, body: bytes) -> None:
        """Put a guest in the book of `owner`."""
        guest = msgspec.msgpack.decode(body, type=str)
        if len(list(self.guests.scan(owner))) < self.desk.table.max_guests:
            self.guests.put(owner, guest.encode(), b"")
            self.desk.count("signed")
            self.desk.tell(owner, guest)

    def acked(self, author: str, group: str, message_id: str, acker: str, level: int) -> None:
        """Whoever reads a message has visited its author."""
        if not group:
            self.desk.carry(author, f"reader-{acker}")


def only_guests(half: GuestbookWorker, send: Send) -> Refuse | None:
    """Refuse what strangers write to one who has closed his book."""
    if not isinstance(send, SendToUser) or half.closed_books.get(send.chat, b"now") is None:
        return None
    if half.guests.get(send.chat, send.author.encode()) is not None:
        return None
    half.desk.count("turned_away")
    return Refuse(403, "the book is closed")


class GuestbookFront(FrontHalf):
    """Tells an owner who is there of a new guest."""

    def __init__(self, desk: FrontDesk) -> None:
        super().__init__(desk)
        self.visits = 0

    def requested(self, asker: Asker, body: None) -> None:
        """Say how many sessions were opened through this front."""
        self.desk.count("asked")
        self.desk.answer(asker, asker.correlation.answer("guestbook", {"visits": self.visits}))

    def told(self, session: int, body: bytes) -> None:
        """Write the guest's name to the owner."""
        guest = msgspec.msgpack.decode(body, type=str)
        self.desk.write(session, msgspec.json.encode(["guest", {"name": guest}]))

    def opened(self, session: int, user: str, caps: Sequence[str]) -> None:
        """Count a visit."""
        self.visits += 1


EXTENSION: Final = Extension(
    name="guestbook",
    grants=("guestbook",),
    requests={
        ("guestbook", "sign"): Request(
            decode=lambda parts: Sign(_owner(parts)), worker_of=lambda _, body: body.owner
        ),
        ("guestbook", "read"): Request(
            decode=lambda parts: Read(_owner(parts)), worker_of=lambda _, body: body.owner
        ),
        ("guestbook", "close"): Request(decode=lambda _: Close(), worker_of=lambda user, _: user),
        ("guestbook", "visits"): Request(decode=lambda _: None),
    },
    front=GuestbookFront,
    worker=GuestbookWorker,
    trees=(TreeSpec(name="guests"), TreeSpec(name="closed")),
    steps=(Step(after="known", judge=only_guests),),
    settings=GuestbookSettings,
)
