"""`python -m tests.compiled.differ SEED INPUTS`: what the relay makes of made-up input, by lines.

The first line tells which parts run, and the rest must be the same for both. Inputs are frames of
clients, plain and mutated, for the codec; the same for sessions, between what workers say, and in
bytes for connections; and what fronts say, for shards with a store, whose journals count too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from relay import compiled

IS_COMPILED = compiled.use()  # before what follows is imported

import math  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import tempfile  # noqa: E402
from functools import partial  # noqa: E402
from hashlib import sha256  # noqa: E402
from typing import Any, cast  # noqa: E402

import msgspec  # noqa: E402

from relay import clock, log  # noqa: E402
from relay.bus.envelopes import (  # noqa: E402
    LOGIN,
    Page,
    Seq,
    SessionOpened,
    ToFront,
    ToWorker,
)
from relay.errors import FrameError, Refusal  # noqa: E402
from relay.extensions import registry  # noqa: E402
from relay.front.connection import Connection  # noqa: E402
from relay.front.links import FromWorker, WorkerLink  # noqa: E402
from relay.protocol import frames as made  # noqa: E402
from relay.protocol.codec import Codec  # noqa: E402
from relay.protocol.slots import SLOT_COUNT  # noqa: E402
from relay.settings.tables import LimitSettings  # noqa: E402
from tests import plain  # noqa: E402
from tests.front.front_harness import FakeLoop, begin, front_on, let_in  # noqa: E402
from tests.front.session import harness as sessions  # noqa: E402
from tests.fuzz import corpus, seeds  # noqa: E402
from tests.trials.raw import HANDSHAKE  # noqa: E402
from tests.workers.shard import harness as shards  # noqa: E402
from workers.shard.effects import Identity  # noqa: E402

_NUMBERS = [b"0", b"-1", b"1e99", b"1.0", b"18446744073709551616", b"null", b'"1"', b"[]", b"{}"]
_PIECES = [*_NUMBERS, b'"', b"\\", b"\\u0000", b"[", b"]", b"{", b"}", b",", b":", b"'", b"\xff"]
_IDS = ["1", "2", "3", "a" * 128, "é", "long" * 30]
_TEXTS = ["hi", "", "x" * 300, "é\u2028"]


def outcome(call: Callable[[], object]) -> str:
    """Return what a call returns or raises, in words."""
    try:
        return repr(call())
    except FrameError as error:
        return f"refused: {error.refusal!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def mutated(chance: random.Random, frame: bytes) -> bytes:
    """Return a frame with up to four changes."""
    text = bytearray(frame)
    for _ in range(chance.choice((0, 0, 0, 0, 1, 2, 4))):
        at = chance.randint(0, len(text))
        to = min(len(text), at + chance.choice((0, 1, 1, 2, 8)))
        what = chance.random()
        if what < 0.4:
            text[at:to] = chance.choice(_PIECES)
        elif what < 0.6:
            del text[at:to]
        elif what < 0.8:
            text[at:at] = text[to : to + 20]
        elif text:
            text[at % len(text)] = chance.randrange(256)
    return bytes(text)


def a_frame(chance: random.Random) -> bytes:
    """Return a frame as clients write it."""
    ids = [chance.choice(_IDS) for _ in range(chance.choice((1, 1, 1, 2, 5)))]
    user = chance.choice((shards.ALICE, shards.BOB, "x", "_", "+1_2:3"))
    chat = user + chance.choice(("@s.whatsapp.com", "@c.us", "@g.us", "@G.US", "", "@x"))
    time = chance.choice(
        (
            "1566970629",
            1566970629,
            1566970629000,
            1566970629.0,
            1566970629000.5,
            "x",
            -1,
            1e300,
            None,
        )
    )
    if chance.random() < 0.4:
        body: dict[str, object] = {
            "id": chance.choice((ids, ids[0])),
            "ack": chance.choice((1, 2, 3, 4, 5, "3")),
        }
        body |= {"cmd": chance.choice(("ack", "acks", "x")), "to": chat, "from": user, "t": time}
        return msgspec.json.encode([chance.choice(("Msg", "MsgInfo")), body])
    elements: list[dict[str, object]] = [
        {
            "key": {"remoteJid": chat, "id": each, "fromMe": True},
            "message": {"conversation": chance.choice(_TEXTS), "n": chance.choice((1, 1.0, 1e20))},
            "messageTimestamp": time,
        }
        for each in ids
    ]
    if chance.random() < 0.3:
        elements[0] |= {"more": [1, {"a": None}], "participant": "x"}
    return msgspec.json.encode(["action", {"add": "relay"}, elements])


def frames(chance: random.Random, count: int) -> list[bytes]:
    """Return so many frames: some of clients, some of the corpus, most of both mutated."""
    known = [*seeds.SEEDS["codec"](), *corpus.kept("codec")]
    return [
        mutated(chance, chance.choice(known) if chance.random() < 0.4 else a_frame(chance))
        for _ in range(count)
    ]


def of_codec(chance: random.Random, count: int) -> None:
    """Show what frames mean."""
    codec = Codec(LimitSettings(), registry.load(()).rows)
    now_s = sessions.SENT_AT
    for frame in frames(chance, count):
        print("codec", outcome(lambda: codec.decode(frame, user=shards.ALICE, now_s=now_s)))  # noqa: B023, T201
        print("early", outcome(lambda: codec.decode_early(frame, now_s=now_s)))  # noqa: B023, T201


def of_sessions(chance: random.Random, count: int) -> None:
    """Show what sessions do, each for some 60 frames and envelopes."""
    for _ in range(count // 60):
        client = sessions.Client(limits={"malformed_frames": 40})
        client.says(sessions.auth())
        client.hears(SessionOpened(sessions.NUMBER), sessions.last_page())
        seq = 0
        for frame in frames(chance, 60):
            seq += chance.randint(0, 1)
            request = sessions.FIRST_REQUEST + chance.randint(0, 40)
            message = sessions.message(seq)
            told: list[ToFront] = [
                sessions.live(message),
                sessions.live(sessions.receipt(seq, chance.choice(_IDS))),
                plain.stored(request, sessions.SENT_AT),
                plain.stored(request, sessions.SENT_AT),
                plain.refused(request, chance.choice((403, 503)), "why"),
                sessions.page(message, more=chance.random() < 0.2),
            ]
            does: list[Callable[[], object]] = [
                partial(client.says, frame),
                partial(client.hears, chance.choice(told)),
                client.work_is_done,
                client.slows,
                client.drains,
                partial(client.confirms, seq),
                client.is_announced,
            ]
            (do,) = chance.choices(does, (12, 6, 2, 0.3, 0.3, 1, 0.2))
            print("session", outcome(do), client.frames(), client.requests(), client.port.closed)  # noqa: T201
            if client.port.closed:
                break


class Socket:
    """A transport that takes everything at once, until it is closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_reading = True
        self.ended = ""

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))

    def writelines(self, pieces: list[bytes]) -> None:
        self.written += pieces

    def taken(self) -> list[bytes]:
        """Return what was written since the last time."""
        written, self.written = self.written, []
        return written

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def write_eof(self) -> None:
        self.ended = "ended"

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        pass

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name == "peername" else None


