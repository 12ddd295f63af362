"""GET /: the console, one page for a browser. It holds nothing of the relay; its script asks."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from relay.admin.entry import CONSOLE_PATHS

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
_HEADERS: Final = {
    # Nothing from elsewhere, nothing inline, and no page of others around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _route(path: str, name: str) -> HTTPRouteHandler:
    content = (files("relay.admin") / "console" / name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    @get(path, include_in_schema=False, sync_to_thread=False, name=f"console {name}")
    def file() -> Response[bytes]:
        return Response(content, media_type=kind, headers=dict(_HEADERS))

    return file


ROUTES = [_route(path, name) for path, name in CONSOLE_PATHS.items()]
