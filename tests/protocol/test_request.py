"""Requests of extensions: which frame is which, and what its answer repeats (E2)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import FrameError
from relay.protocol.codec import Codec
from relay.protocol.request import (
    MAX_TAG_CHARS,
    WHOLE_TEXT,
    Correlation,
    Parts,
    RequestRow,
    kind_of,
)
from relay.protocol.stanza import ExtensionRequest, Stanza
from relay.settings.tables import LimitSettings


def no_more(parts: Parts) -> int:
    if len(parts) > 3:
        raise FrameError(400, "too many elements")
    return len(parts)


ROWS = {
    ("query", "server"): RequestRow("info", ("query", "server"), no_more, before_login=True),
    ("query", ""): RequestRow("other", ("query", ""), no_more, before_login=False),
    ("action", "read"): RequestRow("reads", ("action", "read"), no_more, before_login=False),
    ("?,,", WHOLE_TEXT): RequestRow("beat", ("?,,", WHOLE_TEXT), no_more, before_login=True),
}
CODEC = Codec(LimitSettings(), ROWS)


def decode(text: str) -> Stanza:
    return CODEC.decode(text.encode(), user="917069852821", now_s=1_566_970_629)


def request(text: str) -> ExtensionRequest:
    stanza = decode(text)
    assert isinstance(stanza, ExtensionRequest), stanza
    return stanza


def parts(frame: list[Any]) -> Parts:
    return msgspec.json.decode(json.dumps(frame).encode(), type=list[msgspec.Raw])


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (["query", {"type": "server"}, None], "server"),
        (["query", "exist", "1@c.us"], "exist"),
        (["ping", {"tag": "x"}], ""),
        (["ping"], ""),
        (["admin", "test"], "test"),
        (["Chat", {"cmd": "action"}], ""),
        (["action", {"type": "set", "epoch": "1"}, [["read", {"jid": "1"}, None]]], "read"),
        (["action", {"type": "set"}, []], "set"),
        (["action", {"type": "set"}, [[1]]], "set"),
        (["query", {"type": 7}], ""),
        (["query", 7], ""),
    ],
)
def test_the_kind_of_a_request_is_what_stands_behind_its_tag(frame: list[Any], kind: str) -> None:
    assert kind_of(parts(frame)) == kind


def test_a_request_goes_to_the_owner_of_its_tag_and_kind() -> None:
    found = request('["query", {"type": "server"}, null]')

    assert (found.owner, found.body, found.before_login) == ("info", 3, True)


def test_a_row_without_a_kind_takes_every_kind_that_no_other_does() -> None:
    assert request('["query", "GroupMetadata", "1-2@g.us"]').owner == "other"
    assert request('["query", {"type": "unheard of"}]').key == ("query", "")


def test_kinds_of_an_action_are_not_the_cores() -> None:
    found = request('["action", {"type": "set"}, [["read", {"jid": "1@c.us"}, null]]]')
    assert found.owner == "reads"
    for other in ('{"add": "update"}, [["read", null, null]]', '{"type": "set"}, [["write"]]'):
        with pytest.raises(FrameError, match="the second element of an action is"):
            decode(f'["action", {other}]')


def test_a_text_that_is_no_json_is_a_request_as_a_whole() -> None:
    found = request("?,,")

    assert (found.owner, found.is_json) == ("beat", False)
    for other in ("?,", "?,,,", " ?,,", "?,,\n"):
        with pytest.raises(FrameError):
            decode(other)


@pytest.mark.parametrize(
    ("text", "correlation", "named"),
    [
        ('["query", "exist"]', Correlation(), "query"),
        ('["query", {"type": "server", "tag": "b1"}]', Correlation("", "b1"), "b1"),
        ('x7,["query", "exist"]', Correlation("x7", ""), "x7"),
        ('x7,,["query", {"tag": "b1"}]', Correlation("x7", "b1"), "b1"),
        ("['query', {'tag': 'b1'}]", Correlation("", "b1"), "b1"),
    ],
)
def test_e2_a_request_may_name_itself(text: str, correlation: Correlation, named: str) -> None:
    found = request(text)

    assert (found.correlation, found.named) == (correlation, named)


@pytest.mark.parametrize("tag", ['""', "7", "null", '"\\n"', f'"{"x" * (MAX_TAG_CHARS + 1)}"'])
def test_e2_a_tag_that_is_none_is_refused(tag: str) -> None:
    with pytest.raises(FrameError, match="tag: a string of 1 to 64") as caught:
        decode(f'["query", {{"tag": {tag}}}]')

    assert (caught.value.refusal.code, caught.value.refusal.tag) == (400, "query")


def test_e2_what_is_wrong_with_a_request_is_told_under_its_name() -> None:
    with pytest.raises(FrameError) as caught:
        decode('x7,["query", {"tag": "b1"}, 3, 4]')

    refusal = caught.value.refusal
    assert (refusal.reason, refusal.prefix) == ("too many elements", "x7")
    assert refusal.tag == "b1"


def test_e2_an_answer_repeats_the_name() -> None:
    attributes = {"from": "backend"}

    assert Correlation().answer("pong", attributes) == b'["pong",{"from":"backend"}]'
    tagged = Correlation(tag="b1").answer("pong", attributes, [1])
    assert json.loads(tagged) == ["pong", {"from": "backend", "tag": "b1"}, [1]]
    prefixed = Correlation(prefix="x7").answer("pong", attributes)
    assert prefixed == b'x7,["pong",{"from":"backend"}]'
    assert Correlation("x7", "b1").prefixed(b"[]") == b"x7,[]"


def test_e2_an_error_repeats_the_name() -> None:
    prefix, _, frame = Correlation("x7", "b1").error(404, "unknown group").partition(b",")

    assert prefix == b"x7"
    assert json.loads(frame)[1] == {
        "from": "backend",
        "type": "error",
        "code": 404,
        "reason": "unknown group",
        "tag": "b1",
    }
    assert b'"tag":"query"' in Correlation().error(404, "unknown group", tag="query")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "tag", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_whatever_stands_behind_a_tag_is_a_request_or_refused(behind: object) -> None:
    for tag in ("query", "action"):
        try:
            stanza = decode(json.dumps([tag, behind, behind]))
        except FrameError:
            continue
        assert isinstance(stanza, ExtensionRequest)