def framed(chance: random.Random, payload: bytes) -> bytes:
    """Return a WebSocket frame, mostly one that a client may send."""
    first = 0x81 if chance.random() < 0.97 else chance.choice((0x01, 0x80, 0x82, 0x89, 0x8A))
    if first >= 0x89:
        payload = payload[:125]
    length = len(payload)
    if length < 126:
        head = bytes((first, 0x80 | length))
    else:
        head = bytes((first, 0x80 | 126)) + length.to_bytes(2, "big")
    return head + bytes(4) + payload  # a mask of zeros, which leaves it as it is


def read(connection: Connection, *pieces: bytes) -> None:
    """Have a connection read what came in pieces."""
    for piece in pieces:
        if piece:
            connection.data_received(piece)


def of_connections(chance: random.Random, count: int) -> None:
    """Show what connections write, each for some 60 frames in pieces, and what workers say."""
    clock.now_ms = clock.clock_ms = lambda: sessions.NOW_MS
    for _ in range(count // 60):
        loop, socket = FakeLoop(), Socket()
        with front_on(loop) as front:
            front.links.adopt(gather_s=0.0, ride_s=0.0)  # which goes by how busy this machine is
            connection = Connection(front.hub, let_in(sessions.NOW_MS))
            connection.connection_made(cast(Any, socket))
            begin(connection, HANDSHAKE)
            link = WorkerLink(front.links, 0, 1 << 20)  # with a worker that is away
            front.links._by_slot = [link] * SLOT_COUNT
            number = connection.session.number
            login = msgspec.json.encode(sessions.auth())
            connection.data_received(bytes((0x81, 0x80 | 126)) + len(login).to_bytes(2, "big"))
            connection.data_received(bytes(4) + login)
            opened: list[FromWorker] = [SessionOpened(number), Page(number, [], True, True, False)]
            front.dispatch.receive(iter(opened), math.inf)
            for seq, frame in enumerate(frames(chance, 60), start=1):
                data = framed(chance, frame[:60_000])
                at = chance.choice((0, 0, 0, 1, 2, 7, len(data) // 2))
                told = plain.deliver(number, seq, chance.choice(("", "1")), frame)
                does: list[Callable[[], object]] = [
                    partial(read, connection, data[:at], data[at:]),
                    partial(front.dispatch.receive, iter([told]), math.inf),
                    partial(connection.on_timer, sessions.NOW_MS + chance.choice((0, 10, 70_000))),
                    connection.pause_writing,
                    connection.resume_writing,
                ]
                (do,) = chance.choices(does, (12, 4, 0.5, 0.3, 0.6))
                print("socket", outcome(do), link._items)  # noqa: T201
                loop.turn()
                print("socket", socket.taken(), socket.ended, socket.is_reading)  # noqa: T201
                print("links", link._kept, sorted(front.hub.counters.items()))  # noqa: T201
                if socket.ended:
                    break


def of_refusals(chance: random.Random, count: int) -> None:
    """Show frames of the relay: an int in them is no float."""
    for _ in range(count // 10):
        wait_s = chance.choice((None, 0, 1, 3600, 1 << 60, 0.5, 1.0, 2.5))
        code = chance.choice((400, 403, 429, 503))
        refusal = Refusal(code, chance.choice(_TEXTS), retry_after_s=wait_s)
        failure = partial(made.auth_failure, code=code, reason="", retry_after_s=wait_s)
        print("refused", outcome(partial(made.refusal, refusal)), outcome(failure))  # noqa: T201


def of_shards(chance: random.Random, count: int, directory: Path) -> None:
    """Show what two workers say, and what they store."""
    group = shards.group_of(shards.HIKE, shards.ALICE, shards.BOB, shards.CAROL)
    settings = shards.settings_with(
        mailbox={"max_entries": 12, "max_bytes": 4000}, flow={"page_bytes": 400}
    )
    cluster = shards.ClusterHarness(directory, workers=2, settings=settings, groups=group)
    users = [shards.ALICE, shards.BOB, shards.CAROL, shards.DAVE]
    online: dict[int, str] = {}
    pages: dict[int, int] = {}
    last = 0
    for number in range(count):
        user, other = chance.choice(users), chance.choice(users)
        message_id = f"{chance.randint(0, 60)}"
        envelope: ToWorker
        front: Identity = shards.FRONT
        session = chance.choice(list(online)) if online else 0
        what = chance.random()
        cluster.now_ms += chance.choice((1, 1, 50, 2000))
        if what < 0.15 or not session:
            envelope = plain.open_session(number + 1, user, LOGIN, 0)
            for old in [old for old, its in online.items() if its == user]:
                del online[old]
            online[number + 1], pages[number + 1] = user, 0
        elif what < 0.5:
            text = chance.choice(_TEXTS)
            envelope = shards.to_user(user, other, message_id, text, request=number + 1)
        elif what < 0.6:
            envelope = shards.to_group(user, shards.HIKE, message_id, request=number + 1)
        elif what < 0.8:
            to = shards.HIKE if chance.random() < 0.3 else ""
            envelope = shards.ack(user, message_id, chance.randint(2, 4), author=other, group=to)
        elif what < 0.9:
            envelope = plain.ready(session, last, pages[session])
        elif what < 0.97:
            envelope = plain.confirmed(session, last)
        else:
            envelope = plain.pause(session, last)
        try:
            said: list[ToFront] = cluster.feed(envelope, front=front)
        except KeyError:
            assert online.pop(session, None) is not None, envelope  # it has ended
            continue
        except Exception as error:
            print("shard", type(error).__name__, str(error).partition("\n")[0])  # noqa: T201
            break
        for item in said:
            if isinstance(item, Page) and item.session in pages:
                pages[item.session] = pages.get(item.session, 0) + 1
                last = max([last, *(entry.seq for entry in item.entries)])
            last = max(last, getattr(item, "seq", Seq(0)))
        print("shard", envelope, said)  # noqa: T201
        if number % 200 == 199:
            cluster.sweep()
            for each in cluster.shards:
                print("store", [each.tree(name) for name in ("mail", "messages", "receipts")])  # noqa: T201
    print("counted", sorted(cluster.counters().items()))  # noqa: T201
    cluster.close()
    for path in sorted(directory.rglob("journal*")):
        if path.is_file():
            print(path.name, path.stat().st_size, sha256(path.read_bytes()).hexdigest())  # noqa: T201


def main(argv: list[str]) -> None:
    """Show all of it."""
    seed, count = map(int, argv)
    print("compiled" if IS_COMPILED else "plain")  # noqa: T201
    log.configure("text", "info")  # to stderr, with times
    os.urandom = random.Random(seed).randbytes  # what journals are told apart by
    of_codec(random.Random(seed), count)
    of_sessions(random.Random(seed), count)
    of_refusals(random.Random(seed), count)
    with tempfile.TemporaryDirectory() as directory:
        of_shards(random.Random(seed), count // 4, Path(directory))
    of_connections(random.Random(seed), count // 2)  # the last, as it stops the clocks


if __name__ == "__main__":
    main(sys.argv[1:])
