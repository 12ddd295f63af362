"""The plain handshake: what is answered by hand is answered as the websockets library does."""

from __future__ import annotations

import re
from base64 import b64encode
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.front.accept import MOST_BYTES, answer_to
from relay.front.entrance import head
from relay.front.oddframes import judge_handshake

NOW_S = 1_566_970_629

PLAIN = {
    "Host": "relay:9011",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
FIREFOX = PLAIN | {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-WebSocket-Extensions": "permessage-deflate",
    "Origin": "http://relay:9011",
    "Connection": "keep-alive, Upgrade",
    "Pragma": "no-cache",
}
CHROME = FIREFOX | {
    "Connection": "Upgrade",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    "Cookie": "a=b; c=d",
}


def request_of(headers: dict[str, str], line: str = "GET / HTTP/1.1") -> bytes:
    return spelled(line, list(headers.items()))


def spelled(line: str, headers: list[tuple[str, str]]) -> bytes:
    text = line + "".join(f"\r\n{name}: {value}" for name, value in headers) + "\r\n\r\n"
    return text.encode("latin-1")


def by_hand(raw: bytes) -> bytes | None:
    request = head.parse(raw)
    return None if request is None else answer_to(request, raw, now_s=NOW_S)


def by_the_library(raw: bytes) -> bytes:
    said, opens = judge_handshake(raw)
    assert opens, said
    return b"".join(said)


def without_date(response: bytes) -> bytes:
    return re.sub(rb"(?<=\r\nDate: )[^\r]*", b"", response, count=1)


@pytest.mark.parametrize("headers", [PLAIN, FIREFOX, CHROME])
def test_what_browsers_and_clients_ask_is_answered_by_hand(headers: dict[str, str]) -> None:
    raw = request_of(headers)

    answer = by_hand(raw)

    assert answer is not None
    assert without_date(answer) == without_date(by_the_library(raw))
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


def test_the_answer_has_the_date() -> None:
    found = re.search(rb"Date: ([^\r]*)", by_hand(request_of(PLAIN)) or b"")

    assert found is not None
    assert parsedate_to_datetime(found[1].decode()).timestamp() == NOW_S


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(request_of(PLAIN, "GET / HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(request_of(PLAIN | {"Connection": "close"}), id="another Connection"),
        pytest.param(request_of(PLAIN | {"Connection": "x,Upgrade"}), id="a list"),
        pytest.param(request_of(PLAIN | {"Upgrade": "websocket, h2c"}), id="another Upgrade"),
        pytest.param(request_of(PLAIN | {"Sec-WebSocket-Version": "8"}), id="another version"),
        pytest.param(request_of(PLAIN | {"Sec-WebSocket-Key": "dGhl"}), id="a short key"),
        pytest.param(request_of(PLAIN | {"Sec-WebSocket-Protocol": "a"}), id="a subprotocol"),
        pytest.param(request_of(PLAIN | {"Content-Length": "0"}), id="a body, if an empty one"),
        pytest.param(request_of(PLAIN | {"Transfer-Encoding": "chunked"}), id="a body"),
        pytest.param(request_of(PLAIN | {"X": "\xe9"}), id="no ASCII"),
        pytest.param(request_of(PLAIN | {"X": "x" * MOST_BYTES}), id="too long"),
        pytest.param(request_of(PLAIN | {"origin": "a", "Origin": "b"}), id="two of one name"),
        *(
            pytest.param(request_of({k: v for k, v in PLAIN.items() if k != name}), id=f"no {name}")
            for name in PLAIN
            if name != "Host"
        ),
    ],
)
def test_what_is_not_plain_is_the_librarys(raw: bytes) -> None:
    assert head.parse(raw) is not None
    assert by_hand(raw) is None


KEYS = st.one_of(
    st.binary(min_size=16, max_size=16).map(lambda raw: b64encode(raw).decode()),
    st.binary(max_size=20).map(lambda raw: b64encode(raw).decode()),
    st.text(alphabet="aZ09+/= AQgw-", min_size=22, max_size=25),
)
VALUES = {
    "Upgrade": st.sampled_from(["websocket", "WebSocket", "websocket/13", "h2c, websocket", ""]),
    "Connection": st.sampled_from(
        ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade,", "keep-alive", ", upgrade", "\t"]
    ),
    "Sec-WebSocket-Key": KEYS,
    "Sec-WebSocket-Version": st.sampled_from(["13", " 13 ", "013", "13, 13", "8", ""]),
    "Sec-WebSocket-Protocol": st.sampled_from(["chat", "chat, superchat", ",,", "\xe9"]),
    "Sec-WebSocket-Extensions": st.sampled_from(["permessage-deflate", "x; y", '"']),
    "Origin": st.sampled_from(["http://x", "null", ""]),
    "Content-Length": st.sampled_from(["0", "1", "-0"]),
    "Transfer-Encoding": st.sampled_from(["chunked", ""]),
    "X": st.text(alphabet="ab:\t\xe9 ,", max_size=9),
}
LINES = st.sampled_from(["GET / HTTP/1.1"] * 5 + ["GET /a?b HTTP/1.1", "GET / HTTP/1.0"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """What a client might ask: mostly the plain request, with something changed or added."""
    headers = list(PLAIN.items())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(VALUES)))
        header = (draw(st.sampled_from([name, name.lower(), name.upper()])), draw(VALUES[name]))
        if draw(st.booleans()):
            headers = [each for each in headers if each[0].lower() != name.lower()]
        headers.insert(draw(st.integers(0, len(headers))), header)
    return spelled(draw(LINES), headers)


@settings(max_examples=150, deadline=None)
@given(requests())
def test_whatever_is_answered_by_hand_the_library_answers_so_too(raw: bytes) -> None:
    answer = by_hand(raw)

    if answer is not None:
        assert without_date(answer) == without_date(by_the_library(raw))
