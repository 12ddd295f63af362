"""Every error that the relay raises on purpose, and whose fault it is.

RelayError
 +- SettingsError   the operator's: a file, flag or value that cannot be used (exit 2)
 +- BootError       the machine's: port taken, directory not writable, store unreadable (exit 1)
 +- NoDescriptor    the machine's: no file or socket can be opened for now
 +- DiskError       the machine's: a small file could not be replaced; the old one stands
 +- StoreWriteError the machine's: the disk refused a write (the worker starts again)
 +- NotConfirmed    nobody's: a worker has to end before a majority has its last record
 +- NotFolded       the machine's: the pages of a store take no more, its journal has it all
 +- StoreDamaged    the machine's: a store's file is not as it was left
 |   +- StoreForeign   the operator's: it is whole, but of another format
 +- LogDamaged      the machine's: a record of a range's log is none that this version knows
 +- Fenced          nobody's: another process owns the range now (the worker starts as a standby)
 +- LogLostData     the engine's: its log lacks what a majority had acked (the range stops)
 +- BackupFailed    the machine's: there is no copy of the stores
 +- NotAsked        the operator's: no relay runs there, it does not answer, or it says no
 |   +- NotAnswered    the machine's: nobody knows what became of it; the same may be asked again
 +- MailboxFull     nobody's: a mailbox is at its limit (its sender is refused)
 +- JidError        the client's: not an address
 +- FrameError      the client's: answered with an `error` frame, the connection stays open
 +- WireLost, ApiError and others  the engine's of a cluster: in relay.cluster.natswire and
                    relay.cluster.jetstream
 +- ClientError     what relay.client tells the programs that use it; its kinds are in
                    relay.client.errors

Anything else that escapes is a bug of ours: it crashes the process it is in, and the supervisor
starts that process again.
"""

from typing import Final, NamedTuple

# Mistakes in one line of the log; a file has more of them only where it is another kind of file.
_MOST_SHOWN: Final = 5


class RelayError(Exception):
    """Base of all deliberate errors; `str(error)` is one line for a person."""


class SettingsError(RelayError):
    """The operator gave something unusable; a line names where, what, and what is allowed.

    `problems` are all mistakes that were found, one line each. `str(error)` is one line all the
    same, with the first few of them.
    """

    def __init__(self, *problems: str) -> None:
        shown = [*problems[:_MOST_SHOWN]]
        if len(problems) > _MOST_SHOWN:
            shown.append(f"and {len(problems) - _MOST_SHOWN} more mistakes")
        super().__init__("; ".join(shown))
        self.problems = problems


class BootError(RelayError):
    """The process cannot start here and trying again at once would not help."""


class NoDescriptor(RelayError):
    """This process, or the machine, may open no more files for now; trying again may help."""


class DiskError(RelayError):
    """A small file could not be written; what it held before is still there, whole."""


class StoreWriteError(RelayError):
    """The disk failed at a write: the batch may be stored or not, and nothing of it is answered."""


class NotConfirmed(RelayError):
    """A record may be in its log, or not, and there is no time to find out: nothing is said."""


class NotFolded(RelayError):
    """A store's pages take no more: what was committed is in its journal, and is not lost."""


class StoreDamaged(RelayError):
    """A file of a store is not whole; `str(error)` says why, without naming the file."""


class StoreForeign(StoreDamaged):
    """A file of a store has a format that this version does not read; nothing is wrong with it."""


class LogDamaged(RelayError):
    """A record of a log cannot be what was written there, or a later version has written it."""


class Fenced(RelayError):
    """Another process owns the range since `epoch`: this one may write no more, and says nothing.

    What it has sent and was not told of as committed may be in the log, or not.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__(f"another process owns the range since epoch {epoch}")
        self.epoch = epoch


class LogLostData(RelayError):
    """The log ends at `found`, or has others' records there, and had acked `acked` before.

    Nobody may write on, or what was acked is lost for good: an operator must look.
    """

    def __init__(self, acked: int, found: int) -> None:
        super().__init__(
            f"the log has lost records: it had acked {acked} as stored by a majority,"
            f" and what it has now, up to {found}, is not what was written"
        )
        self.acked = acked
        self.found = found


class BackupFailed(RelayError):
    """There is no backup; what was written of it is no data directory."""


class NotAsked(RelayError):
    """A relay could not be asked, or said no; nothing was done.

    `status` is that of its answer, 0 where there was none.
    """

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


class NotAnswered(NotAsked):
    """A relay was asked, and did not say what became of it: it may be done, or not."""


class MailboxFull(RelayError):
    """A mailbox is at its limit and holds nothing that may be evicted; nothing was queued."""


class ShareFull(MailboxFull):
    """The author has as much in a mailbox as one may, and nothing of it may be evicted."""


class JidError(RelayError, ValueError):
    """The text is no jid of the kind asked for (PROTOCOL R11)."""


class Refusal(NamedTuple):
    """Why a frame, or one message element of it, is refused: what its `error` frame says.

    `code` is one of PROTOCOL section 5. `tag` (the frame's, or the name that a request gave
    itself), `message_id` and `prefix` (E2) are empty where unknown. `retry_after_s` goes with 429
    and 503.
    `of_content` is true where the shape is right, and what it holds is not: a rate limit comes
    between the two (2.3.2).
    """

    code: int
    reason: str
    tag: str = ""
    message_id: str = ""
    retry_after_s: int | float | None = None
    prefix: str = ""
    of_content: bool = False


class FrameError(RelayError):
    """A frame is refused with an `error` frame; `refusal`, which never changes, says how."""

    def __init__(self, code: int, reason: str, *, tag: str = "", message_id: str = "") -> None:
        super().__init__(reason)
        self.refusal = Refusal(code, reason, tag, message_id)

    @classmethod
    def of(cls, refusal: Refusal) -> "FrameError":
        """Return the error that carries `refusal`."""
        error = cls(refusal.code, refusal.reason)
        error.refusal = refusal
        return error


class ClientError(RelayError):
    """Base of what a client raises for reasons outside the calling program."""
