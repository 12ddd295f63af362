"""GET /chat/: the chat page, a client of the relay like any other; nothing of the API is in it."""

from __future__ import annotations

from importlib.resources import files
from typing import Final
from urllib.parse import urlsplit

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from relay.admin.entry import CHAT_PART_PATHS
from relay.admin.routes import missing
from relay.admin.view import View

_TYPES: Final = {"css": "text/css", "js": "text/javascript"}
# In the page: where it is to connect to. A setting's pattern lets nothing in that ends the quotes.
_NOWHERE: Final = '<meta name="relay" content="">'


def _read(name: str) -> str:
    return (files("relay") / "web" / "chat" / name).read_text()


def _answer(view: View, content: str, media_type: str) -> Response[str]:
    """Return a part of a page that connects to `admin.chat_url`, and to nothing else.

    Raises:
        NotFoundException: there is no such page here.
    """
    relay = urlsplit(view.settings.admin.chat_url)
    if not relay.netloc:
        raise missing("there is no chat page: admin.chat_url is empty")
    headers = {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self';"
            f" connect-src {relay.scheme}://{relay.netloc}; img-src data:; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
            " trusted-types 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(content, media_type=media_type, headers=headers)


def _part(path: str, name: str) -> HTTPRouteHandler:
    content, media_type = _read(name), _TYPES[name.rpartition(".")[2]]

    @get(path, include_in_schema=False, sync_to_thread=False, name=f"chat {name}")
    def part(view: View) -> Response[str]:
        return _answer(view, content, media_type)

    return part


_page: Final = _read("index.html")
assert _NOWHERE in _page


@get("/chat/", include_in_schema=False, sync_to_thread=False, name="chat")
def page(view: View, request: Request[None, None, State]) -> Response[str]:
    """Answer with the page."""
    somewhere = _NOWHERE.replace('""', f'"{view.settings.admin.chat_url}"')
    answer = _answer(view, _page.replace(_NOWHERE, somewhere), "text/html")
    # To the library both are one path, but what the page loads is below that with the slash.
    if not request.scope["raw_path"].endswith(b"/"):
        return Response("", status_code=307, headers={"Location": "chat/"})
    return answer


ROUTES = [page, *(_part(path, name) for path, name in CHAT_PART_PATHS.items())]
