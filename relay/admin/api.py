"""The API: every topic's endpoints as one application, with its OpenAPI document.

A topic is a module of `relay.admin.topics` with `ROUTES` (relay.admin.routes); nothing lists them.
In a cluster there are those of `relay.admin.clustertopics` besides.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from relay import __version__, log
from relay.admin.problems import MEDIA_TYPE, Problem, problem
from relay.admin.view import View
from relay.inquiries.contract import topics_of

# A request has no more than a message's text, or a group's members.
MAX_BODY_BYTES: Final = 1024 * 1024


def _is_nowhere(*_: object) -> None:
    raise NotFoundException


def make_api(view: View) -> Litestar:
    """Return the application."""
    topics = topics_of("relay.admin.topics")
    if view.settings.cluster.is_on:
        topics += topics_of("relay.admin.clustertopics")
    return Litestar(
        [route for topic in topics for route in topic.ROUTES],
        dependencies={"view": Provide(lambda: view, sync_to_thread=False)},
        exception_handlers={
            HTTPException: _said,
            RecursionError: _too_deep,
            Exception: _failed,
        },
        openapi_config=OpenAPIConfig(
            title="Relay",
            version=__version__,
            # A topic of its own answers with the document: the library's pages load scripts from
            # other hosts, and say in HTML what they have not.
            openapi_router=Router(
                "/schema", route_handlers=[], guards=[_is_nowhere], include_in_schema=False
            ),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(
                security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}
            ),
            security=[{"token": []}, {}],
        ),
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        debug=False,
    )


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response[Problem]:
    content = problem(status, detail)
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _said(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    detail = error.detail
    if isinstance(error.extra, list):
        detail = "; ".join(f"{each.get('key', '')}: {each.get('message')}" for each in error.extra)
    return _answer(error.status_code, detail, error.headers)


def _too_deep(_: Request[Any, Any, Any], __: RecursionError) -> Response[Problem]:
    # Nothing else here goes as deep as whoever asks wants it to.
    return _answer(400, "the request is nested too deeply")


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.get_logger().error("admin.failed", path=request.url.path, exc_info=error)
    return _answer(500, "the admin failed at this; its log says why")
