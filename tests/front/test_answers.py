"""The line of a session's sends: answers in their order, receipts behind the ack 1 of theirs."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from relay.bus.envelopes import Entry, RequestNumber, SendToGroup, SendToUser
from relay.errors import Refusal
from relay.front.answers import Answers
from relay.front.budget import UNITS, Budget
from relay.front.output import Output
from relay.protocol.slots import slot_of
from relay.protocol.stanza import Send
from tests import plain

NUMBER = 7
FIRST = (NUMBER << 32) + 1
ALICE, BOB, GROUP = "917069852821", "919428284313", "917069852821-1566557065"


def send(message_id: str, *, chat: str = BOB) -> Send:
    return Send(chat, chat == GROUP, message_id, 1_566_970_629, b"12345678", b"{}")


def line_of(*message_ids: str) -> tuple[Answers, Output]:
    out = Output()
    answers = Answers(NUMBER, Budget(), out)
    for message_id in message_ids:
        answers.take(send(message_id), ALICE)
    return answers, out


class Writer:
    """Writes receipts behind the answers."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def write(self, entry: Entry) -> None:
        self._out.frames.append(entry.frame)


def settled(answers: Answers, out: Output) -> list[str]:
    """Return the ids of the answers and the frames of the receipts that may be written now."""
    answers.settle(Writer(out))
    written, out.frames = out.frames, []
    return [json.loads(frame)[1]["id"] for frame in written]


def test_a_send_goes_to_the_worker_of_its_chat_again_and_again_until_it_is_confirmed() -> None:
    out = Output()
    answers = Answers(NUMBER, Budget(), out)

    answers.take(send("1"), ALICE)
    answers.take(send("2", chat=GROUP), ALICE)

    (slot, one, durable), (group_slot, two, group_durable) = out.envelopes or []
    assert isinstance(one, SendToUser)
    assert isinstance(two, SendToGroup)
    assert (slot, group_slot) == (slot_of(BOB), slot_of(GROUP))
    assert (one.request, two.request) == (FIRST, FIRST + 1)
    assert (durable, group_durable) == (True, True)


@given(st.permutations(range(6)))
def test_2_3_4_answers_come_in_the_order_of_the_sends(order: list[int]) -> None:
    answers, out = line_of(*"012345")
    seen: list[str] = []

    for index in order:
        assert answers.stored(RequestNumber(FIRST + index), ALICE, 1)
        seen += settled(answers, out)

    assert seen == list("012345")
    assert not answers


def test_r23_a_refused_message_is_answered_in_its_turn() -> None:
    answers, out = line_of("1")
    refusal = Refusal(400, "no", tag="action", message_id="2")

    answers.take(refusal, ALICE)
    assert out.frames == []
    answers.stored(RequestNumber(FIRST), ALICE, 1)
    assert settled(answers, out) == ["1", "2"]

    answers.take(refusal, ALICE)
    assert json.loads(out.frames[0])[1]["id"] == "2"


def test_a_receipt_waits_for_the_ack_1_of_its_message() -> None:
    answers, out = line_of("1", "2")
    receipt = plain.entry(9, "2", b'["Msg", {"id": "receipt"}]')

    assert answers.stash(receipt)
    assert not answers.stash(plain.entry(10, "3", b"[]"))
    assert not answers.stash(plain.entry(11, "", b"[]"))
    assert answers.first_stashed(100) == 9

    answers.stored(RequestNumber(FIRST + 1), ALICE, 1)
    assert settled(answers, out) == []
    answers.stored(RequestNumber(FIRST), ALICE, 1)
    assert settled(answers, out) == ["1", "2", "receipt"]
    assert answers.first_stashed(100) == 100


def test_i7_a_budget_that_sends_have_used_up_is_not_until_half_of_them_are_answered() -> None:
    budget, out = Budget(), Output()
    answers = Answers(NUMBER, budget, out)
    for number in range(UNITS):
        assert not budget.is_full
        answers.take(send(str(number)), ALICE)
    assert budget.is_full

    eased = []
    for index in range(UNITS // 2 + 1):
        answers.stored(RequestNumber(FIRST + index), ALICE, 1)
        eased.append(answers.settle(Writer(out)))

    assert eased == [False] * (UNITS // 2 - 1) + [True, False]
    assert not budget.is_full


def test_an_answer_to_what_is_not_in_the_line_means_nothing() -> None:
    answers, _ = line_of("1")

    assert not answers.stored(RequestNumber(FIRST + 5), ALICE, 1)
    assert not answers.refused(RequestNumber(FIRST - 1), 404, "unknown group")
