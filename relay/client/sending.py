"""What becomes of one message, for whoever sent it and wants to wait."""

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any, Final, Generic, TypeVar

from relay.client.errors import SendRefused
from relay.client.events import Failed, Level, Receipt, Sent

T = TypeVar("T")

_STORED: Final = 1


class _Stage(Awaitable[T], Generic[T]):
    """Any number may wait for it, and giving a wait up ends nobody else's."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.shield(self._future).__await__()


class Sending:
    """A message under way: `await sending.sent`, and then `delivered` and `read`, if you like.

    Giving up a wait, also by `asyncio.timeout`, does not take the message back. In a group
    `delivered` and `read` are the first member's; each one's receipt is an event.

    Each wait raises:
        SendRefused: the relay refused it; nobody got it.
        LoginRefused, Replaced, ClientFault, ClientClosed: the client has ended. What has no ack 1
            may have been stored all the same.
    """

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self._level = 0
        self._event: Sent | Receipt | None = None
        self._error: BaseException | None = None
        self._stages: dict[int, asyncio.Future[Any]] = {}

    @property
    def sent(self) -> Awaitable[Sent | Receipt]:
        """Until the relay has stored it: by its ack 1, or a receipt that came before that."""
        return _Stage(self._at(_STORED))

    @property
    def delivered(self) -> Awaitable[Receipt]:
        """Until a recipient's client has it."""
        return _Stage(self._at(Level.DELIVERED))

    @property
    def read(self) -> Awaitable[Receipt]:
        """Until a recipient has read it."""
        return _Stage(self._at(Level.READ))

    @property
    def is_stored(self) -> bool:
        """Whether it has its ack 1, as far as is known."""
        return self._level >= _STORED

    def happened(self, event: Sent | Receipt | Failed) -> None:
        """Take what the relay says of this message."""
        match event:
            case Failed():
                self.end(SendRefused(event))
                return
            case Sent():
                level = _STORED
            case Receipt():
                level = event.level
        if level > self._level:
            self._level, self._event = level, event
        self._settle()

    def end(self, error: BaseException) -> None:
        """Nothing more will be heard of it."""
        self._error = self._error or error
        self._settle()

    def _at(self, level: int) -> asyncio.Future[Any]:
        if level not in self._stages:
            self._stages[level] = asyncio.get_running_loop().create_future()
            self._settle()
        return self._stages[level]

    def _settle(self) -> None:
        for level, stage in self._stages.items():
            if stage.done():
                continue
            if level <= self._level:
                stage.set_result(self._event)
            elif self._error is not None:
                stage.set_exception(self._error)
                stage.exception()  # who does not look does not want to be told
