"""A key set is fetched from the address that was named, and from nowhere else."""

from __future__ import annotations

import gzip

import pytest

from relay.auth import fetch as module
from relay.auth.fetch import MAX_BYTES, Fetched, FetchFailed, fetch
from tests.auth.publisher import Handler, Publisher, says


def test_what_is_published_is_fetched() -> None:
    with Publisher(says(200, b"{}")) as publisher:
        assert fetch(publisher.url) == Fetched(b"{}", None)


@pytest.mark.parametrize(
    ("said", "age_s"),
    [
        ("max-age=60", 60.0),
        ("public, Max-Age=60, must-revalidate", 60.0),
        ('max-age="60"', 60.0),
        ("no-store", 0.0),
        ("no-cache, max-age=60", 0.0),
        ("s-maxage=60", None),
        ("max-age=-1", None),
        ("max-age=soon", None),
        ("x" * 1000, None),
    ],
)
def test_how_long_it_is_good_is_its_own_word(said: str, age_s: float | None) -> None:
    with Publisher(says(200, b"{}", Cache_Control=said)) as publisher:
        assert fetch(publisher.url).max_age_s == age_s


def redirects(handler: Handler) -> None:
    if handler.path != "/keys":
        raise AssertionError("it was followed")
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(404, b""), "it answers with HTTP 404"),
        (says(204, b""), "it answers with HTTP 204"),
        (says(500, b"x" * 100), "it answers with HTTP 500"),
        (redirects, "it redirects"),
        (says(200, b"x" * (MAX_BYTES + 1)), f"its answer has over {MAX_BYTES} bytes"),
        (says(200, gzip.compress(b"x" * 10**6), Content_Encoding="gzip"), "is compressed"),
        (lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n"), "illegal status line"),
    ],
)
def test_any_other_answer_is_none(answer: object, reason: str) -> None:
    with (
        Publisher(answer) as publisher,  # type: ignore[arg-type]
        pytest.raises(FetchFailed, match=reason),
    ):
        fetch(publisher.url)


def test_nobody_there_and_nobody_who_speaks_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.2)
    with Publisher(says(200, b"")) as publisher:
        url = publisher.url

        def says_nothing(handler: Handler) -> None:
            handler.rfile.read(1)

        publisher.answer = says_nothing
        with pytest.raises(FetchFailed):
            fetch(url)
    with pytest.raises(FetchFailed):
        fetch(url)


@pytest.mark.parametrize("url", ["http://", "https://[", "http://127.0.0.1:x/", "http://a b/"])
def test_what_is_no_address_is_a_failure(url: str) -> None:
    with pytest.raises(FetchFailed):
        fetch(url)
