"""What a standby was told by its supervisor and does not need, for the owner that it becomes."""

from __future__ import annotations

import os

from relay.process.channel import ChildEnd
from relay.process.control import FromSupervisor, GroupsChanged


class Inherited:
    """The last message of each kind: each tells the whole of what it is about."""

    def __init__(self, control: ChildEnd) -> None:
        self._control = control
        self._last: dict[type, FromSupervisor] = {}

    def put(self, message: FromSupervisor) -> None:
        """Keep it, in place of the one before.

        Of groups the memo comes with it, which waits in the channel: what it replaces is let go.
        """
        kind = type(message)
        if kind is GroupsChanged and kind in self._last:
            os.close(self._control.take_descriptor())
        self._last.pop(kind, None)
        self._last[kind] = message

    def take(self) -> tuple[FromSupervisor, ...]:
        """Return what is kept, in the order in which it came."""
        return tuple(self._last.values())
