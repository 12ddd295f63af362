"""The verifier: what was sent, what must come of it, and what came.

Pure: it is told of each frame with the time of its arrival, notes counts and latencies in a `Tally`
and everything that the protocol does not allow in `Faults`. It knows no socket.

A message id is `RUN STREAM NUMBER` in hexadecimal (6, 6 and 8 digits; `streams` says what a stream
is). What is allowed beyond the order of the numbers:

* At a new login a recipient may get again what it had, but nothing whose receipt the author held
  before that login began, nothing twice in one login, and nothing in another order.
* An author who logged in again may get acks and receipts again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from relay.loadgen.verify import tally as names
from relay.loadgen.verify.clientframes import AckBody, Delivered, Refusal
from relay.loadgen.verify.faults import (
    DUPLICATED,
    LOST,
    OUT_OF_ORDER,
    RECEIPT_LOST,
    REFUSED,
    UNACKED,
    WRONG,
    Faults,
)
from relay.loadgen.verify.grouporder import GroupOrder
from relay.loadgen.verify.streams import Copy, Party, Sent, Stream
from relay.loadgen.verify.tally import Tally

DELIVERED: Final = 2  # ack levels
READ: Final = 3

_RUN_END: Final = 6
_STREAM_END: Final = 12
_ID_LENGTH: Final = 20

_decode: Final = msgspec.json.Decoder().decode


class Ledger:
    """All streams of one process of a run. Times are `time.monotonic_ns`."""

    def __init__(self, run: str, tally: Tally, *, first_stream: int = 0) -> None:
        if len(run) != _RUN_END:
            raise ValueError(f"a run has {_RUN_END} digits, not {run!r}")
        self.faults = Faults()
        self.unfinished = 0  # messages that are neither complete nor refused
        self._run = run
        self._tally = tally
        self._next_stream = first_stream
        self._parties: dict[str, Party] = {}
        self._streams: dict[str, Stream] = {}
        self._orders: dict[str, GroupOrder] = {}

    # -- who takes part ---------------------------------------------------------------------------

    def party(self, user: str) -> Party:
        """Return the user's side of the ledger; made at the first call."""
        party = self._parties.get(user)
        if party is None:
            party = self._parties[user] = Party(user)
        return party

    def open_chat(self, author: str, recipient: str) -> Stream:
        """Return a new stream from one user to another."""
        return self._open(author, "", [recipient])

    def open_group(self, author: str, group: str, members: tuple[str, ...]) -> Stream:
        """Return a new stream from a member to the bare `group`; `members` may name the author.

        Who has opened none to a group when the first message comes is taken for a listener.
        """
        return self._open(author, group, [user for user in members if user != author])

    def _open(self, author: str, group: str, recipients: list[str]) -> Stream:
        digits = f"{self._next_stream:06x}"
        self._next_stream += 1
        parties = [self.party(user) for user in recipients]
        stream = Stream(self._run + digits, self.party(author), group, parties)
        for party in parties:
            stream.copies[party.user] = party.inbox[digits] = Copy(stream, party)
        stream.author.streams.append(stream)
        self._streams[digits] = stream
        if group:
            order = self._orders.setdefault(group, GroupOrder())
            order.writes(author)
            stream.order = order
        return stream

    def login_begins(self, user: str, now_ns: int) -> None:
        """Note that `user` is about to log in, with no other login of it still open."""
        party = self.party(user)
        party.logins += 1
        party.login_ns = now_ns
        if party.logins == 1:
            return
        for copy in party.inbox.values():
            copy.next_in_login = 0
            copy.confirmed = copy.next
            for number, sent in copy.stream.unfinished.items():
                if user not in sent.receipts:
                    copy.confirmed = min(number, copy.next)
                    break

    # -- sending ----------------------------------------------------------------------------------

    def send(
        self,
        stream: Stream,
        make_message: Callable[[str, int], bytes],
        *,
        time_s: int,
        intended_ns: int,
        is_measured: bool,
    ) -> Sent:
        """Enter a message that goes out now; `make_message` is given its id and number."""
        number = stream.written
        message_id = f"{stream.prefix}{number:08x}"
        sent = Sent(
            stream,
            make_message(message_id, number),
            message_id=message_id,
            time_s=time_s,
            intended_ns=intended_ns,
            is_measured=is_measured,
        )
        stream.written = number + 1
        stream.author.sent_count += 1
        stream.unfinished[number] = sent
        self.unfinished += 1
        self._tally.counts.sent += 1
        return sent

    def resend(self, user: str) -> list[Sent]:
        """Return what `user` sent and got no ack 1 for, in order; it goes out again now."""
        again = [
            sent
            for stream in self.party(user).streams
            for sent in stream.unfinished.values()
            if not sent.is_stored
        ]
        again.sort(key=lambda sent: sent.ordinal)
        for sent in again:
            sent.resends += 1
        return again

    # -- what comes -------------------------------------------------------------------------------

    def stored(self, author: Party, ack: AckBody, now_ns: int) -> Sent | None:
        """Note an ack 1; return its message the first time."""
        found = self._find(author, ack.id)
        if found is None:
            return None
        stream, number, sent = found
        if ack.to != stream.acks_to or ack.from_ != stream.stored_from or ack.cmd != "ack":
            self.faults.add(WRONG, f"ack 1 of {ack.id} says {_told(ack)}")
        if sent is None or sent.is_stored:
            if author.logins > 1 or (sent is not None and sent.resends):
                self._tally.counts.repeated += 1
            else:
                self.faults.add(DUPLICATED, f"ack 1 of {_name(stream, number)}")
            return None
        if ack.t != sent.time_s:
            self.faults.add(WRONG, f"ack 1 of {ack.id} has t {ack.t}, not {sent.time_s}")
        if sent.ordinal < author.stored_up_to:
            self.faults.add(OUT_OF_ORDER, f"ack 1 of {_name(stream, number)} after a later one's")
        else:
            author.stored_up_to = sent.ordinal
        sent.is_stored = True
        self._tally.counts.stored += 1
        if sent.is_measured and author.login_ns <= sent.intended_ns:
            self._tally.latencies[names.ACK].append((now_ns - sent.intended_ns) // 1000)
        if sent.is_complete:
            self._complete(sent)
        return sent

    def delivered(self, party: Party, element: Delivered, now_ns: int) -> Sent | None:
        """Note a delivery to `party`; return its message the first time.

        Whatever is returned, the recipient acks it: to the relay a repeat is un-acked too.
        """
        message_id = element.key.id
        if message_id[:_RUN_END] != self._run or len(message_id) != _ID_LENGTH:
            self._tally.counts.foreign += 1
            return None
        copy = party.inbox.get(message_id[_RUN_END:_STREAM_END])
        if copy is None:
            self.faults.add(WRONG, f"{message_id} came to {party.user}, who is no recipient")
            return None
        stream = copy.stream
        number = _number(message_id)
        if number >= stream.written:
            self.faults.add(WRONG, f"{message_id} came to {party.user} and was never sent")
            return None
        sent = stream.unfinished.get(number)
        if sent is not None and not _is_genuine(element, sent):
            self.faults.add(WRONG, f"{_name(stream, number)} came to {party.user} as {element}")
        if number == copy.next:
            copy.next = copy.next_in_login = number + 1
        elif not self._is_new(copy, number):
            return None
        if sent is None:
            if number in stream.refused:
                self.faults.add(WRONG, f"{_name(stream, number)} was refused and yet delivered")
            return None
        sent.deliveries += 1
        if stream.order is not None:
            stream.order.seen(party.user, stream.author.user, stream.prefix, number)
        self._tally.counts.delivered += 1
        if sent.is_measured and party.login_ns <= sent.intended_ns:
            self._time_delivery(sent, (now_ns - sent.intended_ns) // 1000)
        return sent

    def _is_new(self, copy: Copy, number: int) -> bool:
        """Judge a number that is not the next: is this its first delivery?"""
        stream, user = copy.stream, copy.party.user
        if number > copy.next:
            # Either those between come later, which is an offence then, or they are lost.
            copy.overtaken.update(range(copy.next, number))
            copy.next = copy.next_in_login = number + 1
            return True
        if number in copy.overtaken:
            copy.overtaken.remove(number)
            if number not in stream.refused:
                what = f"{_name(stream, number)} came to {user} after a later one"
                self.faults.add(OUT_OF_ORDER, what)
            return True
        if number < copy.confirmed:
            what = f"{_name(stream, number)} came to {user} again, after its receipt"
            self.faults.add(DUPLICATED, what)
        elif number < copy.next_in_login or copy.party.logins == 1:
            self.faults.add(DUPLICATED, f"{_name(stream, number)} came to {user} twice")
        else:
            copy.next_in_login = number + 1
            self._tally.counts.redelivered += 1
        return False

    def _time_delivery(self, sent: Sent, micros: int) -> None:
        latencies = self._tally.latencies
        if not sent.stream.group:
            latencies[names.DELIVERY].append(micros)
            return
        if sent.deliveries == 1:
            latencies[names.FIRST_DELIVERY].append(micros)
        if sent.deliveries == len(sent.stream.recipients):
            latencies[names.LAST_DELIVERY].append(micros)

    def receipt(self, author: Party, ack: AckBody, now_ns: int) -> Sent | None:
        """Note an ack of level 2 or more; return its message if that completes it."""
        found = self._find(author, ack.id)
        if found is None:
            return None
        stream, number, sent = found
        acker = (ack.participant if stream.group else ack.to).removesuffix("@c.us")
        copy = stream.copies.get(acker)
        if (
            copy is None
            or ack.to != stream.acks_to
            or ack.from_ != stream.receipts_from
            or ack.cmd != "ack"
        ):
            self.faults.add(WRONG, f"receipt of {_name(stream, number)} says {_told(ack)}")
            return None
        if number >= copy.next or number in copy.overtaken:
            what = f"receipt of {_name(stream, number)} by {acker}, who never got it"
            self.faults.add(WRONG, what)
        if ack.ack >= READ:
            self._tally.counts.reads_arrived += 1
        if sent is None or acker in sent.receipts:
            if ack.ack < READ:
                if author.logins > 1:
                    self._tally.counts.repeated += 1
                else:
                    what = f"receipt of {_name(stream, number)} by {acker}"
                    self.faults.add(DUPLICATED, what)
            return None
        if not sent.is_stored and author.logins == 1:
            self.faults.add(OUT_OF_ORDER, f"receipt of {_name(stream, number)} before its ack 1")
        sent.receipts.add(acker)
        self._tally.counts.receipts += 1
        if len(sent.receipts) < len(stream.recipients):
            return None
        since = sent.intended_ns
        if sent.is_measured and author.login_ns <= since and copy.party.login_ns <= since:
            self._tally.latencies[names.RECEIPT].append((now_ns - since) // 1000)
        if not sent.is_stored:
            return None
        self._complete(sent)
        return sent

    def refused(self, author: Party, refusal: Refusal) -> None:
        """Note an `error` frame."""
        what = f"{author.user}: {refusal.code} {refusal.reason}"
        if refusal.id:
            what += f" ({refusal.id})"
        self.faults.add(REFUSED, what)
        if refusal.id[:_RUN_END] != self._run or len(refusal.id) != _ID_LENGTH:
            return
        found = self._find(author, refusal.id)
        if found is not None and found[2] is not None:
            stream, number, _ = found
            del stream.unfinished[number]
            stream.refused.add(number)
            self.unfinished -= 1

    def _complete(self, sent: Sent) -> None:
        del sent.stream.unfinished[sent.number]
        self.unfinished -= 1
        self._tally.counts.completed += 1

    def _find(self, author: Party, message_id: str) -> tuple[Stream, int, Sent | None] | None:
        """Return the message of an ack; None, and a note of why, if the author has none such."""
        if message_id[:_RUN_END] != self._run or len(message_id) != _ID_LENGTH:
            self._tally.counts.foreign += 1
            return None
        stream = self._streams.get(message_id[_RUN_END:_STREAM_END])
        number = _number(message_id)
        if stream is None or stream.author is not author or number >= stream.written:
            self.faults.add(WRONG, f"ack of {message_id} came to {author.user}, who sent no such")
            return None
        return stream, number, stream.unfinished.get(number)

    # -- the end ----------------------------------------------------------------------------------

    def close(self, *, is_cut_short: bool = False) -> Faults:
        """Add what is missing now that nothing more will come, and return all faults.

        Of a run that was cut short, what is under way may still come: nothing is missing.
        """
        if is_cut_short:
            return self.faults
        for stream in self._streams.values():
            for sent in stream.unfinished.values():
                self._missing(stream, sent)
        for group, order in self._orders.items():
            if any(
                copy.overtaken or copy.next < stream.written
                for stream in self._streams.values()
                if stream.group == group
                for copy in stream.copies.values()
            ):
                continue  # what is missing has been told; orders can be compared only when whole
            for members in order.disagreements():
                self.faults.add(OUT_OF_ORDER, f"members of {group} saw different orders: {members}")
        return self.faults

    def _missing(self, stream: Stream, sent: Sent) -> None:
        if not sent.is_stored:
            self.faults.add(UNACKED, f"{_name(stream, sent.number)} has no ack 1")
            return
        for user, copy in stream.copies.items():
            if sent.number >= copy.next or sent.number in copy.overtaken:
                self.faults.add(LOST, f"{_name(stream, sent.number)} never came to {user}")
            elif user not in sent.receipts:
                what = f"{_name(stream, sent.number)}: {user} acked it, the author was not told"
                self.faults.add(RECEIPT_LOST, what)


def _number(message_id: str) -> int:
    try:
        return int(message_id[_STREAM_END:], 16)
    except ValueError:
        return 1 << 40  # beyond what any stream has written


def _is_genuine(element: Delivered, sent: Sent) -> bool:
    stream, key = sent.stream, element.key
    return (
        key.remote_jid == stream.delivered_remote_jid
        and element.participant == stream.delivered_participant
        and not key.from_me
        and element.message_timestamp == str(sent.time_s)
        and (bytes(element.message) == sent.message or same_json(element.message, sent.message))
    )


def same_json(one: bytes | msgspec.Raw, other: bytes | msgspec.Raw) -> bool:
    """Whether both are JSON of the same value: a relay may space and escape as it likes."""
    try:
        return bool(_decode(one) == _decode(other))
    except msgspec.MsgspecError:
        return False


def _name(stream: Stream, number: int) -> str:
    return f"{stream.prefix}{number:08x} from {stream.author.user} to {stream.remote_jid}"


def _told(ack: AckBody) -> str:
    who = f" by {ack.participant}" if ack.participant else ""
    return f"{ack.cmd} {ack.ack} from {ack.from_} to {ack.to}{who}"
