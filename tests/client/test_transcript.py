"""The conversation as lines of text."""

import pytest

from relay.client.events import Failed, Level, Message, Receipt, Refused, Sent
from relay.client.transcript import Transcript

ASHA, BEN, CARL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065@g.us"


def transcript(to: str = BEN) -> Transcript:
    return Transcript(to, clock=lambda t: f"t={t}")


def said(text: str, *, sender: str = BEN, chat: str = BEN, t: int = 5) -> Message:
    return Message("M", chat, sender, {"conversation": text}, t)


def receipt(message_id: str, level: int, *, user: str = BEN, chat: str = BEN) -> Receipt:
    return Receipt(message_id, chat, user, Level(level), 9)


def test_an_own_line_shows_the_tick_it_has_when_it_is_shown() -> None:
    t = transcript()
    t.own("A", "one", now_s=1)
    t.own("B", "two", now_s=2)
    t.own("C", "three", now_s=3)
    t.add(Sent("B", BEN, 2))
    t.add(Sent("C", BEN, 3))
    t.add(receipt("C", 2))

    assert t.flush() == ["t=1 you: one  …", "t=2 you: two  ✓ sent", "t=3 you: three  ✓✓ delivered"]
    assert t.flush() == []


def test_a_later_tick_gets_a_short_line_and_repeats_get_none() -> None:
    t = transcript()
    t.own("A", "a rather long line, longer than an excerpt", now_s=1)
    t.flush()
    t.add(Sent("A", BEN, 1))
    assert t.flush() == ["      ✓ sent: a rather long line, longer tha…"]
    t.add(receipt("A", 2))
    t.add(receipt("A", 3))
    assert t.flush() == ["      ✓✓ read: a rather long line, longer tha…"]
    t.add(receipt("A", 3))
    assert t.flush() == []
    t.add(receipt("A", 4))
    assert t.flush() == ["      ✓✓ played: a rather long line, longer tha…"]


def test_ticks_that_rise_together_share_a_line() -> None:
    t = transcript()
    for message_id in "ABC":
        t.own(message_id, f"line {message_id}", now_s=1)
    t.flush()

    for message_id in "ABC":
        t.add(receipt(message_id, 3))

    assert t.flush() == ["      ✓✓ read: line C and 2 before it"]


def test_an_incoming_line_comes_after_what_was_said_before_it() -> None:
    t = transcript()
    t.own("A", "question", now_s=1)

    assert t.add(said("answer")) == ["t=1 you: question  …", f"t=5 {BEN}: answer"]


def test_a_failure_is_told_with_its_reason() -> None:
    t = transcript()
    t.own("A", "one", now_s=1)
    t.add(Failed("A", BEN, 404, "unknown user"))
    assert t.flush() == ["t=1 you: one  ✗ not sent: unknown user (404)"]
    t.own("B", "two", now_s=2)
    t.flush()
    t.fail("B", "too long")
    assert t.flush() == ["      ✗ not sent: too long: two"]
    assert t.add(Refused(400, "malformed", "", "")) == [
        "the relay refused a frame: malformed (400)"
    ]


def test_group_ticks_count_the_members() -> None:
    t = transcript(GROUP)
    t.own("A", "all", now_s=1)
    for user in (BEN, CARL):
        t.add(receipt("A", 2, user=user, chat=GROUP))
    assert t.flush() == ["t=1 you: all  ✓✓ delivered to 2"]
    t.add(receipt("A", 3, user=CARL, chat=GROUP))
    assert t.flush() == ["      ✓✓ delivered to 2, read by 1: all"]
    t.add(receipt("A", 3, user=BEN, chat=GROUP))
    assert t.flush() == ["      ✓✓ read by 2: all"]
    t.add(receipt("A", 3, user=BEN, chat=GROUP))
    assert t.flush() == []


def test_group_ticks_say_of_how_many_where_that_is_known() -> None:
    t = Transcript(GROUP, clock=lambda t: f"t={t}", recipients=2)
    t.own("A", "all", now_s=1)
    t.add(receipt("A", 3, user=CARL, chat=GROUP))

    assert t.flush() == ["t=1 you: all  ✓✓ read by 1 of 2"]


def test_receipts_of_several_members_for_one_earlier_message_count_it_once() -> None:
    t = transcript(GROUP)
    for user in (BEN, CARL):
        t.add(receipt("OLD", 3, user=user, chat=GROUP))

    assert t.flush() == ["      ✓✓ read: 1 earlier message"]


@pytest.mark.parametrize("name", ["you", "You", "YOU"])
def test_a_user_whose_name_is_you_is_not_taken_for_oneself(name: str) -> None:
    for to in (BEN, name, GROUP):
        [line] = transcript(to).add(said("yes  ✓✓ read", sender=name, chat=to))

        assert f"{name}@c.us: yes" in line
        assert " you: " not in line.lower()


def test_receipts_for_an_earlier_run_are_counted() -> None:
    t = transcript()
    for message_id, level in (("A", 3), ("B", 2), ("C", 2), ("C", 3), ("C", 2)):
        t.add(receipt(message_id, level))

    assert t.flush() == [
        "      ✓✓ delivered: 1 earlier message",
        "      ✓✓ read: 2 earlier messages",
    ]
    assert t.flush() == []


def test_lines_of_other_chats_say_so() -> None:
    in_group, with_ben = transcript(GROUP), transcript(BEN)

    assert in_group.add(said("x", chat=GROUP)) == [f"t=5 {BEN}: x"]
    assert in_group.add(said("x")) == [f"t=5 [private] {BEN}: x"]
    assert with_ben.add(said("x", chat=GROUP)) == [f"t=5 [{GROUP}] {BEN}: x"]
    assert with_ben.add(said("x", sender=CARL, chat=CARL)) == [f"t=5 {CARL}: x"]


def test_what_is_no_text_is_named() -> None:
    picture = Message("M", BEN, BEN, {"imageMessage": {"url": "x"}}, 5)

    assert transcript().add(picture) == [f"t=5 {BEN}: (imageMessage)"]


def test_the_transcript_follows_a_bounded_number_of_own_lines() -> None:
    t = transcript()
    for n in range(600):
        t.own(f"{n}", "x", now_s=n)

    assert len(t.flush()) == 500
    t.add(receipt("0", 3))
    assert t.flush() == ["      ✓✓ read: 1 earlier message"]
