"""Tokens: when they expire, and when to fetch another one."""

import base64
import json

import pytest

from relay.client.tokens import expiry_of, renew_in_s


def jwt(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"head.{part}.signature"


@pytest.mark.parametrize("exp", [1566970629, 1566970629.5])
def test_a_jwt_says_when_it_expires(exp: float) -> None:
    assert expiry_of(jwt({"sub": "asha", "exp": exp})) == exp


@pytest.mark.parametrize(
    "token",
    ["", "secret", "a.b", "a.b.c", "a.%%%.c", "é.é.é", jwt({}), jwt({"exp": "soon"}), jwt([1])],
)
def test_what_says_nothing_of_it_never_expires_here(token: str) -> None:
    assert expiry_of(token) is None


@pytest.mark.parametrize(
    ("left_s", "in_s"), [(3600.0, 3540.0), (100.0, 80.0), (3.0, 2.0), (0.5, -0.5)]
)
def test_another_one_is_fetched_some_time_before(left_s: float, in_s: float) -> None:
    assert renew_in_s(left_s) == pytest.approx(in_s)
