"""Runs against a relay that is right, and against one that is wrong in each way there is."""

import asyncio
from collections.abc import Callable

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.traffic.plan import Chat, Group, Idle, Offline, Plan, Scenario, Storm
from relay.loadgen.verify.clientframes import read_delivered
from relay.loadgen.verify.faults import (
    DUPLICATED,
    LOST,
    OUT_OF_ORDER,
    RECEIPT_LOST,
    UNACKED,
    WRONG,
)
from tests.loadgen.fakes import Outcome, Sabotage, fake_relay, play

pytestmark = pytest.mark.slow  # processes of their own

Pass = Callable[[bytes], None]


def run(scenario: Scenario, sabotage: Sabotage | None = None) -> Outcome:
    plan = Plan(scenario=scenario, warm_up_s=0.05, measure_s=0.2)

    async def body() -> Outcome:
        async with fake_relay(plan, sabotage) as url:
            return await play(plan, url)

    return asyncio.run(body())


def is_delivery(payload: bytes) -> bool:
    return payload.startswith(b'["action"')


class Every:
    """Does something to every n-th delivery, or receipt, and passes everything else on."""

    def __init__(
        self, nth: int, act: Callable[[bytes, Pass], None], *, receipts: bool = False
    ) -> None:
        self._nth = nth
        self._act = act
        self._receipts = receipts
        self.count = 0

    def __call__(self, user: str, payload: bytes, pass_on: Pass) -> None:
        self.count += is_delivery(payload) != self._receipts
        if is_delivery(payload) != self._receipts and self.count % self._nth == 0:
            self._act(payload, pass_on)
        else:
            pass_on(payload)


CHAT = Chat(pairs=3, window=4)


@pytest.mark.parametrize(
    "scenario",
    [
        CHAT,
        Chat(pairs=3, rate=300, arrivals="poisson"),
        Group(groups=2, members=5, senders=2, window=2),
        Offline(users=3, messages=100),
        Storm(logins=20, rate=200),
        Idle(sockets=10),
    ],
    ids=lambda scenario: type(scenario).__name__,
)
def test_a_relay_that_is_right_has_no_faults(scenario: Scenario) -> None:
    outcome = run(scenario)

    assert outcome.faults.kinds == {}
    assert outcome.counts.completed == outcome.counts.sent
    assert outcome.counts.logins > 0


def test_a_dropped_delivery_is_lost_and_named() -> None:
    faults = run(CHAT, Every(10, lambda payload, pass_on: None)).faults

    assert faults.kinds.keys() == {LOST}
    assert "never came to" in faults.kinds[LOST].examples[0]


def test_a_delivery_that_comes_twice_is_duplicated() -> None:
    def twice(payload: bytes, pass_on: Pass) -> None:
        pass_on(payload)
        pass_on(payload)

    outcome = run(CHAT, Every(10, twice))

    # The client acks a repeat too, and the relay that forgets nothing passes that on.
    assert outcome.faults.kinds.keys() == {DUPLICATED}
    assert outcome.faults.count(DUPLICATED) > 0


def test_deliveries_that_change_places_are_out_of_order() -> None:
    kept: list[tuple[bytes, Pass]] = []

    def later(user: str, payload: bytes, pass_on: Pass) -> None:
        if is_delivery(payload) and not kept and user.endswith("1"):
            kept.append((payload, pass_on))
            return
        pass_on(payload)
        if kept and is_delivery(payload) and user.endswith("1"):
            kept[0][1](kept[0][0])
            kept.append(kept[0])

    def once(user: str, payload: bytes, pass_on: Pass) -> None:
        if len(kept) < 2:
            later(user, payload, pass_on)
        else:
            pass_on(payload)

    faults = run(CHAT, once).faults

    assert faults.kinds.keys() == {OUT_OF_ORDER}
    assert faults.count(OUT_OF_ORDER) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"conversation": "', b'"conversation": "x'),
        (b"@s.whatsapp.com", b"@s.whatsapp.net"),
        (b'"fromMe": false', b'"fromMe": true'),
        (b'"messageTimestamp": "1', b'"messageTimestamp": "2'),
    ],
    ids=["text", "chat", "side", "time"],
)
def test_a_delivery_that_was_changed_has_wrong_content(old: bytes, new: bytes) -> None:
    def corrupt(payload: bytes, pass_on: Pass) -> None:
        assert old in payload
        pass_on(payload.replace(old, new, 1))

    faults = run(CHAT, Every(10, corrupt)).faults

    assert faults.kinds.keys() == {WRONG}


def test_a_delivery_in_another_notation_of_the_same_value_is_right() -> None:
    def respaced(payload: bytes, pass_on: Pass) -> None:
        pass_on(payload.replace(b'{"conversation": "', b'{ "conversation":\t"'))

    assert not run(CHAT, Every(2, respaced)).faults


def test_what_is_no_frame_at_all_is_wrong() -> None:
    faults = run(CHAT, Every(10, lambda payload, pass_on: pass_on(payload[:-1]))).faults

    assert faults.count(WRONG) > 0


def test_a_receipt_that_never_comes_is_named() -> None:
    faults = run(CHAT, Every(10, lambda payload, pass_on: None, receipts=True)).faults

    assert faults.kinds.keys() == {RECEIPT_LOST}
    assert "the author was not told" in faults.kinds[RECEIPT_LOST].examples[0]


def test_a_receipt_in_the_name_of_another_is_wrong() -> None:
    def forge(payload: bytes, pass_on: Pass) -> None:
        pass_on(payload.replace(b'"to": "9', b'"to": "8'))

    assert WRONG in run(CHAT, Every(10, forge, receipts=True)).faults.kinds


def test_members_who_see_different_orders_are_named() -> None:
    held: list[tuple[str, bytes, Pass]] = []
    is_swapped = False

    def swap_once(user: str, payload: bytes, pass_on: Pass) -> None:
        # To the last member another author's first message goes ahead of what came before it: each
        # author's own order stays, so nothing but the order of the group is wrong.
        nonlocal is_swapped
        if is_swapped or not is_delivery(payload) or not user.endswith("3"):
            pass_on(payload)
            return
        author = read_delivered(payload).participant
        if not held or author == held[0][0]:
            held.append((author, payload, pass_on))
            return
        is_swapped = True
        pass_on(payload)
        for _, kept, pass_kept in held:
            pass_kept(kept)

    faults = run(Group(members=4, senders=2, window=1), swap_once).faults

    assert faults.count(OUT_OF_ORDER) > 0
    assert "saw different orders" in faults.kinds[OUT_OF_ORDER].examples[0]


def test_a_relay_that_never_acks_leaves_messages_unacked() -> None:
    # Deliveries and receipts come; acks 1 are swallowed with everything that the author gets.
    plan = Plan(scenario=CHAT, warm_up_s=0.05, measure_s=0.05)

    async def body() -> Outcome:
        from relay.loadgen.run.reference import ReferenceConnection

        class Silent(ReferenceConnection):
            def write(self, framed: bytes) -> None:
                if b'"ack": 1' not in framed:
                    super().write(framed)

        async with fake_relay(plan, connection=Silent) as url:
            return await play(plan, url)

    faults = asyncio.run(body()).faults

    assert faults.count(UNACKED) == CHAT.pairs * CHAT.window
