"""JetStream, the replicated logs of NATS: what is asked of it, and its answers as types.

Each function takes a wire, and waits no longer than it is told to. Beside what each says, all
raise:

    TimeoutError: no answer. What was asked may be done, or still be done.
    WireLost: the connection is gone; the same holds.
    NoMajority: nobody leads what was asked for; it may be so for some seconds.
    ApiError: any other refusal; it has some kinds below.

Names, codes and fields are those of the server (its jetstream_api.go, stream.go, errors.json).
"""

import re
import string
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import Final, NamedTuple, NoReturn, TypeVar

import msgspec

from relay.cluster.natsframes import UNREADABLE, Headers, Message
from relay.cluster.natswire import Wire
from relay.errors import RelayError

_API: Final = "$JS.API"
_EXPECTED: Final = "Nats-Expected-Last-Sequence"
_EXPECTED_OF_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
_SEQUENCE: Final = "Nats-Sequence"
_LAST_SEQUENCE: Final = "Nats-Last-Sequence"
# No message of ours has an id by which the server would find a second one: the least it takes.
_DUPLICATE_WINDOW_NS: Final = 100_000_000
# Of 64 bits; to read longer ones takes long, or raises.
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_NUMBER_AT_END: Final = re.compile(r" ([0-9]{1,20})$")

_NOBODY_LISTENS: Final = 503
_NOT_FOUND: Final = 404
_END_OF_BATCH: Final = 204


class ApiError(RelayError):
    """JetStream says no; `code` is its own (`err_code`), or an HTTP status where it has none."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.description = description


class NoMajority(ApiError):
    """Nobody leads: too few servers are there, or they have yet to agree on one."""


class WrongLastSequence(ApiError):
    """A stream's last record is another than was expected, and nothing was stored.

    That alone does not say that another writer was there: a leader without a majority counts what
    it has not stored.
    """

    @property
    def last(self) -> int | None:
        """What the server takes for the last one, if it says so."""
        found = _NUMBER_AT_END.search(self.description)
        return int(found[1]) if found else None


class StreamFull(ApiError):
    """A stream has as much as it may hold, and nothing was stored."""


class StreamDiffers(ApiError):
    """A stream of this name is there, with another configuration, which it keeps."""


class NoStream(ApiError):
    """There is no such stream."""


_KINDS: Final[Mapping[int, type[ApiError]]] = {
    10008: NoMajority,  # JSClusterNotAvailErr
    10058: StreamDiffers,  # JSStreamNameExistErr
    10059: NoStream,  # JSStreamNotFoundErr
    10071: WrongLastSequence,  # JSStreamWrongLastSequenceErrF
    10164: WrongLastSequence,  # JSStreamWrongLastSequenceConstantErr
}
_STORE_FAILED: Final = 10077  # JSStreamStoreFailedF, of many causes
_NO_MESSAGE: Final = 10037  # JSNoMessageFoundErr


class _Problem(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: _Problem | None = None


# --- streams ------------------------------------------------------------------------------------


class Republish(msgspec.Struct, frozen=True):
    """What a stream tells everybody once it is stored, and on which subject."""

    src: str
    dest: str


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream is. It is on disk, and refuses what does not fit.

    `max_bytes` is set aside on each of its servers from the start. Over 15 fields, as the server
    has them.
    """

    name: str
    subjects: tuple[str, ...]
    num_replicas: int
    max_bytes: int
    republish: Republish | None = None
    max_msgs_per_subject: int = -1
    allow_rollup_hdrs: bool = False
    retention: str = "limits"
    storage: str = "file"
    discard: str = "new"
    max_age: int = 0
    max_msgs: int = -1
    duplicate_window: int = _DUPLICATE_WINDOW_NS
    allow_direct: bool = True
    deny_delete: bool = False
    first_seq: int = 0  # the number of its first record ever; 0 is as 1


def log_config(
    cluster: str, range_: int, *, replicas: int, max_bytes: int, begins_behind: int = 0
) -> StreamConfig:
    """Return what the log of a range is, whose first record has the number `begins_behind` + 1."""
    return StreamConfig(
        name=f"{cluster}-{range_}",
        subjects=(f"{cluster}.log.{range_}",),
        num_replicas=replicas,
        max_bytes=max_bytes,
        republish=Republish(f"{cluster}.log.{range_}", f"{cluster}.tail.{range_}"),
        first_seq=begins_behind + 1 if begins_behind else 0,
    )


