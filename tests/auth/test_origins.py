"""Whose pages may connect."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.auth.origins import Origins
from relay.settings.tables import ServerSettings

HOST = "relay.example:9011"
ANOTHER = "another host than the one connected to"
UNLISTED = "not one of server.allowed_origins"
NO_PAGE = "no web server's page"
LISTED = ("https://chat.example.org", "http://[::1]:8080", "https://*.corp.example", "app://id")

SETTING = get_type_hints(ServerSettings, include_extras=True)["allowed_origins"]

labels = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
schemes = st.sampled_from(["http", "https"])


@pytest.mark.parametrize(
    ("allowed", "origin", "host", "reason"),
    [
        # By default: pages of the host that is connected to.
        ((), "http://relay.example:9011", HOST, None),
        ((), "HTTP://Relay.Example:9011", HOST, None),
        ((), "https://relay.example:9011", HOST, None),
        ((), "https://relay.example", "relay.example", None),
        ((), "https://relay.example:443", "relay.example", None),
        ((), "https://relay.example", "relay.example:443", None),
        ((), "http://relay.example", "relay.example:80", None),
        ((), "http://[::1]:9011", "[::1]:9011", None),
        ((), "http://relay.example", HOST, ANOTHER),
        ((), "https://relay.example:80", "relay.example", ANOTHER),
        ((), "http://relay.example:9012", HOST, ANOTHER),
        ((), "http://evil.example:9011", HOST, ANOTHER),
        ((), "http://x.relay.example:9011", HOST, ANOTHER),
        ((), "http://relay.example.evil:9011", HOST, ANOTHER),
        ((), "http://relay.example.:9011", HOST, ANOTHER),
        ((), "ftp://relay.example:9011", HOST, ANOTHER),
        ((), "http://relay.example:9011", "", ANOTHER),
        ((), "http://relay.example:9011", "relay.example:9011,relay.example:9011", ANOTHER),
        ((), "null", HOST, NO_PAGE),
        ((), "", HOST, NO_PAGE),
        ((), "file://", HOST, NO_PAGE),
        ((), "relay.example:9011", HOST, NO_PAGE),
        ((), "http://relay.example:9011/", HOST, NO_PAGE),
        ((), "http://relay.example:9011 http://relay.example:9011", HOST, NO_PAGE),
        ((), "http://user@relay.example:9011", HOST, NO_PAGE),
        ((), "http://relay.example:9011\n", HOST, NO_PAGE),
        ((), "http://rélay.example:9011", HOST, NO_PAGE),
        # A list: those in it, and no others.
        (LISTED, "https://chat.example.org", HOST, None),
        (LISTED, "https://CHAT.example.org:443", HOST, None),
        (LISTED, "http://[::1]:8080", HOST, None),
        (LISTED, "app://id", HOST, None),
        (LISTED, "https://a.corp.example", HOST, None),
        (LISTED, "http://relay.example:9011", HOST, UNLISTED),
        (LISTED, "http://chat.example.org", HOST, UNLISTED),
        (LISTED, "https://chat.example.org:8443", HOST, UNLISTED),
        (LISTED, "https://evil.chat.example.org", HOST, UNLISTED),
        (LISTED, "https://evilchat.example.org", HOST, UNLISTED),
        (LISTED, "https://corp.example", HOST, UNLISTED),
        (LISTED, "https://.corp.example", HOST, UNLISTED),
        (LISTED, "https://a.b.corp.example", HOST, UNLISTED),
        (LISTED, "http://a.corp.example", HOST, UNLISTED),
        (LISTED, "https://evilcorp.example", HOST, UNLISTED),
        (LISTED, "null", HOST, NO_PAGE),
        # Everybody.
        (("*",), "https://evil.example", HOST, None),
        (("https://chat.example.org", "*"), "null", HOST, None),
    ],
)
def test_a_page_comes_in_or_hears_why_not(
    allowed: tuple[str, ...], origin: str, host: str, reason: str | None
) -> None:
    assert Origins(allowed).refusal([origin], [host]) == reason


@pytest.mark.parametrize("allowed", [(), LISTED, ("*",)])
def test_what_is_no_page_always_comes_in(allowed: tuple[str, ...]) -> None:
    assert Origins(allowed).refusal([], [HOST]) is None
    assert Origins(allowed).refusal([], []) is None


def test_two_origins_are_those_of_no_browser() -> None:
    own = "http://relay.example:9011"

    assert Origins(()).refusal([own, own], [HOST]) == "more than one Origin"
    assert Origins(LISTED).refusal([LISTED[0], LISTED[0]], [HOST]) == "more than one Origin"
    assert Origins(("*",)).refusal([own, own], [HOST]) is None


def test_two_hosts_are_nobodys() -> None:
    assert Origins(()).refusal(["http://relay.example:9011"], [HOST, HOST]) == ANOTHER
    assert Origins(()).refusal(["http://relay.example:9011"], []) == ANOTHER


@given(schemes, hosts, ports, hosts, ports)
def test_by_default_host_and_port_decide(
    scheme: str, page: str, page_port: str, host: str, port: str
) -> None:
    default = ":80" if scheme == "http" else ":443"
    same = (page, page_port or default) == (host, port or default)

    reason = Origins(()).refusal([f"{scheme}://{page}{page_port}"], [f"{host}{port}"])

    assert (reason is None) == same
    assert Origins(()).refusal([f"{scheme}://{host}{port}"], [f"{host}{port}"]) is None


@given(schemes, hosts, ports, st.lists(labels, max_size=3))
def test_a_label_left_open_is_one_label(
    scheme: str, parent: str, port: str, more: list[str]
) -> None:
    origins = Origins([f"{scheme}://*.{parent}{port}"])
    page = ".".join([*more, parent])

    reason = origins.refusal([f"{scheme}://{page}{port}"], [])

    assert (reason is None) == (len(more) == 1)


@given(st.text(max_size=80), st.text(max_size=40))
@example("http://" + "a" * 254, "a" * 254)
@example("http://a:99999", "a:99999")
def test_hostile_text_is_refused_or_is_the_same_host(origin: str, host: str) -> None:
    for allowed in ((), LISTED):
        reason = Origins(allowed).refusal([origin], [host])
        if reason is None:
            assert origin.lower().partition("://")[2].startswith(re.split(":", host.lower())[0])


@given(
    st.one_of(
        st.text(max_size=40),
        st.builds("{}://{}{}{}".format, schemes, st.sampled_from(["*.", "*", ""]), hosts, ports),
    )
)
@example("https://*.example.org")
@example("*")
@example("https://example.org/")
@example("https://[::1]:1")
@example("null")
def test_the_settings_take_what_is_an_origin(text: str) -> None:
    assert is_taken(lambda: Origins([text])) == is_taken(lambda: msgspec.convert([text], SETTING))


def is_taken(take: Callable[[], object]) -> bool:
    try:
        take()
    except ValueError:
        return False
    return True
