"""The sheet's own frames in one step: they mean what the general way makes of them, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.errors import FrameError
from relay.protocol import plain
from relay.protocol.codec import Codec
from relay.protocol.stanza import MAX_ID_CHARS, Action, Stanza
from relay.settings.tables import LimitSettings

ALICE, BOB = "917069852821", "919428284313"
GROUP = "917069852821-1566557065"
SENT_AT = 1_566_970_629
NOW_S = SENT_AT + 60
ID = "3EB0A1ED1B05362823BC"
CODEC = Codec(LimitSettings())

SEND = (
    '["action", {"add": "relay"}, [{"message": {"conversation": "hi"}, "key": {"remoteJid": '
    f'"{BOB}@s.whatsapp.com", "fromMe": true, "id": "{ID}"}}, "messageTimestamp": "{SENT_AT}"}}]]'
)
ACK = (
    f'["Msg", {{"id": "{ID}", "ack": 2, "cmd": "ack", "to": "{BOB}@c.us", "t": "{SENT_AT}", '
    f'"from": "{ALICE}@c.us"}}]'
)
GROUP_ACK = (
    f'["MsgInfo", {{"from": "{ALICE}@c.us", "ack": 2, "cmd": "ack", "to": "{GROUP}@g.us", '
    f'"participant": "{BOB}@sc.us", "id": "{ID}", "t": "{SENT_AT}"}}]'
)
DEEP = "[" * 40 + "]" * 40


def in_one_step(payload: bytes) -> Stanza | None:
    sends = plain.sends_in(payload, ALICE, now_s=NOW_S, most=256, nesting=32)
    return Action(list(sends)) if sends is not None else plain.ack_in(payload)


def in_general(payload: bytes) -> Stanza | None:
    """Return what a frame means by the general way, None where it is refused."""
    try:
        return CODEC.decode(b"x," + payload, user=ALICE, now_s=NOW_S)
    except FrameError:
        return None


@pytest.mark.parametrize("text", [SEND, ACK, ACK.replace("Msg", "MsgInfo"), GROUP_ACK])
def test_the_sheets_own_frames_take_one_step(text: str) -> None:
    stanza = in_one_step(text.encode())

    assert stanza is not None
    assert stanza == in_general(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        SEND.replace("relay", "other"),
        SEND.replace('{"conversation": "hi"}', "{}"),
        SEND.replace('{"conversation": "hi"}', '"hi"'),
        SEND.replace('{"conversation": "hi"}', '{"conversation": 1e999}'),
        SEND.replace('{"conversation": "hi"}', '{"n": ' + "9" * 400 + "}"),
        SEND.replace(ID, ""),
        SEND.replace(ID, "é"),
        SEND.replace(ID, "\x7f"),
        SEND.replace(ID, "x" * (MAX_ID_CHARS + 1)),
        SEND.replace(BOB, "no jid"),
        SEND.replace('"fromMe"', '"other"'),
        SEND.replace('"messageTimestamp"', '"other"'),
        SEND[:-1] + ", null]",
        ACK.replace('"ack": 2', '"ack": 1'),
        ACK.replace('"ack": 2', '"ack": 5'),
        ACK.replace('"ack": 2', '"ack": "2"'),
        ACK.replace('"cmd": "ack"', '"cmd": "other"'),
        ACK.replace(f'"{ID}"', f'["{ID}"]'),
        ACK.replace(ID, "\xa0"),
        ACK.replace(f'"t": "{SENT_AT}"', '"t": 1.5'),
        ACK.replace(f'"t": "{SENT_AT}"', '"other": 1'),
        ACK.replace("@c.us", "@g.us"),
        GROUP_ACK.replace(f'"{BOB}@sc.us"', "7"),
        GROUP_ACK.replace(BOB, "\\ud800"),
        "",
        "[]",
        "{}",
    ],
)
def test_of_all_else_the_general_way_says_what_it_means(text: str) -> None:
    assert in_one_step(text.encode()) is None


@pytest.mark.parametrize(
    "payload",
    [
        SEND.replace('"hi"', '"hi", "conversation": "hi"').replace('"hi"', DEEP, 1).encode(),
        SEND.replace('"message"', f'"message": {DEEP}, "message"').encode(),
        SEND.encode().replace(b'"message"', b'"message": "\xff", "message"'),
    ],
)
def test_a_key_that_comes_twice_hides_nothing(payload: bytes) -> None:
    assert in_one_step(payload) is None
    assert in_general(payload) is None


def test_no_more_messages_than_may_be() -> None:
    assert plain.sends_in(SEND.encode(), ALICE, now_s=NOW_S, most=0, nesting=32) is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
jids = st.sampled_from(
    [BOB, ALICE, f"{BOB}@c.us", f"{GROUP}@g.us", f"{GROUP}@G.US", f"+{BOB}:1@s.whatsapp.net", "?"]
)
ids = st.sampled_from([ID, "1", " ", '"', "\\", "é", "\x00", "x" * 128, "x" * 129]) | texts
odd = st.sampled_from([None, "", "?", 0, 2.5, True, [], {}, [ID], {"a": 1}, "1", 10**25, -1])
times = st.one_of(
    st.integers(0, 2**41),
    st.integers(-1, 10**12).map(str),
    st.sampled_from(["0", "00", "1" * 21, "١", 10**30, 1e3, None]),
)
messages = st.dictionaries(
    texts, st.one_of(texts, st.integers(-(2**70), 2**70), st.floats(allow_nan=False), odd)
)
PARTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ack": {
        "id": ids,
        "ack": st.integers(1, 5),
        "cmd": st.sampled_from(["ack", "acks", "ACK"]),
        "to": jids,
        "t": times,
        "from": jids,
    },
    "key": {"remoteJid": jids, "id": ids, "fromMe": st.booleans()},
    "element": {"message": messages, "messageTimestamp": times},
}


@st.composite
def members(draw: st.DrawFn, of: str) -> dict[str, Any]:
    """An object of a frame: mostly as it should be, with something odd, missing or besides."""
    found = {
        name: draw(good if draw(st.integers(0, 11)) else odd)
        for name, good in PARTS[of].items()
        if draw(st.integers(0, 11))
    }
    if not draw(st.integers(0, 7)):
        found[draw(texts)] = draw(odd)
    return found


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        tag = draw(st.sampled_from(["Msg", "MsgInfo", "Msgs"]))
        frame: list[Any] = [tag, draw(members("ack"))]
    else:
        elements = [
            {**draw(members("element")), "key": draw(members("key"))}
            for _ in range(draw(st.integers(0, 3)))
        ]
        frame = ["action", {"add": draw(st.sampled_from(["relay"] * 9 + ["x"]))}, elements]
    separators = draw(st.sampled_from([None, (",", ":"), (" , ", " :\t")]))
    text = json.dumps(frame, separators=separators, ensure_ascii=draw(st.booleans()))
    return text.encode()


@settings(max_examples=200, deadline=None)
@given(frames())
@example(ACK.replace("3EB0", "\\u0033EB0").encode())
@example(SEND.replace('"hi"', r'"\ud800"').encode())
@example(SEND.replace('"hi"', '"hi", "conversation": "twice"').encode())
@example(SEND.encode().replace(b"hi", b"\xff"))
def test_what_takes_one_step_means_what_the_general_way_makes_of_it(payload: bytes) -> None:
    stanza = in_one_step(payload)

    if stanza is not None:
        assert stanza == in_general(payload)
