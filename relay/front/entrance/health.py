"""Health checks at the clients' port: does the front serve, and should clients be sent to it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from relay.front.entrance import head
from relay.front.entrance.answer import Answer, answer
from relay.front.entrance.head import Head

_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# No answer is of use later; OPTIONS asks what may be asked.
_HEADERS: Final = "Cache-Control: no-store\r\nAllow: GET, HEAD, OPTIONS\r\n"


def _good(word: str) -> Answer:
    return answer(200, "OK", "health_checks", text=word, headers=_HEADERS)


def _bad(word: str) -> Answer:
    return answer(503, "Service Unavailable", "health_checks_failed", text=word, headers=_HEADERS)


_SERVING: Final = _good("serving")


class Readiness(enum.Enum):
    """What `/readyz` says."""

    READY = _good("ready")
    WAITING = _bad("waiting")  # for a worker
    DRAINING = _bad("draining")
    ISOLATED = _bad("isolated")  # this host is without a majority of its cluster


def answer_to(request: Head, readiness: Callable[[], Readiness]) -> Answer | None:
    """Return what a health check is answered with; None: it is none.

    `readiness` is asked by few, because it goes through all slots.
    """
    if request.target == "/healthz" and request.method in _METHODS:
        said = _SERVING
    elif (request.target == "/readyz" and request.method in _METHODS) or (
        # HAProxy checks so, unless it is told otherwise.
        request.target == "/" and request.method == "OPTIONS"
    ):
        said = readiness().value
    else:
        return None
    return said.bare() if request.method == "HEAD" else said


def answer_to_raw(data: bytes, readiness: Callable[[], Readiness]) -> Answer | None:
    """Return the same where `data` is a whole request and nothing else."""
    request = head.parse(data)
    return None if request is None else answer_to(request, readiness)
