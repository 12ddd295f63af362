"""Sets of addresses and networks."""

from __future__ import annotations

import pytest

from relay.front.networks import Networks, plain_text

SOME = Networks(["127.0.0.0/8", "10.0.0.7", "2001:db8::/32"])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.3",
        "10.0.0.7",
        "::ffff:10.0.0.7",
        "2001:db8:1::5",
        "2001:db8::1%eth0",
    ],
)
def test_an_address_is_in_one_of_them(address: str) -> None:
    assert SOME.has_text(address)


@pytest.mark.parametrize("address", ["10.0.0.8", "::ffff:10.0.0.8", "::1", "2001:db9::", ""])
def test_another_is_in_none(address: str) -> None:
    assert not SOME.has_text(address)


def test_an_address_is_the_same_again_and_few_are_remembered() -> None:
    some = Networks(["10.0.0.0/24"])

    for _ in range(2):
        for number in range(3000):
            address = f"10.0.{number // 256}.{number % 256}"
            assert some.has_text(address) == (number < 256)
    assert len(some._known) <= 1000


def test_none_of_them_have_nobody() -> None:
    assert not Networks([])
    assert not Networks([]).has_text("127.0.0.1")
    assert SOME


def test_what_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Networks(["10.0.0.7/8"])


@pytest.mark.parametrize(
    ("named", "plain"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("::ffff", "::ffff")],
)
def test_an_address_of_a_socket_that_takes_both_kinds_is_told_plainly(
    named: str, plain: str
) -> None:
    """So that an operator's endpoint and log know one user by one address."""
    assert plain_text(named) == plain
