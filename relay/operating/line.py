"""The line to the admin process: HTTP over the socket in the run directory."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from relay.disk.locknote import LockNote, note_of
from relay.errors import NotAnswered, NotAsked

# The admin answers within a second; the first time it loads what answers.
TIMEOUT_S: Final = 15.0
SOCKET_NAME: Final = "admin.sock"
# The admin, or whoever it asks, did not hear in time, or is being started again.
_UNKNOWN: Final = (503, 504)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("relay", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def holder_of(data: Path) -> LockNote:
    """Return who holds a data directory, and where.

    Raises:
        NotAsked: no relay runs there.
    """
    try:
        note = note_of(data)
    except FileNotFoundError:
        raise NotAsked(f"{data} is no data directory of a relay; see --data") from None
    except OSError as error:
        raise NotAsked(f"{data / 'lock'} cannot be read: {error.strerror}") from None
    if not note.pid or not note.run_dirs:
        raise NotAsked(f"no relay runs on {data}; see --data")
    return note


class Line:
    """To the relay that serves one data directory."""

    def __init__(self, data: Path, token: str = "") -> None:
        """Find it; a `token` may more than whoever reaches the socket.

        Raises:
            NotAsked: no relay runs there.
        """
        self._data = data
        self._path = Path(holder_of(data).run_dirs[0]) / SOCKET_NAME
        self._token = token

    def get(self, *parts: str, **query: object) -> Any:
        """Return the JSON at the path of `parts`; what is None or empty of `query` is left out.

        Raises:
            NotAsked: the relay does not answer, or not with that.
        """
        return self._ask("GET", parts, query, None)

    def forward(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and content of what is answered, whatever it is.

        Raises:
            NotAsked: the relay does not answer.
        """
        connection = _Connection(self._path)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotAsked(f"the relay on {self._data} does not answer: {_words(error)}") from None
        finally:
            connection.close()

    def send(self, method: str, *parts: str, body: object = None, **query: object) -> Any:
        """Ask for something to be done; return the JSON that the answer is.

        Raises:
            NotAnswered: it may have been done, or not; the same may be asked again.
            NotAsked: as `get`.
        """
        content = None if body is None else msgspec.json.encode(body)
        return self._ask(method, parts, query, content)

    def _ask(
        self, method: str, parts: tuple[str, ...], query: dict[str, object], body: bytes | None
    ) -> Any:
        path = "/api/v1/" + "/".join(quote(part, safe="") for part in parts)
        given = {name: value for name, value in query.items() if value not in (None, "", False)}
        if given:
            path += "?" + urlencode({k: "true" if v is True else v for k, v in given.items()})
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = _Connection(self._path)
        try:
            self._connect(connection)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            what = "ask again" if method == "GET" else "it may have done it: look, or ask again"
            raise NotAnswered(
                f"the relay on {self._data} did not answer: {_words(error)}; {what}"
            ) from None
        finally:
            connection.close()
        try:
            said = msgspec.json.decode(content)
        except msgspec.DecodeError:
            raise NotAsked(f"the relay answered what is no JSON, with {answer.status}") from None
        if answer.status >= 400:
            kind = NotAnswered if answer.status in _UNKNOWN else NotAsked
            raise kind(str(said.get("detail") or said), answer.status)
        return said

    def _connect(self, connection: _Connection) -> None:
        try:
            connection.connect()
        except FileNotFoundError:
            raise NotAsked(
                f"the relay on {self._data} answers no operators: it is starting, has gone, or has"
                " --no-admin"
            ) from None
        except PermissionError:
            raise NotAsked(
                f"the relay on {self._data} is another user's: ask as that user, or as root"
            ) from None
        except OSError as error:
            raise NotAnswered(
                f"the relay on {self._data} answers nobody now: {_words(error)}; its admin may be"
                " starting again: ask again"
            ) from None


def _words(error: Exception) -> str:
    """Return what an error is, for people."""
    if isinstance(error, http.client.IncompleteRead):
        return "its answer was cut short"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
