"""Extensions in a worker: asked, judging sends, carrying to other workers, told what happens."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest

from relay.bus.envelopes import (
    LOGIN,
    Ask,
    Carry,
    CloseSession,
    Deliver,
    Durable,
    GroupCopy,
    OpenSession,
    Page,
    Refused,
    SendToGroup,
    SendToUser,
    SessionOpened,
    Stored,
    Tell,
    ToFront,
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
from relay.protocol.slots import ShardMap
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    FRONT,
    HIKE,
    NOW_S,
    OTHER_FRONT,
    SETTINGS,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    group_of,
    local_of,
    to_group,
    to_user,
)
from workers.shard.shard import Shard
from workers.store.batch import Batch
from workers.store.tree import Tree

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


class Table(msgspec.Struct, frozen=True):
    max_notes: int = 2


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
    settings=Table,
)
REGISTRY = Registry([DIARY, Extension(name="deaf", worker=Deaf), Extension(name="frontal")])


class MetaTree:
    """A tree of an extension, kept among the counters of a worker."""

    def __init__(self, tree: Tree, name: str) -> None:
        self._tree = tree
        self._prefix = b"%b\0" % name.encode()

    def _key(self, owner: str, key: bytes = b"") -> bytes:
        return b"%b%b\0%b" % (self._prefix, owner.encode(), key)

    def get(self, owner: str, key: bytes) -> bytes | None:
        return self._tree.get(self._key(owner, key))

    def put(self, owner: str, key: bytes, value: bytes) -> None:
        self._tree.put(self._key(owner, key), value)

    def pop(self, owner: str, key: bytes) -> bytes | None:
        return self._tree.pop(self._key(owner, key))

    def scan(self, owner: str, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        prefix = self._key(owner)
        for key, value in self._tree.scan(prefix + first, prefix):
            yield key[len(prefix) :], value


@pytest.fixture(autouse=True)
def _trees(monkeypatch: pytest.MonkeyPatch) -> None:
    def owned_tree(batch: Batch, name: str) -> MetaTree:
        return MetaTree(batch._meta, name)

    monkeypatch.setattr(Batch, "owned_tree", owned_tree, raising=False)


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
def cluster(clusters: Clusters, request: pytest.FixtureRequest) -> ClusterHarness:
    return clusters(
        workers=request.param,
        groups=group_of(HIKE, ALICE, BOB, CAROL),
        registry=REGISTRY,
    )


@pytest.fixture
def pair(clusters: Clusters) -> ClusterHarness:
    """A relay of two workers."""
    return clusters(workers=2, registry=REGISTRY)


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


# ------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("asked", "frame"),
    [
        (ask(ALICE, "read"), b'["response",{"diary":[]}]'),
        (ask(ALICE, "read", name="n1"), b'["response",{"diary":[],"tag":"n1"}]'),
        (ask(ALICE, "read", prefix="7"), b'7,["response",{"diary":[]}]'),
    ],
    ids=["without a name", "named by a tag", "named by a prefix"],
)
def test_a_request_is_answered_as_it_named_itself(
    cluster: ClusterHarness, asked: Ask, frame: bytes
) -> None:
    """E2; the answer goes to the session that asked, through its front."""
    assert cluster.feed(asked, front=OTHER_FRONT) == [Tell(1, "", frame)]
    assert list(cluster.sent) == [OTHER_FRONT]


def test_a_request_is_refused_by_its_half(cluster: ClusterHarness) -> None:
    (refused,) = cluster.feed(ask(ALICE, "sing", name="n1"))

    assert isinstance(refused, Tell)
    tag, attributes = json.loads(refused.body)
    assert (tag, attributes["code"], attributes["tag"]) == ("error", 400, "n1")


def test_what_a_request_changed_outlasts_the_worker_and_what_was_not_committed_does_not(
    cluster: ClusterHarness,
) -> None:
    """I1."""
    worker = cluster.owner(ALICE).index
    cluster.feed(ask(ALICE, "shut out", BOB, "openly"))
    cluster.restart(worker, ask(ALICE, "shut out", CAROL, "openly"), committed=False)

    answers = cluster.feed(to_user(BOB, ALICE, "M1"), to_user(CAROL, ALICE, "M2"))

    assert [type(answer) for answer in answers] == [Refused, Stored]


def test_a_request_for_an_extension_that_is_not_loaded_is_refused(cluster: ClusterHarness) -> None:
    for extension in ("unheard_of", "frontal"):
        (refused,) = cluster.feed(Ask(7, ALICE, extension, b"", "", "n1"))

        assert isinstance(refused, Tell)
        assert (refused.session, refused.extension) == (7, "")
        tag, attributes = json.loads(refused.body)
        assert (tag, attributes["code"], attributes["tag"]) == ("error", 400, "n1")
        assert extension in attributes["reason"]
    assert cluster.counters()["asks_refused_400"] == 2


def test_a_request_that_is_set_aside_is_answered(cluster: ClusterHarness) -> None:
    """I7."""
    worker = cluster.owner(ALICE).index
    request = ask(ALICE, "read", session=4, name="n1")

    (answer,) = cluster.decide(lambda shard: shard.set_aside(FRONT, None, request), worker=worker)

    assert isinstance(answer, Tell)
    assert (answer.session, json.loads(answer.body)[1]["code"]) == (4, 500)


def test_a_request_for_an_earlier_incarnation_is_left_to_its_repeat(
    cluster: ClusterHarness,
) -> None:
    """I8: its front asks the next incarnation, so an answer would be the first of two."""
    assert cluster.decide(lambda shard: shard.refuse_stale(FRONT, ask(ALICE, "read"))) == []


# ------------------------------------------------------------------------------ to other workers


def test_what_is_carried_is_done_where_its_owner_is_served(cluster: ClusterHarness) -> None:
    for whom in (ALICE, BOB, CAROL):
        cluster.feed(ask(ALICE, "leave", whom, "hi"))

    for whom in (ALICE, BOB, CAROL):
        assert told(cluster, whom) == ["hi"]
    assert cluster.counters()["diary.kept"] == 6


def test_what_is_carried_is_done_once_and_in_order_though_both_workers_die(
    pair: ClusterHarness,
) -> None:
    pair.cut(0, 1)
    pair.feed(ask(FIRST, "leave", SECOND, "one"))
    pair.restart(0)
    pair.feed(ask(FIRST, "leave", SECOND, "two"))
    pair.restart(1)
    assert told(pair, SECOND) == []

    pair.join(0, 1)
    pair.restart(1)
    pair.restart(0)

    assert told(pair, SECOND) == ["one", "two"]


def test_what_was_applied_is_not_applied_again_when_it_comes_again(pair: ClusterHarness) -> None:
    entry = Durable(5, Carry("diary", SECOND, pack([FIRST, "hi"])))

    for _ in range(2):
        pair.decide(lambda shard: shard.apply(b"worker-0-1", 0, entry), worker=1)
        pair.restart(1)

    assert told(pair, SECOND) == ["hi"]


def test_what_is_carried_from_an_old_outbox_is_done_here(pair: ClusterHarness) -> None:
    """As re-sharding does it, which has found its owner."""
    carry = Carry("diary", SECOND, pack([FIRST, "hi"]))

    pair.decide(lambda shard: shard.take_over(carry), worker=1)

    assert told(pair, SECOND) == ["hi"]


def test_what_is_carried_for_an_extension_that_is_not_loaded_is_an_error(
    pair: ClusterHarness,
) -> None:
    """So that nothing is lost without a word: what fails twice is set aside, and kept in a file."""
    entry = Durable(5, Carry("unheard_of", SECOND, b""))

    with pytest.raises(LookupError, match=f"for {SECOND} is of the extension unheard_of"):
        pair.decide(lambda shard: shard.apply(b"worker-0-1", 0, entry), worker=1)


def test_a_front_is_told_where_the_user_has_a_session(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 9, front=OTHER_FRONT)

    answer = cluster.feed(ask(ALICE, "leave", BOB, "hi"))
    cluster.feed(ask(ALICE, "leave", CAROL, "hi"))

    assert Tell(9, "diary", pack("a note came")) in answer
    assert {("told", True), ("told", False)} <= set(heard(cluster, BOB, CAROL))


# ---------------------------------------------------------------------------------------- steps


def shut_out(cluster: ClusterHarness, whom: str, *, of: str, how: str) -> None:
    cluster.feed(ask(of, "shut out", whom, how))


def test_a_step_refuses_a_send(cluster: ClusterHarness) -> None:
    shut_out(cluster, ALICE, of=BOB, how="openly")
    send = to_user(ALICE, BOB, "M1")

    assert cluster.feed(send) == [Refused(send.request, 406, "you are shut out")]

    assert cluster.mail(BOB) == []
    assert cluster.counters()["sends_refused_406"] == 1
    other = to_user(CAROL, BOB, "M2")
    assert cluster.feed(other) == [Stored(other.request, NOW_S)]


def test_a_step_behind_known_does_not_judge_a_repeat(cluster: ClusterHarness) -> None:
    send = to_user(ALICE, BOB, "M1")
    cluster.feed(send)
    shut_out(cluster, ALICE, of=BOB, how="openly")

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]


def test_a_suppressed_send_looks_stored_to_its_author_and_reaches_nobody(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1, front=OTHER_FRONT)
    shut_out(cluster, ALICE, of=BOB, how="quietly")
    send = to_user(ALICE, BOB, "M1")

    for _ in range(2):  # the second is recognised as a repeat
        assert cluster.feed(send) == [Stored(send.request, NOW_S)]
    other = to_user(ALICE, BOB, "M1", "another text")

    (refused,) = cluster.feed(other)
    assert isinstance(refused, Refused)
    assert refused.code == 409
    assert cluster.mail(BOB) == []
    assert (cluster.counters()["sends_suppressed"], cluster.counters()["sends_repeated"]) == (1, 1)


@pytest.mark.parametrize("level", [2, 3, 4])
def test_nobody_acks_a_send_that_was_suppressed(cluster: ClusterHarness, level: int) -> None:
    cluster.login(ALICE, 1)
    shut_out(cluster, ALICE, of=BOB, how="quietly")
    cluster.feed(to_user(ALICE, BOB, "M1"))

    assert cluster.feed(ack(BOB, "M1", level, author=ALICE)) == []


def test_a_send_to_a_group_is_suppressed_for_all_members(cluster: ClusterHarness) -> None:
    cluster.login(CAROL, 1, front=OTHER_FRONT)
    desk = half_of(cluster, HIKE).desk
    cluster.owner(HIKE).turn(
        lambda shard: desk.tree("shut").put(HIKE, ALICE.encode(), b"quietly"),
        now_ms=cluster.now_ms,
    )
    send = to_group(ALICE, HIKE, "M1")

    for _ in range(2):
        assert cluster.feed(send) == [Stored(send.request, NOW_S)]

    assert [cluster.mail(member) for member in (BOB, CAROL)] == [[], []]


def test_nothing_is_suppressed_while_nothing_can_be_stored(cluster: ClusterHarness) -> None:
    """A repeat would not be recognised."""
    shut_out(cluster, ALICE, of=BOB, how="quietly")
    cluster.owner(BOB).refusal = "the disk is full"
    send = to_user(ALICE, BOB, "M1")

    assert cluster.feed(send) == [Refused(send.request, 500, "the disk is full")]


def test_a_step_behind_one_that_there_is_not_is_refused_at_the_start() -> None:
    for after in ("sing", "store"):
        wrong = Extension(name="wrong", worker=Deaf, steps=(Step(after=after, judge=judge),))

        with pytest.raises(ValueError, match="wrong has a step") as raised:
            Shard(0, ShardMap(1), SETTINGS, registry=Registry([wrong]))
        assert str(raised.value) == (
            f"wrong has a step of sends after {after!r},"
            " not one of '', 'known', 'group', 'recipient', 'quota'"
        )


def test_a_step_without_a_half_to_judge_with_is_refused_at_the_start() -> None:
    wrong = Extension(name="wrong", steps=(Step(after="known", judge=judge),))

    with pytest.raises(ValueError, match="wrong has steps of sends, but no half in the worker"):
        Shard(0, ShardMap(1), SETTINGS, registry=Registry([wrong]))


# ---------------------------------------------------------------------------------------- hooks


def test_a_half_hears_of_sessions_that_begin_and_end(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    assert heard(cluster, BOB) == [("opened", BOB)]
    cluster.feed(OpenSession(1, BOB, LOGIN, 0))
    assert heard(cluster, BOB) == [], "the same session"
    cluster.login(BOB, 2)
    assert heard(cluster, BOB) == [("opened", BOB)], "he has one, though another"
    cluster.feed(CloseSession(2))
    assert heard(cluster, BOB) == [("closed", BOB)]

    cluster.login(BOB, 3)
    cluster.restart(cluster.owner(BOB).index)
    assert heard(cluster, BOB) == [("opened", BOB)], "it is announced to the next incarnation"
    cluster.lose_front()
    assert heard(cluster, BOB) == [("closed", BOB)]


def test_what_a_half_says_when_a_session_opens_comes_behind_its_queue(
    clusters: Clusters,
) -> None:
    class Greeter(WorkerHalf):
        def opened(self, user: str) -> None:
            self.desk.tell(user, "welcome")

    registry = Registry([Extension(name="greeter", worker=Greeter)])
    cluster = clusters(registry=registry)

    answer: list[ToFront] = cluster.feed(OpenSession(1, BOB, LOGIN, 0))

    assert [type(item) for item in answer] == [SessionOpened, Page, Tell]


def test_a_half_hears_of_messages_that_were_stored_and_acked(cluster: ClusterHarness) -> None:
    sends: list[SendToUser | SendToGroup] = [to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2")]
    for send in sends * 2:  # the second is a repeat, and not stored
        cluster.feed(send)

    stored = heard(cluster, ALICE, BOB, CAROL, HIKE)
    assert len(stored) == 2
    assert set(stored) == {("stored", BOB, "M1"), ("stored", HIKE, "M2")}

    for _ in range(2):
        cluster.feed(ack(BOB, "M1", 2, author=ALICE))
    cluster.feed(ack(BOB, "M2", 3, author=ALICE, group=HIKE))

    assert heard(cluster, BOB) == [
        ("acked", ALICE, "", "M1", BOB, 2),
        ("acked", ALICE, HIKE, "M2", BOB, 3),
    ]


def test_a_half_does_not_hear_of_a_message_that_was_refused_or_suppressed(
    cluster: ClusterHarness,
) -> None:
    shut_out(cluster, ALICE, of=BOB, how="quietly")
    shut_out(cluster, CAROL, of=BOB, how="openly")

    cluster.feed(to_user(ALICE, BOB, "M1"), to_user(CAROL, BOB, "M2"))

    assert heard(cluster, BOB) == []


def test_a_half_hears_of_every_sweep(cluster: ClusterHarness) -> None:
    cluster.sweep()

    assert heard(cluster, BOB) == ["swept"]


def test_a_half_that_wants_to_hear_of_nothing_is_not_called() -> None:
    halves = Shard(
        0, ShardMap(1), SETTINGS, registry=Registry([Extension(name="deaf", worker=Deaf)])
    )._halves

    hooks = (halves.opened, halves.closed, halves.stored, halves.acked, halves.swept)
    assert hooks == ((), (), (), (), ())


# ----------------------------------------------------------------------------------------- desk


def test_a_desk_shows_the_settings_as_they_are_now(cluster: ClusterHarness) -> None:
    desk = half_of(cluster, BOB).desk
    others = msgspec.structs.replace(SETTINGS)

    assert desk.settings is SETTINGS
    assert desk.table == Table()
    cluster.owner(BOB).shard.adopt(others)
    assert desk.settings is others
    assert desk.table == Table()


def test_a_table_bounds_what_an_extension_keeps(cluster: ClusterHarness) -> None:
    for text in ("one", "two", "three"):
        cluster.feed(ask(ALICE, "leave", BOB, text))

    assert told(cluster, BOB) == ["one", "two"]
    assert cluster.counters()["diary.dropped"] == 1


def test_a_desk_knows_who_is_served_here_and_the_members_of_groups_here(
    cluster: ClusterHarness,
) -> None:
    for harness in cluster.shards:
        half = harness.shard._halves._halves["diary"]
        is_here = cluster.owner(HIKE) is harness
        assert half.desk.owns(HIKE) is is_here
        assert list(half.desk.members(HIKE)) == ([ALICE, BOB, CAROL] if is_here else [])
        assert list(half.desk.members("917069852821-999")) == []


def test_a_desk_has_the_time_of_the_batch_and_numbers_that_only_grow(pair: ClusterHarness) -> None:
    desk = half_of(pair, FIRST).desk
    seqs: list[int] = []

    for _ in range(2):
        pair.decide(lambda shard: seqs.extend((desk.next_seq(), desk.next_seq())), worker=0)
        pair.now_ms -= 1000

    assert desk.now_ms() == pair.now_ms + 1000
    assert seqs == sorted(set(seqs))


def test_a_desk_has_only_the_trees_that_its_extension_has_named(pair: ClusterHarness) -> None:
    with pytest.raises(LookupError, match="diary has named no tree 'secrets'"):
        half_of(pair, FIRST).desk.tree("secrets")


def test_a_plain_message_and_a_group_s_copy_pass_through_extensions_unharmed(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1, front=OTHER_FRONT)
    send, to_all = to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2")

    answer = cluster.feed(send) + cluster.feed(to_all)

    assert frames_of(answer, 1) == [send.frame, to_all.frame]
    assert any(isinstance(item, Deliver) for item in answer)
    copy = GroupCopy(ALICE, HIKE, "M2", NOW_S, [BOB], to_all.frame)
    cluster.decide(lambda shard: shard.take_over(copy), worker=cluster.owner(BOB).index)
    assert len(cluster.mail(BOB)) == 2, "a copy that is known is not queued again"
