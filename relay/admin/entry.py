"""Who is let in at a door of the API: decided before anything else looks at the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from relay.admin.access import OF_THE_SOCKET, Permission, Tokens
from relay.admin.problems import MEDIA_TYPE, problem
from relay.admin.view import View

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[..., Awaitable[None]]

# In a request's scope: what it may.
PERMISSIONS: Final = "relay.permissions"
# And who asks, for the log.
WHO: Final = "relay.who"

# The page for a browser and its parts, which hold nothing of the relay: one needs no token to get
# them, since it is there that a token is typed in. The names of their files.
CONSOLE_PATHS: Final = {
    "/": "index.html",
    "/console.css": "console.css",
    "/console.js": "console.js",
}
# The chat page and its parts, likewise: whoever may chat, the relay itself decides.
CHAT_PART_PATHS: Final = {
    "/chat/chat.css": "chat.css",
    "/chat/chat.js": "chat.js",
    "/chat/relay-client.js": "relay-client.js",
}
_CHAT_PATHS: Final = frozenset({"/chat", "/chat/", *CHAT_PART_PATHS})
_NOTHING: Final[frozenset[Permission]] = frozenset()

_REALM: Final = b'Bearer realm="relay"'


class Entry:
    """The ASGI application at one door; `app` is behind it."""

    def __init__(self, app: App, view: View, tokens: Tokens, *, is_local: bool) -> None:
        self._app = app
        self._view = view
        self._tokens = tokens
        self._without_token = OF_THE_SOCKET if is_local else None
        self._door = "socket" if is_local else "tcp"

    async def __call__(self, scope: Scope, receive: Callable[..., Any], send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # there is nothing else here

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._view.counters[f"requests_{message['status']}"] += 1
            await send(message)

        permissions = self._permissions_of(scope)
        if permissions is None:
            await _refuse(counted)
            return
        scope[PERMISSIONS] = permissions
        scope[WHO] = self._who(scope)
        await self._app(scope, receive, counted)

    def _permissions_of(self, scope: Scope) -> frozenset[Permission] | None:
        given = _authorizations(scope)
        if not given:
            return self._without_token or (_NOTHING if self._is_page(scope) else None)
        scheme, _, token = given[0].partition(b" ")
        if len(given) > 1 or scheme.lower() != b"bearer":
            return None
        found = self._tokens.permissions_of(token.strip())
        return found if found is None else found | (self._without_token or frozenset())

    def _is_page(self, scope: Scope) -> bool:
        has_chat = bool(self._view.settings.admin.chat_url)
        path = scope["path"]
        is_there = path in CONSOLE_PATHS or (has_chat and path in _CHAT_PATHS)
        return is_there and scope["method"] == "GET"

    def _who(self, scope: Scope) -> str:
        """Return who asks, once he is let in."""
        given = _authorizations(scope)
        if not given:
            return self._door
        token = given[0].partition(b" ")[2].strip()
        return f"{self._tokens.name_of(token)} by {self._door}"


def _authorizations(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"authorization"]


async def _refuse(send: Send) -> None:
    body = msgspec.json.encode(problem(401, "a bearer token is needed, of admin.token_file"))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", _REALM),
        (b"connection", b"close"),  # what else comes along here is not worth reading
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})
