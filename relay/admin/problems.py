"""How the API says that something cannot be: one shape, whatever it is."""

from __future__ import annotations

from http import HTTPStatus

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered (RFC 9457, as application/problem+json)."""

    status: int
    title: str  # of the status
    detail: str  # of this request, for people


MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str) -> Problem:
    """Return what to say."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return Problem(status, title, detail)
