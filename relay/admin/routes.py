"""How a topic declares an endpoint: who may use it, and what else than an answer may come of it.

@look("/api/v1/weather", summary="The weather", tags=["weather"])
async def weather(view: View) -> Weather: ...

@act("/api/v1/weather", summary="Change it", tags=["weather"])
async def change(view: View, data: Weather) -> None: ...

ROUTES = [weather, change]
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from litestar import delete, get, post, put
from litestar.connection import ASGIConnection
from litestar.exceptions import (
    HTTPException,
    NotFoundException,
    PermissionDeniedException,
    ValidationException,
)
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import Guard

from relay import log
from relay.admin.access import Permission
from relay.admin.asker import Silence
from relay.admin.entry import PERMISSIONS, WHO
from relay.admin.problems import MEDIA_TYPE, Problem
from relay.errors import JidError
from relay.protocol.jid import parse_user


def _specs(problems: Mapping[int, str]) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            Problem, description=words, generate_examples=False, media_type=MEDIA_TYPE
        )
        for status, words in problems.items()
    }


# What any request may be told.
_PROBLEMS: Final = _specs(
    {
        400: "a parameter is not as it must be",
        401: "there is no token, or none that is known",
        403: "the token does not allow it",
        404: "there is no such thing",
        413: "the request is too large",
        503: "whoever would have to be asked does not answer",
    }
)


def needs(permission: Permission) -> Guard:
    """Return the guard of a route for those who have `permission`."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not has(connection, permission):
            raise PermissionDeniedException(f"a token that may `{permission.value}` is needed")

    return guard


def has(connection: ASGIConnection[Any, Any, Any, Any], permission: Permission) -> bool:
    """Tell whether whoever asks has `permission`."""
    scope: Any = connection.scope
    return permission in scope.get(PERMISSIONS, ())


def who(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return who asks, as the log has it: by which door, and the line of a token."""
    scope: Any = connection.scope
    return str(scope.get(WHO, "?"))


def acted(connection: ASGIConnection[Any, Any, Any, Any], action: str, **fields: object) -> None:
    """Log, once, what an operator has done: never a text or a token."""
    log.get_logger().info("admin.acted", action=action, by=who(connection), **fields)


def also(problems: Mapping[int, str]) -> dict[int, ResponseSpec]:
    """Return what a request may be told besides what any may, for `responses` of a route."""
    return {**_PROBLEMS, **_specs(problems)}


def known(answer: Any) -> Any:
    """Return an answer that is one.

    Raises:
        HTTPException: 503: it is a `Silence`, of the only one who could say.
    """
    if isinstance(answer, Silence):
        raise HTTPException(f"{answer} could not be asked: {answer.reason}", status_code=503)
    return answer


def missing(what: str) -> NotFoundException:
    """Return the error to raise where there is no such thing as was asked for."""
    return NotFoundException(what)


def local_of(jid: str) -> str:
    """Return the local part of a user's jid in a path.

    Raises:
        ValidationException: 400: it is none.
    """
    try:
        return parse_user(jid)
    except JidError as error:
        raise ValidationException(str(error)) from None


look: Final = partial(get, responses=_PROBLEMS, guards=[needs(Permission.READ)])
act: Final = partial(post, status_code=200, responses=_PROBLEMS, guards=[needs(Permission.ACT)])
replace: Final = partial(put, responses=_PROBLEMS, guards=[needs(Permission.ACT)])
remove: Final = partial(
    delete, status_code=200, responses=_PROBLEMS, guards=[needs(Permission.ACT)]
)
