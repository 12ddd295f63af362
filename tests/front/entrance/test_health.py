"""What is a health check, and what it is answered."""

from __future__ import annotations

import pytest

from relay.front.entrance.head import Head
from relay.front.entrance.health import Readiness, answer_to, answer_to_raw

METHODS = ("GET", "HEAD", "OPTIONS")


def said(method: str, target: str, readiness: Readiness) -> tuple[bytes, bytes, bytes, str]:
    """The status, the text, the length that is told of it, and the counter."""
    answer = answer_to(Head(method, target, []), lambda: readiness)
    assert answer is not None
    head, _, text = answer.response.partition(b"\r\n\r\n")
    [length] = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
    return head[9:12], text, length, answer.counter


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("target", "readiness", "status", "word", "counter"),
    [
        ("/healthz", Readiness.READY, b"200", b"serving\n", "health_checks"),
        ("/healthz", Readiness.WAITING, b"200", b"serving\n", "health_checks"),
        ("/healthz", Readiness.DRAINING, b"200", b"serving\n", "health_checks"),
        ("/readyz", Readiness.READY, b"200", b"ready\n", "health_checks"),
        ("/readyz", Readiness.WAITING, b"503", b"waiting\n", "health_checks_failed"),
        ("/readyz", Readiness.DRAINING, b"503", b"draining\n", "health_checks_failed"),
    ],
)
def test_a_check_is_answered_with_a_status_and_one_word(
    method: str, target: str, readiness: Readiness, status: bytes, word: bytes, counter: str
) -> None:
    text = b"" if method == "HEAD" else word

    assert said(method, target, readiness) == (status, text, b"%d" % len(word), counter)


def test_haproxys_own_check_asks_whether_clients_may_be_sent() -> None:
    assert said("OPTIONS", "/", Readiness.READY)[0] == b"200"
    assert said("OPTIONS", "/", Readiness.DRAINING)[0] == b"503"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("GET", target) for target in ("/", "/healthz/", "/Healthz", "/healthz?x", "*", "/x")),
        ("HEAD", "/"),
        ("OPTIONS", "*"),
        ("POST", "/healthz"),
    ],
)
def test_anything_else_is_none(method: str, target: str) -> None:
    def unasked() -> Readiness:
        raise AssertionError("it takes long, and nobody needs it")

    assert answer_to(Head(method, target, []), unasked) is None


def test_of_raw_bytes_only_a_whole_request_is_one() -> None:
    raw = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

    assert answer_to_raw(raw, lambda: Readiness.READY) is not None
    for broken in (raw[:-1], raw + b"x", b"x" + raw, b""):
        assert answer_to_raw(broken, lambda: Readiness.READY) is None
