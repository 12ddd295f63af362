"""A relay for tests of its clients: it does what the test's scripts say, one per connection."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

DEADLINE_S = 10.0  # of any one wait; a green test waits milliseconds


def message(
    message_id: str, text: str = "hi", *, chat: str = "919428284313@s.whatsapp.com", by: str = ""
) -> list[Any]:
    """Return the `action` frame that delivers a message; `by` is a group's participant."""
    element: dict[str, Any] = {"key": {"fromMe": False, "id": message_id, "remoteJid": chat}}
    if by:
        element["participant"] = by
    element |= {"message": {"conversation": text}, "messageTimestamp": "1566970629"}
    return ["action", {"add": "relay"}, [element]]


def queue(*frames: list[Any]) -> list[Any]:
    """Return the `q` frame that holds `frames`."""
    return ["q", {"data": json.dumps([[], *frames]), "from": "backend"}]


def ack(
    message_id: str, level: int = 1, *, to: str = "919428284313@c.us", by: str = ""
) -> list[Any]:
    """Return an ack for a message of 917069852821; `by` makes it a member's `MsgInfo`."""
    body = {"id": message_id, "ack": level, "cmd": "ack", "to": to, "t": 1566970629}
    body["from"] = "917069852821@c.us"
    return ["MsgInfo", body | {"participant": by}] if by else ["Msg", body]


def error(code: int, reason: str, **more: Any) -> list[Any]:
    """Return an `error` frame."""
    return ["error", {"from": "backend", "type": "error", "code": code, "reason": reason, **more}]


AUTH_OK: list[Any] = ["auth", {"from": "backend", "status": "success"}]


class Session:
    """One connection of the client under test."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive(self) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return json.loads(await self._connection.recv())

    async def receive_text(self) -> str | bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self._connection.recv()

    async def send_text(self, text: str) -> None:
        await self._connection.send(text)

    async def send(self, *frames: list[Any]) -> None:
        for frame in frames:
            await self._connection.send(json.dumps(frame))

    async def log_in(self, *queues: list[Any]) -> None:
        """Accept the login, with these `q` frames, or an empty one."""
        tag, how, who = await self.receive()
        assert (tag, how) == ("auth", {"type": "new"})
        assert who["remoteJid"].endswith("@s.whatsapp.com")
        await self.send(AUTH_OK, *(queues or (queue(),)))

    async def receive_send(self) -> tuple[str, str]:
        """Return id and text of the `action` that comes next."""
        tag, how, [element] = await self.receive()
        assert (tag, how) == ("action", {"add": "relay"})
        return element["key"]["id"], element["message"]["conversation"]

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._connection.close(code, reason)

    async def drop(self) -> None:
        """End the connection as a crash would: no close frame."""
        self._connection.transport.abort()
        await self._connection.wait_closed()

    async def wait_closed(self) -> int | None:
        """Wait until the client left; return its close code."""
        async with asyncio.timeout(DEADLINE_S):
            await self._connection.wait_closed()
        return self._connection.protocol.close_code


Script = Callable[[Session], Awaitable[None]]


class FakeRelay:
    """`async with FakeRelay(first, second) as relay`: script n plays the n-th connection.

    After its script a connection stays open until the client leaves. What a script raises, and a
    connection too many, is raised when the block ends.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._failures: list[Exception] = []
        self._server: Server | None = None
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, ping_interval=None, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'wss' if self._tls else 'ws'}://127.0.0.1:{port}/"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if self._failures:
            raise self._failures[0]

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        try:
            if self.connections > len(self._scripts):
                raise AssertionError(f"connection {self.connections} was not expected")
            await self._scripts[self.connections - 1](Session(connection))
        except ConnectionClosed:
            pass  # the client left first; the test sees what it missed
        except Exception as failure:  # the test must fail by it, not the server's log
            self._failures.append(failure)
            await connection.close(4401)
        await connection.wait_closed()
