"""Each rule of the verifier, without a socket."""

from typing import Any

import msgspec
import pytest

from relay.loadgen.verify.clientframes import AckBody, Delivered, Key, Refusal
from relay.loadgen.verify.faults import (
    DUPLICATED,
    LOST,
    OUT_OF_ORDER,
    RECEIPT_LOST,
    REFUSED,
    UNACKED,
    WRONG,
)
from relay.loadgen.verify.ledger import Ledger
from relay.loadgen.verify.streams import Sent, Stream
from relay.loadgen.verify.tally import ACK, DELIVERY, RECEIPT, Tally

ALICE, BOB, CAROL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065"
MS = 1_000_000


class Scene:
    """A ledger, and the frames that a right relay would send."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.ledger = Ledger("0abcde", self.tally)
        for user in (ALICE, BOB, CAROL):
            self.ledger.login_begins(user, 0)
        self.chat = self.ledger.open_chat(ALICE, BOB)

    def send(self, stream: Stream | None = None, *, at_ns: int = 0) -> Sent:
        return self.ledger.send(
            stream or self.chat,
            lambda message_id, number: b'{"conversation": "hi %d"}' % number,
            time_s=1566970629,
            intended_ns=at_ns,
            is_measured=True,
        )

    def ack_1(self, sent: Sent, *, now_ns: int = 0, **changed: Any) -> None:
        stream = sent.stream
        ack = AckBody(sent.id, 1, "ack", stream.acks_to, sent.time_s, stream.stored_from)
        ack = msgspec.structs.replace(ack, **changed)
        self.ledger.stored(stream.author, ack, now_ns)

    def deliver(
        self, sent: Sent, to: str = BOB, *, now_ns: int = 0, message: bytes | None = None
    ) -> None:
        stream = sent.stream
        element = Delivered(
            Key(sent.id, stream.delivered_remote_jid, False),
            msgspec.Raw(message or sent.message),
            str(sent.time_s),
            stream.delivered_participant,
        )
        self.ledger.delivered(self.ledger.party(to), element, now_ns)

    def receipt(self, sent: Sent, by: str = BOB, *, level: int = 2, now_ns: int = 0) -> None:
        stream = sent.stream
        participant = f"{by}@c.us" if stream.group else ""
        to, author = stream.acks_to, stream.receipts_from
        ack = AckBody(sent.id, level, "ack", to, 1, author, participant)
        self.ledger.receipt(stream.author, ack, now_ns)

    def complete(self, sent: Sent, to: str = BOB) -> None:
        self.ack_1(sent)
        self.deliver(sent, to)
        self.receipt(sent, to)

    def faults(self) -> dict[str, int]:
        return {kind: fault.count for kind, fault in self.ledger.close().kinds.items()}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_message_with_ack_delivery_and_receipt_is_complete(scene: Scene) -> None:
    scene.complete(scene.send())

    assert scene.faults() == {}
    assert scene.tally.counts.completed == 1
    assert scene.ledger.unfinished == 0


def test_latencies_count_from_the_intended_time(scene: Scene) -> None:
    sent = scene.send(at_ns=10 * MS)
    scene.ack_1(sent, now_ns=12 * MS)
    scene.deliver(sent, now_ns=15 * MS)
    scene.receipt(sent, now_ns=20 * MS)

    taken = scene.tally.latencies
    assert (taken[ACK], taken[DELIVERY], taken[RECEIPT]) == ([2000], [5000], [10_000])


def test_who_was_away_when_a_message_left_does_not_count_in_its_latency(scene: Scene) -> None:
    sent = scene.send(at_ns=10 * MS)
    scene.ledger.login_begins(BOB, 500 * MS)
    scene.complete(sent)

    assert scene.tally.latencies[DELIVERY] == []
    assert scene.tally.latencies[RECEIPT] == []


def test_a_message_without_ack_1_is_unacked_whether_it_came_or_not(scene: Scene) -> None:
    scene.deliver(scene.send())
    scene.send()

    assert scene.faults() == {UNACKED: 2}


def test_an_acked_message_that_never_came_is_lost(scene: Scene) -> None:
    first, second = scene.send(), scene.send()
    scene.ack_1(first)
    scene.complete(second)  # the gap is not yet an offence: the first may come

    assert scene.faults() == {LOST: 1}


def test_a_late_message_is_out_of_order_and_not_lost(scene: Scene) -> None:
    first, second = scene.send(), scene.send()
    scene.ack_1(first)
    scene.ack_1(second)
    scene.deliver(second)
    scene.deliver(first)
    scene.receipt(second)
    scene.receipt(first)

    assert scene.faults() == {OUT_OF_ORDER: 1}


def test_acks_1_that_change_places_are_out_of_order(scene: Scene) -> None:
    first, second = scene.send(), scene.send()
    scene.ack_1(second)
    scene.ack_1(first)
    for sent in (first, second):
        scene.deliver(sent)
        scene.receipt(sent)

    assert scene.faults() == {OUT_OF_ORDER: 1}


def test_a_receipt_before_ack_1_is_out_of_order(scene: Scene) -> None:
    sent = scene.send()
    scene.deliver(sent)
    scene.receipt(sent)
    scene.ack_1(sent)

    assert scene.faults() == {OUT_OF_ORDER: 1}
    assert scene.tally.counts.completed == 1


@pytest.mark.parametrize("what", ["ack_1", "deliver", "receipt"])
def test_anything_twice_in_one_login_is_duplicated(scene: Scene, what: str) -> None:
    sent = scene.send()
    scene.complete(sent)
    getattr(scene, what)(sent)

    assert scene.faults() == {DUPLICATED: 1}


def test_a_message_may_come_again_at_a_new_login(scene: Scene) -> None:
    sent = scene.send()
    scene.ack_1(sent)
    scene.deliver(sent)
    scene.ledger.login_begins(BOB, 0)
    scene.deliver(sent)
    scene.receipt(sent)

    assert scene.faults() == {}
    assert scene.tally.counts.redelivered == 1
    assert scene.tally.counts.delivered == 1


def test_a_message_may_not_come_again_once_the_author_holds_its_receipt(scene: Scene) -> None:
    sent = scene.send()
    scene.complete(sent)
    scene.ledger.login_begins(BOB, 0)
    scene.deliver(sent)

    assert scene.faults() == {DUPLICATED: 1}


def test_what_comes_again_keeps_its_order(scene: Scene) -> None:
    first, second = scene.send(), scene.send()
    for sent in (first, second):
        scene.ack_1(sent)
        scene.deliver(sent)
    scene.ledger.login_begins(BOB, 0)
    scene.deliver(second)
    scene.deliver(first)
    scene.receipt(first)
    scene.receipt(second)

    assert scene.faults() == {DUPLICATED: 1}


def test_an_author_who_comes_back_sends_again_what_was_unacked(scene: Scene) -> None:
    first, second = scene.send(), scene.send()
    scene.complete(first)
    scene.ledger.login_begins(ALICE, 0)

    assert scene.ledger.resend(ALICE) == [second]
    scene.ack_1(second)
    scene.ack_1(second)  # the first ack was on its way when the connection broke
    scene.deliver(second)
    scene.receipt(second)
    scene.receipt(first)  # not confirmed by a pong: it may come again
    assert scene.faults() == {}


def test_a_delivered_message_whose_receipt_never_comes_is_named(scene: Scene) -> None:
    sent = scene.send()
    scene.ack_1(sent)
    scene.deliver(sent)

    assert scene.faults() == {RECEIPT_LOST: 1}


def test_a_receipt_by_someone_who_never_got_the_message_is_wrong(scene: Scene) -> None:
    sent = scene.send()
    scene.ack_1(sent)
    scene.receipt(sent)

    assert scene.faults()[WRONG] == 1


def test_a_message_to_someone_else_is_wrong(scene: Scene) -> None:
    sent = scene.send()
    scene.complete(sent)
    scene.deliver(sent, to=CAROL)

    assert scene.faults() == {WRONG: 1}


def test_a_message_that_nobody_sent_is_wrong(scene: Scene) -> None:
    sent = scene.send()
    scene.complete(sent)
    element = Delivered(
        Key(sent.id[:-1] + "7", f"{ALICE}@s.whatsapp.com", False), msgspec.Raw(b"{}"), "1"
    )
    scene.ledger.delivered(scene.ledger.party(BOB), element, 0)

    assert scene.faults() == {WRONG: 1}


def test_another_text_is_wrong(scene: Scene) -> None:
    sent = scene.send()
    scene.ack_1(sent)
    scene.deliver(sent, message=b'{"conversation": "ho 0"}')
    scene.receipt(sent)

    assert scene.faults() == {WRONG: 1}


@pytest.mark.parametrize("changed", [{"t": 1}, {"to": "8@c.us"}, {"from_": ALICE}, {"cmd": "acks"}])
def test_an_ack_1_that_says_something_else_is_wrong(scene: Scene, changed: dict[str, Any]) -> None:
    sent = scene.send()
    scene.ack_1(sent, **changed)
    scene.deliver(sent)
    scene.receipt(sent)

    assert scene.faults() == {WRONG: 1}


def test_a_refused_message_is_refused_and_neither_lost_nor_unacked(scene: Scene) -> None:
    first, second = scene.send(), scene.send()
    refusal = Refusal(code=507, reason="full", id=first.id)
    scene.ledger.refused(scene.ledger.party(ALICE), refusal)
    scene.complete(second)

    assert scene.faults() == {REFUSED: 1}
    assert scene.ledger.unfinished == 0


def test_messages_of_other_runs_are_no_business_of_this_one(scene: Scene) -> None:
    element = Delivered(
        Key("ffffff00000000000001", f"{ALICE}@s.whatsapp.com", False), msgspec.Raw(b"{}"), "1"
    )
    scene.ledger.delivered(scene.ledger.party(BOB), element, 0)

    assert scene.faults() == {}
    assert scene.tally.counts.foreign == 1


def test_a_group_message_is_complete_when_every_other_member_has_acked(scene: Scene) -> None:
    stream = scene.ledger.open_group(ALICE, GROUP, (ALICE, BOB, CAROL))
    sent = scene.send(stream)
    scene.ack_1(sent)
    for member in (BOB, CAROL):
        scene.deliver(sent, to=member)
    scene.receipt(sent, by=BOB)
    assert scene.ledger.unfinished == 1
    scene.receipt(sent, by=CAROL)

    assert scene.ledger.unfinished == 0
    assert scene.faults() == {}


def test_authors_of_a_group_need_not_see_their_own_messages_among_the_others(scene: Scene) -> None:
    dora = "919971033011"
    members = (ALICE, BOB, CAROL, dora)
    by_alice = scene.ledger.open_group(ALICE, GROUP, members)
    by_bob = scene.ledger.open_group(BOB, GROUP, members)
    one, two = scene.send(by_alice), scene.send(by_bob)
    order = {ALICE: [two], BOB: [one], CAROL: [one, two], dora: [one, two]}
    for sent in (one, two):
        scene.ack_1(sent)
    for member, messages in order.items():
        for sent in messages:
            scene.deliver(sent, to=member)
            scene.receipt(sent, by=member)

    assert scene.faults() == {}


def test_an_author_who_saw_others_in_another_order_is_found(scene: Scene) -> None:
    dora = "919971033011"
    members = (ALICE, BOB, CAROL, dora)
    streams = [scene.ledger.open_group(user, GROUP, members) for user in (ALICE, BOB, CAROL)]
    one, two, three = (scene.send(stream) for stream in streams)
    order = {ALICE: [three, two], BOB: [one, three], CAROL: [one, two], dora: [one, two, three]}
    for sent in (one, two, three):
        scene.ack_1(sent)
    for member, messages in order.items():
        for sent in messages:
            scene.deliver(sent, to=member)
            scene.receipt(sent, by=member)

    assert scene.faults() == {OUT_OF_ORDER: 1}
    assert ALICE in scene.ledger.faults.kinds[OUT_OF_ORDER].examples[0]


def test_of_a_run_that_was_cut_short_what_is_under_way_is_no_fault(scene: Scene) -> None:
    scene.ack_1(scene.send())
    scene.send()
    wrong = scene.send()
    scene.deliver(wrong, message=b'{"conversation": "ho"}')

    faults = scene.ledger.close(is_cut_short=True)

    assert {kind: fault.count for kind, fault in faults.kinds.items()} == {WRONG: 1}
    assert scene.ledger.unfinished == 3
