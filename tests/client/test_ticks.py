"""The tick of one own message."""

import pytest

from relay.client.events import Level
from relay.client.ticks import OwnMessage

BEN, CARL, DORA = "919428284313", "919354513536", "dora"
GOT, READ, PLAYED = Level


def own(**levels: Level) -> OwnMessage:
    return OwnMessage("hi", "10:48", stored=True, levels=levels)


def test_before_the_first_receipt_the_relay_has_it_or_not() -> None:
    assert OwnMessage("hi", "10:48").tick(group=False, recipients=None) == "…"
    assert own().tick(group=True, recipients=5) == "✓ sent"


@pytest.mark.parametrize(
    ("levels", "recipients", "tick"),
    [
        ({"a": GOT}, None, "delivered to 1"),
        ({"a": GOT}, 3, "delivered to 1 of 3"),
        ({"a": GOT, "b": READ}, None, "delivered to 2, read by 1"),
        ({"a": GOT, "b": READ}, 3, "delivered to 2 of 3, read by 1"),
        ({"a": READ, "b": READ}, 2, "read by 2 of 2"),
        ({"a": GOT, "b": READ, "c": PLAYED}, 3, "delivered to 3 of 3, read by 2, played by 1"),
        ({"a": GOT, "b": PLAYED}, None, "delivered to 2, played by 1"),
        ({"a": READ, "b": READ}, 1, "read by 2"),  # a wrong number is not made worse
    ],
)
def test_in_a_group_all_are_counted_who_got_or_read_it(
    levels: dict[str, Level], recipients: int | None, tick: str
) -> None:
    assert own(**levels).tick(group=True, recipients=recipients) == f"✓✓ {tick}"


@pytest.mark.parametrize(
    ("level", "tick"), [(GOT, "delivered"), (READ, "read"), (PLAYED, "played")]
)
def test_one_recipient_is_not_counted(level: Level, tick: str) -> None:
    assert own(a=level).tick(group=False, recipients=None) == f"✓✓ {tick}"


def test_a_level_never_falls() -> None:
    message = own()
    message.rise(BEN, READ)
    message.rise(BEN, GOT)

    assert message.tick(group=True, recipients=None) == "✓✓ read by 1"


def test_a_failure_stands_whatever_comes_after_it() -> None:
    message = own()
    message.failure = "unknown group (404)"
    message.rise(BEN, READ)

    assert message.tick(group=True, recipients=None) == "✗ not sent: unknown group (404)"
