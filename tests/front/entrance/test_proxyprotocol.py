"""The PROXY protocol: what is a preface, whose it is, and that nothing else is one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.front.entrance.proxyprotocol import MOST_BYTES, Missing, Preface, read
from relay.front.networks import plain

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 192.0.2.1 10.0.0.7 56324 9011\r\n"
LONGEST = (
    b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    b" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
)


def version_2(command: int = 0x21, family: int = 0x11, body: bytes | None = None) -> bytes:
    if body is None:
        body = b"\xc0\0\x02\x01\x0a\0\0\x07\xdc\x04\x23\x33"
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


SIX = ipaddress.IPv6Address("2001:db8::5").packed * 2 + b"\xdc\x04\x23\x33"
MAPPED = ipaddress.IPv6Address("::ffff:192.0.2.1").packed * 2 + b"\xdc\x04\x23\x33"
GOOD = [
    (LINE, "192.0.2.1"),
    (LONGEST, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    (b"PROXY TCP6 2001:DB8:0::5 ::1 0 1\r\n", "2001:db8::5"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 1\r\n", "192.0.2.1"),
    (b"PROXY UNKNOWN\r\n", ""),
    (b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n", ""),
    (version_2(), "192.0.2.1"),
    (version_2(family=0x21, body=SIX), "2001:db8::5"),
    (version_2(family=0x21, body=MAPPED), "192.0.2.1"),
    (version_2(body=version_2()[16:] + b"\x03\0\x04\0\0\0\0"), "192.0.2.1"),  # a checksum behind
    (version_2(body=version_2()[16:] + bytes(MOST_BYTES - 12)), "192.0.2.1"),
    (version_2(command=0x20), ""),
    (version_2(command=0x20, family=0, body=b""), ""),
    (version_2(command=0x20, family=0x31, body=bytes(216)), ""),
    (version_2(family=0, body=b""), ""),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.1 10.0.0.7 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.7 56324 9011 \r\n",
    b"PROXY  TCP4 192.0.2.1 10.0.0.7 56324 9011\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.7 56324\r\n",
    b"PROXY TCP4 192.0.2.01 10.0.0.7 56324 9011\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0 56324 9011\r\n",
    b"PROXY TCP4 192.0.2.256 10.0.0.7 56324 9011\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.7 65536 9011\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.7 056 9011\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.7 -1 9011\r\n",
    b"PROXY TCP4 2001:db8::5 ::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 10.0.0.7 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 10.0.0.7 1 2\r\n",
    b"PROXY UNKNOWN\0\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",  # one byte too long
    b"PROXY " + b"x" * 101,
    version_2(command=0x11),
    version_2(command=0x22),
    version_2(family=0x12),
    version_2(family=0x31, body=bytes(216)),
    version_2(body=bytes(11)),
    version_2(family=0x21, body=bytes(35)),
    version_2(body=bytes(MOST_BYTES + 1)),
    SIGNATURE + b"\x21\x11\xff\xff",  # before any of it has come
    SIGNATURE[:-1] + b"\r",
]


@pytest.mark.parametrize(("raw", "source"), GOOD)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n", LINE])
def test_a_preface_tells_whose_the_connection_is(raw: bytes, source: str, behind: bytes) -> None:
    assert read(raw + behind) == Preface(len(raw), source)


@pytest.mark.parametrize("raw", [raw for raw, _ in GOOD])
def test_it_may_come_in_pieces(raw: bytes) -> None:
    assert {read(raw[:size]) for size in range(len(raw))} == {Missing.NOT_YET}


@pytest.mark.parametrize("raw", BAD)
def test_anything_else_is_none(raw: bytes) -> None:
    assert read(raw) is Missing.NEVER
    assert read(raw + bytes(5000)) is Missing.NEVER


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535))
def test_both_versions_tell_the_same(
    source: ipaddress.IPv4Address, here: ipaddress.IPv4Address, port: int, here_port: int
) -> None:
    here = type(source)(int(here) % 2**source.max_prefixlen)
    line = f"PROXY TCP{source.version} {source} {here} {port} {here_port}\r\n".encode()
    body = source.packed + here.packed + port.to_bytes(2, "big") + here_port.to_bytes(2, "big")
    family = 0x11 if source.version == 4 else 0x21
    told = str(plain(source))

    assert read(line) == Preface(len(line), told)
    assert read(version_2(family=family, body=body)) == Preface(16 + len(body), told)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(lambda rest: b"PROXY " + rest),
        st.binary(max_size=60).map(lambda rest: SIGNATURE + rest),
    )
)
def test_any_bytes_have_an_end(raw: bytes) -> None:
    """Once there are as many as a preface may have, it is one or none for good."""
    outcome = read(raw)

    if isinstance(outcome, Preface):
        assert outcome.bytes <= len(raw)
        assert not outcome.source or ipaddress.ip_address(outcome.source)
    if outcome is Missing.NEVER:
        assert read(raw + b"x") is Missing.NEVER
    assert read(raw + bytes(MOST_BYTES + 16)) is not Missing.NOT_YET
