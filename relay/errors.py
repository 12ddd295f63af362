"""Every error that the relay raises on purpose, and whose fault it is.

RelayError
 +- SettingsError   the operator's: a file, flag or value that cannot be used (exit 2)
 +- BootError       the machine's: port taken, directory not writable, store unreadable (exit 1)
 +- StoreWriteError the machine's: the disk refused a write (the worker starts again)
 +- JidError        the client's: not an address
 +- FrameError      the client's: answered with an `error` frame, the connection stays open
 +- ClientError     what relay.client tells the programs that use it; its kinds are in
                    relay.client.errors

Anything else that escapes is a bug of ours: it crashes the process it is in, and the supervisor
starts that process again.
"""


class RelayError(Exception):
    """Base of all deliberate errors; `str(error)` is one line for a person."""


class SettingsError(RelayError):
    """The operator gave something unusable; the line names where, what, and what is allowed."""


class BootError(RelayError):
    """The process cannot start here and trying again at once would not help."""


class StoreWriteError(RelayError):
    """The disk failed at a write: the batch may be stored or not, and nothing of it is answered."""


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
