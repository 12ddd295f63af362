"""The accords that a host wants all hosts to have: at most one is taken in place of another one."""

from __future__ import annotations

import time
import zlib
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

from relay.cluster.jetstream import WrongLastSequence, kv_put
from relay.cluster.natswire import MessageTooLarge, Wire
from relay.cluster.shared import PATHS, SharedDamaged, bring_up_to_date, read_kept
from relay.disk.accord import Origin, decode_accord
from relay.errors import DiskError, SettingsError
from relay.process.control import AccordSettled

KEY: Final = "accord"
# An election of who leads the bucket takes up to 9 s.
WITHIN_S: Final = 12.0
# Between two tries, where another host tries too.
AGAIN_S: Final = 0.2
_ANSWER_S: Final = 2.0


class _Wanted(NamedTuple):
    """An accord that is to be that of all hosts, in place of the one `before`."""

    number: int
    before: Origin
    content: bytes
    until_s: float


class Proposals:
    """Those of one host. `put` and `settled` are of one thread, the rest of another one."""

    def __init__(self, cluster: str, data: Path) -> None:
        """Want nothing yet; `data` is the data directory."""
        self._cluster = cluster
        self._path = PATHS[KEY](data)
        self._wanted: deque[_Wanted] = deque()
        self._settled: deque[AccordSettled] = deque()

    def put(self, number: int, before: Origin, content: bytes) -> None:
        """Want an accord; `settled` tells the end of it, by its number."""
        self._wanted.append(_Wanted(number, before, content, time.monotonic() + WITHIN_S))

    def settled(self) -> list[AccordSettled]:
        """Return what became of those that are settled since this was asked last."""
        found = []
        while self._settled:
            found.append(self._settled.popleft())
        return found

    @property
    def has_settled(self) -> bool:
        """Whether `settled` has something to return."""
        return bool(self._settled)

    def share(self, wire: Wire) -> Origin | None:
        """Have what is wanted be the accord, where nobody was faster; return the one it is then.

        What is not answered is to be tried again, by another call.

        Raises:
            TimeoutError, WireLost, ApiError: as `kv_put`.
        """
        shared = None
        while self._wanted:
            wanted = self._wanted[0]
            refusal = self._try(wire, wanted)
            if refusal is None:
                self.give_up_late("others change it at the same time")
                time.sleep(AGAIN_S)
                continue
            if not refusal:
                shared = decode_accord(wanted.content).origin
            self._end(refusal)
        return shared

    def _try(self, wire: Wire, wanted: _Wanted) -> str | None:
        """Return "" where all have it, None where that is to be tried again, or why it cannot be.

        A try that nobody has answered may have come through.
        """
        try:
            kept = read_kept(wire, self._cluster, KEY, _ANSWER_S)
            if kept.content != wanted.content:
                if kept.content is not None:
                    origin = decode_accord(kept.content).origin
                    if origin != wanted.before:
                        return f"{origin.by} was faster: the cluster has settings {origin} by now"
                kv_put(
                    *(wire, self._cluster, KEY, zlib.compress(wanted.content)),
                    expected=kept.revision,
                    timeout_s=_ANSWER_S,
                )
        except WrongLastSequence:  # of which a leader without a majority is as sure
            return None
        except (SharedDamaged, SettingsError, MessageTooLarge) as error:
            return str(error)
        try:
            bring_up_to_date(self._path, wanted.content)
        except DiskError as error:
            return f"all other hosts take it, and this one cannot: {error}"
        return ""

    def give_up_late(self, reason: str) -> None:
        """Let go of what has been tried for too long."""
        while self._wanted and time.monotonic() >= self._wanted[0].until_s:
            self._end(f"the cluster does not take it now: {reason}; it may hold nevertheless")

    def _end(self, refusal: str) -> None:
        self._settled.append(AccordSettled(self._wanted.popleft().number, refusal))
