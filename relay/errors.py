"""Every error that the relay raises on purpose, and whose fault it is.

RelayError
 +- SettingsError   the operator's: a file, flag or value that cannot be used (exit 2)
 +- BootError       the machine's: port taken, directory not writable, store unreadable (exit 1)
 +- DiskError       the machine's: a small file could not be replaced; the old one stands
 +- StoreWriteError the machine's: the disk refused a write (the worker starts again)
 +- StoreDamaged    the machine's: a store's file is not as it was left
 +- BackupFailed    the machine's: there is no copy of the stores
 +- MailboxFull     nobody's: a mailbox is at its limit (its sender is refused)
 +- JidError        the client's: not an address
 +- FrameError      the client's: answered with an `error` frame, the connection stays open
 +- ClientError     what relay.client tells the programs that use it; its kinds are in
                    relay.client.errors

Anything else that escapes is a bug of ours: it crashes the process it is in, and the supervisor
starts that process again.
"""

from typing import Final

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


class DiskError(RelayError):
    """A small file could not be written; what it held before is still there, whole."""


class StoreWriteError(RelayError):
    """The disk failed at a write: the batch may be stored or not, and nothing of it is answered."""


class StoreDamaged(RelayError):
    """A file of a store is not whole; `str(error)` says why, without naming the file."""


class BackupFailed(RelayError):
    """There is no backup; what was written of it is no data directory."""


class MailboxFull(RelayError):
    """A mailbox is at its limit and holds nothing that may be evicted; nothing was queued."""


class JidError(RelayError, ValueError):
    """The text is no jid of the kind asked for (PROTOCOL R11)."""


class FrameError(RelayError):
    """A frame, or one message element of it, that is refused with an `error` frame.

    `code` is one of PROTOCOL section 5. `tag` and `message_id` are empty where unknown.
    `retry_after_s` goes with 429 and 503. `is_of_shape` is false where the shape is right, and what
    it holds is not: a rate limit comes between the two (PROTOCOL 2.3.2).
    """

    def __init__(
        self,
        code: int,
        reason: str,
        *,
        tag: str = "",
        message_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.tag = tag
        self.message_id = message_id
        self.retry_after_s = retry_after_s
        self.is_of_shape = True


class ClientError(RelayError):
    """Base of what a client raises for reasons outside the calling program."""
