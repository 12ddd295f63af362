"""What a frame before the login is taken for (2.2.6), and how little of it is looked at."""

from __future__ import annotations

import pytest

from relay.errors import FrameError
from relay.extensions.registry import load
from relay.protocol.codec import Codec
from relay.protocol.stanza import Auth, ExtensionRequest, InvalidAuth
from relay.settings.tables import Settings

CODEC = Codec(Settings().limits, load().rows)


def decoded(frame: bytes) -> object:
    return CODEC.decode_early(frame, now_s=0)


def refused(frame: bytes) -> tuple[int, str, str]:
    with pytest.raises(FrameError) as raised:
        decoded(frame)
    refusal = raised.value.refusal
    return refusal.code, refusal.tag, refusal.prefix


@pytest.mark.parametrize(
    "frame",
    [
        b'["auth",{"type":"new"},{"remoteJid":"1"}]',
        b' [ "auth" , {"type":"new"},{"remoteJid":"1"}]',
        b"[auth,{'type':'new'},{'remoteJid':'1'}]",
        b"['auth',{'type':'new'},{'remoteJid':'1'},]",
        b'x1,["auth",{"type":"new"},{"remoteJid":"1"}]',
        rb'["\u0061uth",{"type":"new"},{"remoteJid":"1"}]',
    ],
)
def test_a_login_is_one_however_it_is_spelled(frame: bytes) -> None:
    assert decoded(frame) == Auth("1", resume=False, caps=None)


def test_a_login_of_bad_form_is_told_so() -> None:
    assert isinstance(decoded(b'["auth",1]'), InvalidAuth)


@pytest.mark.parametrize(
    "frame", [b"?,,", b'["admin","test"]', b'["ping",{}]', b'a,["query",{"type":"server"},null]']
)
def test_what_is_allowed_early_is_decoded(frame: bytes) -> None:
    assert isinstance(decoded(frame), ExtensionRequest)


@pytest.mark.parametrize(
    ("frame", "tag", "prefix"),
    [
        (b'["action",{"add":"relay"},[]]', "action", ""),
        (b'["action",no JSON from here', "action", ""),
        (b"[Msg,{'id'", "Msg", ""),
        (b'["MsgInfo"]', "MsgInfo", ""),
        (b'["unknown",{"tag":"t1"}]', "t1", ""),
        (b'p1,["unknown",{}]', "p1", "p1"),
        (b'["unknown",[', "unknown", ""),
        (b'["query",{"type":"message","tag":"t2"},null]', "t2", ""),
    ],
)
def test_everything_else_is_refused_by_its_tag(frame: bytes, tag: str, prefix: str) -> None:
    assert refused(frame) == (401, tag, prefix)


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"[1]", b"?", b"{}", b"[" * 100, b'["\xff"]', rb'["\ud800",1]', b'["']
)
def test_what_has_no_tag_is_no_frame(frame: bytes) -> None:
    assert refused(frame)[0] == 400
