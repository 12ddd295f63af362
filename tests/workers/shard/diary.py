"""An extension of a worker for tests: users leave each other notes, and shut each other out."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
from msgspec import Meta

from relay.bus.envelopes import (
    Ask,
    Tell,
)
from relay.extensions.contract import (
    Asker,
    Extension,
    Refuse,
    Send,
    ShardDesk,
    Step,
    Suppress,
    TreeSpec,
    Verdict,
    WorkerHalf,
)
from relay.extensions.registry import Registry
from relay.settings.rows import Row, Table
from tests.workers.shard.harness import (
    ClusterHarness,
    local_of,
)

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


class DiaryTable(Table, frozen=True):
    max_notes: Annotated[int, Meta(ge=1, le=100), Row("Notes that one user keeps.")] = 2


class Diary(WorkerHalf):
    """Keeps notes that users leave each other, and refuses messages of whom a user shuts out."""

    def __init__(self, desk: ShardDesk) -> None:
        super().__init__(desk)
        self.heard: list[object] = []

    def asked(self, asker: Asker, body: bytes) -> None:
        match unpack(body):
            case ["leave", str(to), text]:
                self.desk.carry(to, [asker.user, text])
                self.answer(asker, "left")
            case ["read"]:
                notes = self.desk.tree("notes").scan(asker.user)
                self.answer(asker, [unpack(note)[1] for _, note in notes])
            case ["shut out", str(whom), str(how)]:
                self.desk.tree("shut").put(asker.user, whom.encode(), how.encode())
                self.answer(asker, "done")
            case _:
                self.desk.refuse(asker, 400, "no such thing")

    def answer(self, asker: Asker, what: object) -> None:
        self.desk.answer(asker, asker.correlation.answer("response", {"diary": what}))

    def carried(self, owner: str, body: bytes) -> None:
        notes = self.desk.tree("notes")
        if sum(1 for _ in notes.scan(owner)) == self.desk.table.max_notes:
            self.desk.count("dropped")
            return
        notes.put(owner, self.desk.next_seq().to_bytes(8, "big"), body)
        self.desk.count("kept", 2)
        self.heard.append(("told", self.desk.tell(owner, "a note came")))

    def judge(self, send: Send) -> Verdict | None:
        match self.desk.tree("shut").get(send.chat, send.author.encode()):
            case b"openly":
                return Refuse(406, "you are shut out")
            case b"quietly":
                return Suppress()
        return None

    def opened(self, user: str) -> None:
        self.heard.append(("opened", user))

    def closed(self, user: str) -> None:
        self.heard.append(("closed", user))

    def stored(self, send: Send) -> None:
        self.heard.append(("stored", send.chat, send.message_id))

    def acked(self, author: str, group: str, message_id: str, acker: str, level: int) -> None:
        self.heard.append(("acked", author, group, message_id, acker, level))

    def swept(self) -> None:
        self.heard.append("swept")


class Deaf(WorkerHalf):
    """Wants to hear of nothing."""


def judge(half: Diary, send: Send) -> Verdict | None:
    return half.judge(send)


DIARY = Extension(
    name="diary",
    worker=Diary,
    trees=(TreeSpec(name="notes", grows=True), TreeSpec(name="shut")),
    steps=(Step(after="known", judge=judge),),
    settings=DiaryTable,
)
REGISTRY = Registry([DIARY, Extension(name="deaf", worker=Deaf), Extension(name="frontal")])


FIRST, SECOND = local_of(0, workers=2), local_of(1, workers=2)


def ask(user: str, *body: object, session: int = 1, name: str = "", prefix: str = "") -> Ask:
    return Ask(session, user, "diary", pack(body), prefix, name)


def told(cluster: ClusterHarness, user: str) -> object:
    """What `user` reads in its diary."""
    (answer,) = cluster.feed(ask(user, "read"))
    assert isinstance(answer, Tell)
    return json.loads(answer.body)[1]["diary"]


def half_of(cluster: ClusterHarness, local: str) -> Diary:
    half = cluster.owner(local).shard._halves._halves["diary"]
    assert isinstance(half, Diary)
    return half


def heard(cluster: ClusterHarness, *locals_: str) -> list[object]:
    """What the halves that serve some users and groups have heard, and forget it."""
    halves = {id(half): half for half in (half_of(cluster, local) for local in locals_)}
    all_heard = [event for half in halves.values() for event in half.heard]
    for half in halves.values():
        half.heard.clear()
    return all_heard


def shut_out(cluster: ClusterHarness, whom: str, *, of: str, how: str) -> None:
    """Have a user refuse another's messages, "openly" or "quietly"."""
    cluster.feed(ask(of, "shut out", whom, how))