class StreamState(msgspec.Struct, frozen=True):
    """What a stream holds. Of an empty one, `first_seq` is beyond `last_seq`, which stays."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


class Replica(msgspec.Struct, frozen=True):
    """A server that follows a stream's leader.

    `current`: it has all of it, and was heard of lately. `lag` is in operations, `active` in
    nanoseconds since it was heard of.
    """

    name: str
    current: bool = False
    offline: bool = False
    active: int = 0
    lag: int = 0


class Copies(msgspec.Struct, frozen=True):
    """Who keeps a stream, by the names of the servers."""

    leader: str = ""
    replicas: tuple[Replica, ...] = ()


class StreamInfo(_Answer, frozen=True):
    """A stream as its leader sees it."""

    config: StreamConfig = StreamConfig(name="", subjects=(), num_replicas=0, max_bytes=0)
    state: StreamState = StreamState()
    cluster: Copies = Copies()

    @property
    def is_whole(self) -> bool:
        """Whether there is a leader, and all its followers have all of it."""
        replicas = self.cluster.replicas
        return bool(self.cluster.leader) and all(replica.current for replica in replicas)


class Account(_Answer, frozen=True):
    """What all streams together use, in bytes and numbers."""

    storage: int = 0
    reserved_storage: int = 0
    streams: int = 0


def create_stream(wire: Wire, config: StreamConfig, timeout_s: float) -> StreamInfo:
    """Create a stream, or find it there, just so.

    Raises:
        StreamDiffers: it is there, and otherwise.
    """
    body = msgspec.json.encode(config)
    return _ask(wire, f"STREAM.CREATE.{config.name}", body, StreamInfo, timeout_s)


def update_stream(wire: Wire, config: StreamConfig, timeout_s: float) -> StreamInfo:
    """Change a stream to `config`, as far as the server lets one.

    Raises:
        NoStream: there is none.
    """
    body = msgspec.json.encode(config)
    return _ask(wire, f"STREAM.UPDATE.{config.name}", body, StreamInfo, timeout_s)


def stream_info(wire: Wire, stream: str, timeout_s: float) -> StreamInfo:
    """Return how a stream is, as its leader sees it: who follows, and how far.

    Raises:
        NoStream: there is none.
    """
    return _ask(wire, f"STREAM.INFO.{stream}", b"", StreamInfo, timeout_s)


def ask_info(wire: Wire, stream: str, *, reply: str) -> None:
    """Ask for what `stream_info` returns; `info_in` reads the answer at `reply`.

    For many streams at once: where nobody leads nobody answers, and the others need not wait.

    Raises:
        WireLost, ValueError: as `Wire.publish` does; it waits for nothing.
    """
    wire.publish(f"{_API}.STREAM.INFO.{stream}", b"", reply=reply)


def info_in(answer: Message) -> StreamInfo:
    """Return what an answer to `ask_info` says, or raise what it says instead."""
    return _read(answer, StreamInfo)


def account(wire: Wire, timeout_s: float) -> Account:
    """Return what the streams use."""
    return _ask(wire, "INFO", b"", Account, timeout_s)


def purge(wire: Wire, stream: str, upto: int, timeout_s: float) -> int:
    """Remove the records up to and including number `upto`; return how many were removed.

    Never remove the last one: it says who may write.
    """
    body = msgspec.json.encode({"seq": upto + 1})
    return _ask(wire, f"STREAM.PURGE.{stream}", body, _Purged, timeout_s).purged


def step_down(wire: Wire, stream: str, preferred: str, timeout_s: float) -> None:
    """Let the server named `preferred` lead a stream.

    Raises:
        ApiError: it leads already, or cannot.
    """
    body = msgspec.json.encode({"placement": {"preferred": preferred}})
    _ask(wire, f"STREAM.LEADER.STEPDOWN.{stream}", body, _Answer, timeout_s)


def remove_server(wire: Wire, name: str, timeout_s: float) -> None:
    """Have the engines go on without the server `name`, which must be gone for good.

    They make the copies that it had anew elsewhere, of each stream that has others. Of what it
    alone had they make *empty* ones: never call this by yourself. `wire` is of the system's user.
    """
    body = msgspec.json.encode({"peer": name, "peer_id": server_id(name)})
    _ask(wire, "SERVER.REMOVE", body, _Answer, timeout_s)


def server_id(name: str) -> str:
    """Return what a server is called among its peers, also by those that have never met it.

    As the server makes it of its name (its getHash).
    """
    return "".join(_DIGITS[each % len(_DIGITS)] for each in sha256(name.encode()).digest()[:8])


# --- records ------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """A record, and its number in its stream."""

    sequence: int
    payload: bytes
    headers: Mapping[str, str]


def append(wire: Wire, subject: str, payload: bytes, *, expected: int, reply: str) -> None:
    """Publish a record that is to follow number `expected`; `appended` reads the answer at `reply`.

    Raises:
        WireLost, MessageTooLarge, ValueError: as `Wire.publish` does; it waits for nothing.
    """
    wire.publish(subject, payload, reply=reply, headers={_EXPECTED: str(expected)})


def appended(answer: Message) -> int:
    """Return the number under which a record is stored, and synced, by a majority.

    Raises:
        WrongLastSequence: it is not stored: the stream's last record is another.
        NoMajority: it is not stored: nobody leads the stream.
        StreamFull: it is not stored.
        ApiError: any other refusal.
    """
    number = _read(answer, _Appended).seq
    if number < 1:
        raise ApiError(0, "an ack without a number")
    return number


def last_record(wire: Wire, stream: str, timeout_s: float) -> Stored | None:
    """Return the last record, as the leader has it, or None where a stream is empty.

    A leader that has lost its majority answers too until it notices, some ten seconds later: what
    it has may be less than what another has confirmed since.

    Raises:
        NoStream: there is none.
    """
    return _last(wire, stream, ">", timeout_s)


def get_batch(
    wire: Wire, stream: str, first: int, count: int, max_bytes: int, timeout_s: float
) -> list[Stored]:
    """Return up to `count` records from number `first` on, without a gap but one before the first.

    They come from any server that has a copy, which may lack the newest: fewer, and none, say
    nothing about the end. A first one beyond `first` says that what was before it is removed. The
    batch ends with the record that reaches `max_bytes`.
    """
    body = msgspec.json.encode({"seq": first, "batch": count, "max_bytes": max_bytes})
    answers = wire.request_many(
        f"{_API}.DIRECT.GET.{stream}",
        body,
        is_last=lambda answer: answer.status != 0,
        timeout_s=timeout_s,
    )
    if answers[-1].status not in (0, _END_OF_BATCH, _NOT_FOUND):
        _refuse(answers[-1])
    records: list[Stored] = []
    for answer in answers:
        if answer.status:
            break
        record = stored(answer)
        # One that was lost on the way leaves a gap.
        if records and record.sequence != records[-1].sequence + 1:
            break
        records.append(record)
    return records[:count]


def stored(message: Message) -> Stored:
    """Return the record in a message that a stream republished, or sent for `get_batch`.

    Raises:
        ApiError: it is none: somebody else published it.
    """
    number = message.headers.get(_SEQUENCE, "")
    if not _NUMBER.fullmatch(number):
        raise ApiError(0, f"a message on {message.subject} that is no record")
    return Stored(int(number), message.payload, message.headers)


# --- keys and values ----------------------------------------------------------------------------


class Entry(NamedTuple):
    """What a key has, and the number of the record in its stream that said so."""

    key: str
    value: bytes
    revision: int


def kv_config(cluster: str, *, replicas: int, max_bytes: int) -> StreamConfig:
    """Return what the bucket of a cluster is; other tools see it as a bucket of NATS."""
    return StreamConfig(
        name=f"KV_{cluster}",
        subjects=(f"$KV.{cluster}.>",),
        num_replicas=replicas,
        max_bytes=max_bytes,
        max_msgs_per_subject=1,
        allow_rollup_hdrs=True,
        deny_delete=True,
        republish=Republish(f"$KV.{cluster}.>", f"{cluster}.kv.>"),
    )


def kv_put(
    wire: Wire,
    cluster: str,
    key: str,
    value: bytes,
    *,
    expected: int | None = None,
    timeout_s: float,
) -> int:
    """Set a key, and return its revision.

    With `expected`, only where that is its revision now; 0 stands for a key without a value.

    Raises:
        WrongLastSequence: it is not, and nothing was set.
    """
    headers = {} if expected is None else {_EXPECTED_OF_SUBJECT: str(expected)}
    answer = wire.request(f"$KV.{cluster}.{key}", value, headers=headers, timeout_s=timeout_s)
    return appended(answer)


def kv_get(wire: Wire, cluster: str, key: str, timeout_s: float) -> Entry | None:
    """Return what a key has, as the leader has it, or None."""
    record = _last(wire, f"KV_{cluster}", f"$KV.{cluster}.{key}", timeout_s)
    return None if record is None else Entry(key, record.payload, record.sequence)


class KvWatch:
    """All keys of a cluster's bucket, kept up to date by what its stream republishes.

    That may be lost on the way: `refresh` reads all of it again, and is called now and then.
    """

    def __init__(self, wire: Wire, cluster: str) -> None:
        self.sid: Final = wire.subscribe(f"{cluster}.kv.>")
        self.entries: dict[str, Entry] = {}
        self._cluster = cluster
        self._wire = wire

    def take(self, message: Message) -> Entry | None:
        """Return the entry in a message of `sid`, None where a newer one is known."""
        return self._learn(message)

    def refresh(self, timeout_s: float) -> list[Entry]:
        """Read all keys; return the entries that are newer than those known."""
        body = msgspec.json.encode({"multi_last": [f"$KV.{self._cluster}.>"]})
        answers = self._wire.request_many(
            f"{_API}.DIRECT.GET.KV_{self._cluster}",
            body,
            is_last=lambda answer: answer.status != 0,
            timeout_s=timeout_s,
        )
        if answers[-1].status not in (0, _END_OF_BATCH, _NOT_FOUND):
            _refuse(answers[-1])
        learnt = [self._learn(answer) for answer in answers if not answer.status]
        return [entry for entry in learnt if entry is not None]

    def _learn(self, message: Message) -> Entry | None:
        record = stored(message)
        key = record.headers.get("Nats-Subject", "").removeprefix(f"$KV.{self._cluster}.")
        known = self.entries.get(key)
        if known is not None and known.revision >= record.sequence:
            return None
        entry = self.entries[key] = Entry(key, record.payload, record.sequence)
        return entry


def kv_watch(wire: Wire, cluster: str, timeout_s: float) -> KvWatch:
    """Return all keys, and watch them."""
    watch = KvWatch(wire, cluster)
    watch.refresh(timeout_s)
    return watch


# --- the API ------------------------------------------------------------------------------------


class _Appended(_Answer, frozen=True):
    seq: int = 0


class _Purged(_Answer, frozen=True):
    purged: int = 0


class _Record(msgspec.Struct, frozen=True):
    seq: int = 0
    data: bytes = b""
    hdrs: bytes = b""


class _Found(_Answer, frozen=True):
    message: _Record = _Record()


_AnswerKind = TypeVar("_AnswerKind", bound=_Answer)


@cache
def _decoder(kind: type[_AnswerKind]) -> msgspec.json.Decoder[_AnswerKind]:
    return msgspec.json.Decoder(kind)


def _ask(
    wire: Wire, subject: str, body: bytes, kind: type[_AnswerKind], timeout_s: float
) -> _AnswerKind:
    answer = wire.request(f"{_API}.{subject}", body, timeout_s=timeout_s)
    return _read(answer, kind)


def _read(answer: Message, kind: type[_AnswerKind]) -> _AnswerKind:
    if answer.status:
        _refuse(answer)
    try:
        read: _AnswerKind = _decoder(kind).decode(answer.payload)
    except UNREADABLE as error:
        raise ApiError(0, f"an answer that is none: {error}") from None
    if read.error is not None:
        raise _error_of(read.error)
    return read


def _refuse(answer: Message) -> NoReturn:
    """Raise what an answer without words stands for."""
    if answer.status == _NOBODY_LISTENS:
        raise NoMajority(answer.status, "nobody listens for it: there is no leader")
    raise ApiError(answer.status, "an answer without words")


def _error_of(problem: _Problem) -> ApiError:
    if problem.err_code == _STORE_FAILED and problem.description.startswith("maximum "):
        return StreamFull(problem.err_code, problem.description)
    kind = _KINDS.get(problem.err_code, ApiError)
    return kind(problem.err_code or problem.code, problem.description)


def ask_last(wire: Wire, stream: str, *, reply: str) -> None:
    """Ask the leader for the last record; `last_in` reads the answer at `reply`.

    Raises:
        WireLost, ValueError: as `Wire.publish` does; it waits for nothing.
    """
    body = msgspec.json.encode({"last_by_subj": ">"})
    wire.publish(f"{_API}.STREAM.MSG.GET.{stream}", body, reply=reply)


def last_in(answer: Message) -> Stored | None:
    """Return what an answer to `ask_last` says, as `last_record` does, or raise what it says."""
    return _found_in(lambda: _read(answer, _Found))


def _last(wire: Wire, stream: str, subject: str, timeout_s: float) -> Stored | None:
    body = msgspec.json.encode({"last_by_subj": subject})
    return _found_in(lambda: _ask(wire, f"STREAM.MSG.GET.{stream}", body, _Found, timeout_s))


def _found_in(answer: Callable[[], _Found]) -> Stored | None:
    try:
        found = answer().message
    except ApiError as error:
        if error.code == _NO_MESSAGE:
            return None
        raise
    return Stored(found.seq, found.data, Headers(found.hdrs))
