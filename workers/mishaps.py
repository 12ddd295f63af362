"""What earlier incarnations of a worker died of, for the next one to do better.

Kept in the run directory, so it lasts as long as the supervisor. Two deaths leave word: a write
that the disk refused, after which sends are refused for a while instead of failing again; and a
stanza that raised where none may, of which the second time is the last (I7).
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import msgspec

from relay.bus.envelopes import (
    Ask,
    CloseSession,
    Confirmed,
    OpenSession,
    Pause,
    Ready,
    SendToGroup,
    SendToUser,
    ToWorker,
)
from relay.disk.files import replace_file
from relay.errors import DiskError

# A stanza that crashed the worker this often is set aside. The first crash may have had another
# cause that has passed.
CRASHES_ALLOWED = 2
MAX_SUSPECTS = 1000
# How long sends are refused after a write that failed; then one is tried again.
REFUSE_AFTER_WRITE_ERROR_MS = 5_000

_encode = msgspec.msgpack.Encoder().encode


class _Record(msgspec.Struct):
    write_failed_ms: int = 0
    write_error: str = ""
    crashes: dict[str, int] = msgspec.field(default_factory=dict)


class Mishaps:
    """The record of one worker index, read at its start and written before a death."""

    def __init__(self, run_dir: Path, index: int) -> None:
        self._path = run_dir / f"mishaps-{index}.json"
        try:
            self._record = msgspec.json.decode(self._path.read_bytes(), type=_Record)
        except FileNotFoundError:
            self._record = _Record()
        # Whether any stanza ever crashed the worker; without one nothing need be looked at.
        self.has_suspects = bool(self._record.crashes)

    def note_crash(self, stanza: ToWorker) -> None:
        """Count a crash that `stanza` caused; durable for the next incarnation when this returns.

        Raises:
            DiskError: it cannot be written down.
        """
        crashes = self._record.crashes
        name = fingerprint(stanza)
        crashes[name] = crashes.get(name, 0) + 1
        while len(crashes) > MAX_SUSPECTS:
            del crashes[next(iter(crashes))]
        self.has_suspects = True
        self._save()

    def is_poison(self, stanza: ToWorker) -> bool:
        """Whether `stanza` has crashed the worker so often that it is not to be tried again."""
        return self._record.crashes.get(fingerprint(stanza), 0) >= CRASHES_ALLOWED

    def note_write_error(self, error: str, *, now_ms: int) -> None:
        """Note that the disk refused a write.

        Raises:
            DiskError: it cannot be written down either.
        """
        self._record.write_failed_ms = now_ms
        self._record.write_error = error
        self._save()

    def write_refusal(self, *, now_ms: int) -> str:
        """Return why sends are refused after a failed write, for people; empty when they are not.

        A clock that was set back does not prolong it.
        """
        if not 0 <= now_ms - self._record.write_failed_ms < REFUSE_AFTER_WRITE_ERROR_MS:
            return ""
        return f"the store cannot be written: {self._record.write_error}"

    def _save(self) -> None:
        replace_file(self._path, msgspec.json.encode(self._record))


def keep(directory: Path, stanza: ToWorker) -> Path:
    """Write `stanza`, as it came, to a file of its own in `directory`, and return its path.

    Raises:
        DiskError: it cannot be written.
    """
    path = directory / f"{fingerprint(stanza)}.msgpack"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{directory} cannot be made: {error.strerror}") from None
    replace_file(path, _encode(stanza))
    return path


def fingerprint(stanza: ToWorker) -> str:
    """Return what a stanza is recognised by when it comes again, from whichever session."""
    match stanza:
        case SendToUser() | SendToGroup():
            stanza = msgspec.structs.replace(stanza, request=0)
        case OpenSession():
            stanza = msgspec.structs.replace(stanza, session=0, cursor=0, asked_ms=0)
        case Ask():
            stanza = msgspec.structs.replace(stanza, session=0, prefix="", name="")
        case Confirmed() | CloseSession() | Ready() | Pause():
            stanza = msgspec.structs.replace(stanza, session=0)
        case _:
            pass
    return blake2b(_encode(stanza), digest_size=16).hexdigest()
