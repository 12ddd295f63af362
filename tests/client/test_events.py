"""What an event says beside its fields."""

from typing import Any

import pytest

from relay.client.events import Message
from tests.client.protocol_harness import BEN


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"conversation": "a"}, "a"),
        ({"extendedTextMessage": {"text": "b"}}, "b"),
        ({"extendedTextMessage": {"text": 7}}, ""),
        ({"extendedTextMessage": "b"}, ""),
        ({"conversation": 7}, ""),
        ({"imageMessage": {}}, ""),
    ],
)
def test_the_text_of_a_message(body: dict[str, Any], text: str) -> None:
    assert Message("A", BEN, BEN, body, 0).text == text
