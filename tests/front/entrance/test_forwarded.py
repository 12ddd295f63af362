"""Who is behind a proxy, by the headers that proxies add to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.front.entrance.forwarded import MOST_HOPS
from relay.front.entrance.head import Head
from relay.front.entrance.proxies import Proxies
from relay.settings.tables import ServerSettings
from tests.fuzz.targets.timing import in_linear_time

PROXY, NEAR = "10.0.0.7", "10.0.0.8"
TRUSTED = ("10.0.0.0/24", "2001:db8:0:1::/64")
CLIENT, LIE = "192.0.2.1", "198.51.100.9"


def behind(*values: str, header: str = "X-Forwarded-For", other: str = "") -> str | None:
    proxies = Proxies(ServerSettings(trusted_proxies=TRUSTED, forwarded_header=header))  # type: ignore[arg-type]
    headers = [("host", "x"), *((header.lower(), value) for value in values)]
    if other:
        headers.append((other, LIE if other.startswith("x") else f"for={LIE}"))
    return proxies.client_of(PROXY, Head("GET", "/", headers))


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([], PROXY),
        ([""], PROXY),
        ([" , ,"], PROXY),
        ([CLIENT], CLIENT),
        ([f"{LIE}, {CLIENT}"], CLIENT),
        ([f"{LIE},\t{CLIENT} ,"], CLIENT),
        ([LIE, CLIENT], CLIENT),
        ([f"{LIE}, {CLIENT}", NEAR], CLIENT),
        ([f"{LIE}, {CLIENT}, {NEAR}, 10.0.0.9"], CLIENT),
        ([f"garbage {LIE}\0, {CLIENT}"], CLIENT),  # nobody reads so far
        ([NEAR], NEAR),
        ([f"{CLIENT}:4711"], CLIENT),
        (["2001:db8::5"], "2001:db8::5"),
        (["[2001:DB8:0::5]:80"], "2001:db8::5"),
        ([f"2001:db8::5, 2001:db8:0:1::9, ::ffff:{NEAR}"], "2001:db8::5"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        ([f"{LIE}, unknown"], PROXY),
        ([f"unknown, {NEAR}"], NEAR),
        ([f"{CLIENT}, garbage"], None),
        ([f"{CLIENT}, garbage, {NEAR}"], None),
        (["192.0.2.256"], None),
        (["192.0.2.1.5"], None),
        (["192.0.2.1:port"], None),
        (["[192.0.2.1"], None),
        (["fe80::1%eth0"], None),
        (["unix:"], None),
        ([", ".join([NEAR] * MOST_HOPS)], NEAR),
        ([", ".join([NEAR] * (MOST_HOPS + 1))], None),
    ],
)
def test_x_forwarded_for_names_the_rightmost_that_is_not_trusted(
    values: list[str], client: str | None
) -> None:
    assert behind(*values) == client
    assert behind(*values, other="forwarded") == client


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([], PROXY),
        ([f"for={CLIENT}"], CLIENT),
        ([f"For={CLIENT};proto=https;by=203.0.113.43"], CLIENT),
        ([f"proto=https ; for={CLIENT}"], CLIENT),
        ([f'for="{CLIENT}:4711"'], CLIENT),
        ([f"for={CLIENT}:4711"], CLIENT),
        (['for="[2001:db8::5]:80"'], "2001:db8::5"),
        (["for=[2001:db8::5]"], "2001:db8::5"),
        ([f'for="{CLIENT[:-1]}\\{CLIENT[-1]}"'], CLIENT),
        ([f"for={LIE}, for={CLIENT}"], CLIENT),
        ([f'for="{LIE}", ,for={CLIENT};host="a,b;c"', f"for={NEAR}"], CLIENT),
        ([f"for={LIE}, for=unknown"], PROXY),
        ([f"for=_hidden, for={NEAR}"], NEAR),
        ([f"for={LIE}, proto=https"], PROXY),
        ([f'for="{LIE}, for={CLIENT}'], None),  # a client began a quote
        ([f"for={CLIENT};for={LIE}"], None),
        ([f"for={CLIENT} x"], None),
        ([f"for = {CLIENT}"], None),
        (["for="], None),
        ([CLIENT], None),
        (['for="garbage"'], None),
    ],
)
def test_forwarded_names_the_rightmost_that_is_not_trusted(
    values: list[str], client: str | None
) -> None:
    assert behind(*values, header="Forwarded") == client
    assert behind(*values, header="Forwarded", other="x-forwarded-for") == client


@given(st.text(max_size=60), st.ip_addresses(), st.integers(0, 3))
def test_whatever_a_client_wrote_the_address_that_its_proxy_added_counts(
    lie: str, client: ipaddress.IPv4Address, proxies: int
) -> None:
    if any(client in ipaddress.ip_network(each) for each in TRUSTED):
        return
    added = [str(client), *[NEAR] * proxies]
    mapped = getattr(client, "ipv4_mapped", None)

    assert behind(", ".join([lie, *added])) == str(mapped or client)
    assert behind(lie, *added) == str(mapped or client)


@given(st.text(alphabet='for=by;,"\\ []:.19_unkow', max_size=60), st.booleans())
def test_any_text_is_an_address_or_is_refused(text: str, is_forwarded: bool) -> None:
    client = behind(text, header="Forwarded" if is_forwarded else "X-Forwarded-For")

    assert client is None or ipaddress.ip_address(client)


@pytest.mark.parametrize(
    "piece",
    [
        " ",
        ",",
        "\t, ",
        ";",
        '"',
        "\\",
        'for="',
        "for=1.1.1.1,",
        "a=b;",
        "a",
        "=",
        ":",
        "_",
        "[",
        "1",
    ],
)
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_the_cost_is_linear(piece: str, header: str) -> None:
    text = piece * (128 * 1024 // len(piece)) + "x"

    for each in (text, 'for="' + text):
        in_linear_time(lambda each=each: behind(each, header=header), len(each))  # type: ignore[misc]
