"""What an admin answers those of other hosts itself, by the topics of `relay.admin.inquiries`."""

from __future__ import annotations

import inspect
from typing import Any, Final

import msgspec

from relay import log
from relay.admin.view import View
from relay.inquiries.contract import (
    FAILED,
    UNKNOWN,
    Answered,
    Handler,
    NoAnswer,
    encode,
    handlers_of,
)

_PACKAGE: Final = "relay.admin.inquiries"


class Answers:
    """Those of an admin; its topics are loaded when somebody asks for the first time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._by_name: dict[str, tuple[Handler, msgspec.msgpack.Decoder[Any]]] = {}

    async def answer(self, name: str, body: bytes) -> Answered:
        """Return what is answered to the inquiry of that name, or why nothing is."""
        if not self._by_name:
            self._by_name = {
                kind.name: (handler, msgspec.msgpack.Decoder(kind))
                for kind, handler in handlers_of(_PACKAGE, self._view).items()
            }
        if name not in self._by_name:
            return Answered(0, code=UNKNOWN, reason=f"it does not know {name}")
        handler, decoder = self._by_name[name]
        try:
            answer = handler(decoder.decode(body))
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception:
            # It was only asked: whatever fails in that is nothing to end for.
            log.get_logger().exception("inquiry.failed", name=name)
            return Answered(0, code=FAILED, reason="it failed at this; its log says why")
        if isinstance(answer, NoAnswer):
            return Answered(0, code=answer.code, reason=answer.reason)
        return Answered(0, msgspec.Raw(encode(answer)))
