"""How sessions begin and end here: logins, takeovers, announcements, fronts that died."""

from __future__ import annotations

from relay.bus.envelopes import (
    LOGIN,
    CloseSession,
    EndSession,
    OpenSession,
    SessionOpened,
    SessionRefused,
)
from workers.shard.effects import Identity
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.readers import Reader, Readers
from workers.shard.takeovers import Takeovers
from workers.shard.turn import Turn

MAX_ENDED = 250  # sessions of a front that died; the mailbox of each is counted and saved


class Logins:
    """Gives users their readers and takes them away."""

    def __init__(
        self,
        turn: Turn,
        readers: Readers,
        mailboxes: Mailboxes,
        pages: Pages,
        peers: Peers,
        halves: Halves,
    ) -> None:
        self._turn = turn
        self._readers = readers
        self._mailboxes = mailboxes
        self._pages = pages
        self._owns = peers.owns
        self._halves = halves
        self._takeovers = Takeovers()
        self._lost_fronts: set[Identity] = set()  # that still have readers

    def open(self, front: Identity, request: OpenSession) -> None:
        """Serve a session, unless another one of its user comes first (2.2)."""
        if not self._owns(request.user):
            reason = "the user is served elsewhere, log in again"
            self.refuse(front, request, 503, reason, retry_after_s=1)
            return
        present = self._readers.of_user(request.user)
        if present is not None and present.front in self._lost_fronts:
            # Its turn to end had not come, but its user is away: nothing is taken over.
            self._end(present)
            present = None
        is_new = True
        if present is None:
            reader = self._enter(front, request)
        elif (present.front, present.number) == (front, request.session):
            reader, is_new = present, False
        elif request.phase != LOGIN and (
            not present.is_announced or request.asked_ms < present.asked_ms
        ):
            # A login to this incarnation is newer than every session that is announced to it. Two
            # are announced where the older one's front has not heard of the takeover.
            self._turn.to_fronts[front].append(EndSession(request.session))
            return
        elif request.phase == LOGIN and not self._may_take_over(front, request):
            return
        else:
            reader = self._take_over(front, request, present)
        reader.open(request, last_seq=self._turn.seq)
        if not reader.is_announced:
            self._turn.to_fronts[front].append(SessionOpened(request.session))
        self._pages.send(reader)
        if is_new:
            for opened in self._halves.opened:
                opened(request.user)

    def close(self, front: Identity, request: CloseSession) -> None:
        """End the session of a connection that is gone; what it did not ack stays queued."""
        reader = self._readers.at(front, request.session)
        if reader is not None:
            self._end(reader)

    def front_lost(self, front: Identity) -> bool:
        """End sessions of a front that died; what they did not ack stays queued.

        Return whether that was all of them: call it in the next batch too while it was not.
        """
        self._pages.front_lost(front)
        readers = self._readers.through(front)
        for reader in readers[:MAX_ENDED]:
            self._end(reader)
        if len(readers) > MAX_ENDED:
            self._lost_fronts.add(front)
            return False
        self._lost_fronts.discard(front)
        return True

    def refuse(
        self,
        front: Identity,
        request: OpenSession,
        code: int,
        reason: str,
        *,
        retry_after_s: int = 0,
    ) -> None:
        """Answer a login that fails; a session that was open before stays as it was."""
        self._turn.to_fronts[front].append(
            SessionRefused(request.session, code, reason, retry_after_s)
        )

    def _enter(self, front: Identity, request: OpenSession) -> Reader:
        if request.phase == LOGIN:
            # Until now the user was away, and it must look like that: one receipt an acker.
            self._mailboxes.prepare(request.user)
        mailbox = self._mailboxes.enter(request.user)
        reader = Reader(front, request.session, request.user, mailbox)
        self._readers.add(reader)
        return reader

    def _may_take_over(self, front: Identity, request: OpenSession) -> bool:
        """Count a takeover; refuse it where the user's clients throw each other out (2.2.8)."""
        auth, now_ms = self._turn.settings.auth, self._turn.now_ms
        most, window_ms = auth.max_takeovers, int(auth.takeover_window_s * 1000)
        wait_ms = self._takeovers.wait_ms(
            request.user, most=most, window_ms=window_ms, now_ms=now_ms
        )
        if not wait_ms:
            self._takeovers.note(request.user, most=most, window_ms=window_ms, now_ms=now_ms)
            return True
        reason = f"more than {most} takeovers of this session"
        self.refuse(front, request, 429, reason, retry_after_s=-(-wait_ms // 1000))
        self._turn.counters["takeovers_refused"] += 1
        return False

    def _take_over(self, front: Identity, request: OpenSession, present: Reader) -> Reader:
        # An announced session was taken over in an earlier incarnation, which has counted it.
        self._turn.to_fronts[present.front].append(EndSession(present.number))
        self._discard(present)
        reader = Reader(front, request.session, request.user, present.mailbox)
        self._readers.add(reader)
        return reader

    def _discard(self, reader: Reader) -> None:
        self._readers.discard(reader)
        self._pages.left(reader)

    def _end(self, reader: Reader) -> None:
        self._discard(reader)
        self._mailboxes.leave(reader)
        for closed in self._halves.closed:
            closed(reader.user)
