"""The log of one range as this process reaches it: over a wire that may be lost, and is made anew.

Beside `connect`, which tells whether there is a wire, every call may raise WireLost. Then what was
published is unknown, nothing of it is answered any more, and the tail is followed no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from relay import log
from relay.cluster import jetstream
from relay.cluster.jetstream import ApiError, NoMajority, Stored, WrongLastSequence
from relay.cluster.names import agent_of, calls_of
from relay.cluster.natsframes import Message
from relay.cluster.natswire import Login, MessageTooLarge, Server, Wire, WireLost
from relay.cluster.requests import RequestUnreadable, Room, RoomAsked, decode_answer, encode
from relay.cluster.vouching import Vouch, encode_vouch
from relay.errors import StoreWriteError
from workers.log.writer import Publish

# To a host that is cut off a connection is tried for so long; one that runs answers in 10 ms.
_CONNECT_S: Final = 1.0
# A leader answers within milliseconds, if there is one.
_ASK_S: Final = 0.5
_MOST_ASKS: Final = 8
# The agent is on this host, and another time does as well.
_AGENT_S: Final = 0.2
_BATCH_S: Final = 1.0
# Of one request: some 200 records at light load, one where they are large.
BATCH_RECORDS: Final = 256
_BATCH_BYTES: Final = 4 * 1024 * 1024


# A larger record goes in parts. What engines allow is 8 MiB, or an operator's own choice.
_MOST_BYTES: Final = 4 * 1024 * 1024
_LEAST_BYTES: Final = 16 * 1024  # until it is known: any engine takes that
_BESIDES_BYTES: Final = 4 * 1024  # headers, and what a record is besides its body


class Acked(NamedTuple):
    """A majority has stored what was published for `number`."""

    number: int


class Refused(NamedTuple):
    """What was published for `number` was not stored, that time."""

    number: int


class Tailed(NamedTuple):
    """A record that was just stored."""

    number: int
    data: bytes


class Last(NamedTuple):
    """The leader's answer to `ask_last`: number 0 where there is no record.

    None: nobody leads, or the answer is of no use.
    """

    record: Stored | None


Heard = Acked | Refused | Tailed | Last


class Fill(NamedTuple):
    """How many bytes a log has, and how many it may have; and which engines have copies of it."""

    used_bytes: int
    most_bytes: int
    copies: tuple[str, ...] = ()


class Stream:
    """The stream of a range; not connected at first.

    Over 15 fields: what outlives a connection, and what each has.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        login: Login,
        cluster: str,
        range_: int,
        *,
        host: str,
        name: str,
        begins_behind: int = 0,
    ) -> None:
        """Reach the log of `range_` over any of `servers`, as the connection `name` of `host`.

        Whoever asks for that host meanwhile hears that it lives. The log has never had a record up
        to `begins_behind`.
        """
        self._servers = servers
        self._login = login
        self._name = name
        self._begins_behind = begins_behind
        self._next = 0  # of `servers`, to be tried
        self._stream = f"{cluster}-{range_}"
        self._subject = f"{cluster}.log.{range_}"
        self._tail = f"{cluster}.tail.{range_}"
        self._agent = agent_of(cluster, host)
        self._wire: Wire | None = None
        self._sid: int | None = None  # of the tail
        self._range = range_
        self._calls = calls_of(cluster, host)
        self._calls_sid: int | None = None
        self.epoch = 0  # by which the range is this process's
        self._published: dict[str, int] = {}  # by the inbox for the answer
        # Inboxes for the last record: who asks again and again hears nothing of what is older.
        self._asks: deque[str] = deque(maxlen=_MOST_ASKS)
        self._last_trouble = ""
        self.most_bytes = _LEAST_BYTES  # of the body of a record

    # ---------------------------------------------------------------------------- the connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a wire, as far as is known."""
        return self._wire is not None

    def connect(self) -> bool:
        """Try the next engine, if there is no wire; tell whether there is one now."""
        if self._wire is not None:
            return True
        server = self._servers[self._next % len(self._servers)]
        try:
            self._wire = Wire([server], self._login, name=self._name, connect_s=_CONNECT_S)
        except WireLost as error:
            self._next += 1
            self._note(f"no connection: {error}")
            return False
        self._calls_sid = self._wire.subscribe(self._calls)
        self._last_trouble = ""
        self.most_bytes = min(_MOST_BYTES, self._wire.max_payload - _BESIDES_BYTES)
        return True

    def lose(self) -> None:
        """Let the wire go; the next one is to another engine, if there is one."""
        if self._wire is not None:
            self._wire.close()
            self._next += 1
        self._wire = self._sid = self._calls_sid = None
        self._published.clear()
        self._asks.clear()

    def fileno(self) -> int:
        """Return the descriptor of the wire; wait for it only while not `has_input`."""
        return self._there.fileno()

    @property
    def has_input(self) -> bool:
        """Whether `receive` has something, whatever a poller says."""
        return self._there.has_input

    @property
    def has_unsent(self) -> bool:
        """Whether some of what was published waits for the next call of `receive`."""
        return self._there.has_unsent

    @property
    def _there(self) -> Wire:
        if self._wire is None:
            raise WireLost("there is no connection")
        return self._wire

    # ----------------------------------------------------------------------------------- records

    def follow(self) -> None:
        """Have `receive` return what is stored from here on."""
        self._sid = self._there.subscribe(self._tail)

    def unfollow(self) -> None:
        """End that."""
        if self._sid is not None:
            self._there.unsubscribe(self._sid)
        self._sid = None

    def publish(self, step: Publish) -> None:
        """Publish a record for its number; `receive` returns what came of it, if that is heard.

        Raises:
            StoreWriteError: this engine takes less at a time than the one before.
        """
        wire = self._there
        inbox = wire.new_inbox()
        self._published[inbox] = step.number
        try:
            jetstream.append(wire, self._subject, step.data, expected=step.expected, reply=inbox)
        except MessageTooLarge as error:
            # It was divided for an engine that took more; whoever is next divides it anew.
            raise StoreWriteError(f"the engine {wire.server_name} takes no {error}") from None
        wire.flush()

    def receive(self, timeout_s: float) -> list[Heard]:
        """Return what has come, in order, and wait so long if nothing has."""
        heard: list[Heard] = []
        for message in self._there.receive(timeout_s):
            if message.sid == self._sid:
                heard += self._tailed(message)
                continue
            if message.subject in self._asks:
                self._asks.clear()  # of those before none tells more
                heard.append(self._last_in(message))
                continue
            if message.sid == self._calls_sid:
                self._vouch(message.reply)
                continue
            number = self._published.pop(message.subject, None)
            if number is not None:
                heard.append(self._answer(number, message))
        return heard

    def _vouch(self, reply: str) -> None:
        """Answer the agent of another host, which misses the beats of this one."""
        if reply:
            self._there.publish(reply, encode_vouch(Vouch(self._range, self.epoch)))
            self._there.flush()

    def _tailed(self, message: Message) -> list[Tailed]:
        try:
            record = jetstream.stored(message)
        except ApiError as error:
            self._note(f"the tail has what is no record: {error}")
            return []
        return [Tailed(record.sequence, record.payload)]

    def _answer(self, number: int, message: Message) -> Acked | Refused:
        try:
            return Acked(jetstream.appended(message))
        except (WrongLastSequence, NoMajority):
            return Refused(number)  # elections do that, and who was overtaken is told otherwise
        except ApiError as error:
            self._note(f"a record is refused: {error}")
            return Refused(number)

    def ask_last(self) -> None:
        """Ask the leader for its last record; `receive` returns it, if there is a leader."""
        wire = self._there
        inbox = wire.new_inbox()
        self._asks.append(inbox)
        jetstream.ask_last(wire, self._stream, reply=inbox)
        wire.flush()

    def _last_in(self, message: Message) -> Last:
        try:
            return Last(jetstream.last_in(message) or Stored(self._begins_behind, b"", {}))
        except ApiError as error:
            self._note(f"the last record is not to be had: {error}")
            return Last(None)

    def last(self) -> Stored | None:
        """Return the last record that the leader has.

        Where there is none, one without a payload, that has the number before the first.

        None: nobody answers for now.
        """
        try:
            record = jetstream.last_record(self._there, self._stream, _ASK_S)
        except (TimeoutError, ApiError) as error:
            self._note(f"the last record is not to be had: {error}")
            return None
        return record or Stored(self._begins_behind, b"", {})

    def read(self, first: int, count: int = BATCH_RECORDS) -> list[Stored] | None:
        """Return records from number `first` on, if it is there, in order and without a gap.

        They may come from a server that is behind: no records say nothing. None: nobody answers.
        """
        try:
            return jetstream.get_batch(
                self._there, self._stream, first, count, _BATCH_BYTES, _BATCH_S
            )
        except (TimeoutError, ApiError) as error:
            self._note(f"records are not to be had: {error}")
            return None

    def fill(self) -> Fill | None:
        """Return how full the log is; None: nobody answers."""
        try:
            info = jetstream.stream_info(self._there, self._stream, _ASK_S)
        except (TimeoutError, ApiError) as error:
            self._note(f"its size is not to be had: {error}")
            return None
        copies = (info.cluster.leader, *(replica.name for replica in info.cluster.replicas))
        return Fill(info.state.bytes, info.config.max_bytes, copies)

    def hosts_without_room(self) -> tuple[str, ...] | None:
        """Return the hosts whose disk is full, as the agent here has heard; None if it is silent.

        Their names are those of their engines.
        """
        try:
            answer = decode_answer(self.ask(self._agent, encode(RoomAsked()), _AGENT_S))
        except (TimeoutError, RequestUnreadable):
            return None
        return answer.lack if isinstance(answer, Room) else ()

    def ask(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Return what the agent of another host answers.

        Raises:
            TimeoutError: nothing; or nobody listens.
        """
        answer = self._there.request(subject, payload, timeout_s=timeout_s)
        if answer.status:
            raise TimeoutError(f"nobody listens on {subject}")
        return answer.payload

    def _note(self, trouble: str) -> None:
        """Log what is wrong, once while it stays the same."""
        if trouble != self._last_trouble:
            self._last_trouble = trouble
            log.get_logger().warning("log.trouble", stream=self._stream, reason=trouble)
