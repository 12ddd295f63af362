"""What a door says in place of a handshake."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """A whole HTTP response, and the counter of those who get it."""

    response: bytes
    counter: str

    def bare(self) -> Answer:
        """Return it without its text, as HEAD asks for it."""
        return self._replace(response=self.response[: self.response.index(b"\r\n\r\n") + 4])


def answer(status: int, phrase: str, counter: str, *, text: str = "", headers: str = "") -> Answer:
    """Return one that says `text`, or the phrase; each of `headers` ends its line."""
    text = text or phrase
    response = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n{headers}"
        f"Content-Type: text/plain\r\nContent-Length: {len(text) + 1}\r\n\r\n{text}\n"
    )
    return Answer(response.encode(), counter)
