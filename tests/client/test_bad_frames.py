"""Frames that make no sense cost themselves alone."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.client.events import Message
from tests.client.fake_relay import message, queue
from tests.client.protocol_harness import GROUP, Harness


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "[]",
        "{}",
        "null",
        "[1]",
        '["q"]',
        '["q",{"data":7}]',
        '["q",{"data":"[[]"}]',
        '["q",{"data":"{}"}]',
        '["auth",{}]',
        '["auth",{"status":"perhaps"}]',
        '["action",{"add":"relay"}]',
        '["action",{"add":"update"},[]]',
        '["Msg",{"id":["A"],"ack":2,"to":"1","from":"917069852821"}]',
        '["Msg",{"id":"A","ack":1,"to":"1@example.org","from":"917069852821"}]',
        '["Msg",{"id":"A","ack":1,"to":"1","from":""}]',
        '["error",{"code":"x"}]',
        "[" * 100_000,
        '["action",{"add":"relay"},[' + '{"a":' * 5000 + "1" + "}" * 5000 + "]]",
        '["q",{"data":"[[],[' + "[" * 100_000 + '"}]',
        b'["\xff"]',
        "!1566970629123 ",
        "b1,[]",
    ],
)
def test_a_frame_that_makes_no_sense_is_counted_and_costs_nothing_else(
    client: Harness, frame: str | bytes
) -> None:
    assert client.protocol.receive(frame, client.now) == []

    assert client.protocol.ignored_frames == 1
    assert client.protocol.online
    assert client.receive(message("A")) != []


@pytest.mark.parametrize(
    "frame",
    [["Presence", {"id": "x"}], ["response", {}], ["Pong", True], ["auth", {"status": "success"}]],
)
def test_frames_that_were_not_asked_for_are_skipped(client: Harness, frame: list[Any]) -> None:
    assert client.receive(frame) == []
    assert client.protocol.ignored_frames == 0
    assert client.protocol.online


@pytest.mark.parametrize(
    "change",
    [
        lambda element: element.pop("key"),
        lambda element: element.pop("message"),
        lambda element: element["key"].update(remoteJid="x@example.org"),
        lambda element: element["key"].update(remoteJid=GROUP),  # and no participant
        lambda element: element["key"].update(id=7),
        lambda element: element.update(message=[1]),
        lambda element: element.update(message=None),
    ],
)
def test_one_bad_element_leaves_the_others(
    client: Harness, change: Callable[[dict[str, Any]], object]
) -> None:
    bad = message("A")
    change(bad[2][0])

    client.receive(queue(bad, message("B")))
    both = ["action", {"add": "relay"}, bad[2] + message("C")[2]]
    client.receive(both)

    assert client.taken_ids() == ["B", "C"]
    assert client.protocol.ignored_frames == 2


def test_a_login_or_queue_inside_a_queue_is_skipped(client: Harness) -> None:
    client.receive(queue(["auth", {"status": "failure", "code": 401}], queue(message("A")), []))

    assert client.protocol.online
    assert client.taken_ids() == []


@pytest.mark.parametrize("t", ["soon", "", "9" * 5000])
def test_a_time_that_is_none_reads_as_0(client: Harness, t: str) -> None:
    frame = message("A")
    frame[2][0]["messageTimestamp"] = t

    [event] = client.receive(frame)

    assert isinstance(event, Message)
    assert event.t == 0


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["id", "ack", "to", "from", "data", "key", "status"]), inner
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["auth", "q", "action", "Msg", "MsgInfo", "error", "Cmd", "?"]),
)
@settings(max_examples=100, deadline=None)
def test_no_frame_raises(value: Any, tag: str) -> None:
    harness = Harness()
    harness.log_in()

    harness.receive([tag, value], [tag, value, [value]], value)
