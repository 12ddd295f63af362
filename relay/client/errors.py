"""What a client raises for reasons outside the calling program.

ClientError, in relay.errors
 +- LoginRefused     the login was refused for good
 +- Replaced         the same user logged in elsewhere
 +- ClientFault      the relay says that this client is broken
 +- SendRefused      the relay refused a send
 +- SendUnconfirmed  not sent, delivered or read in time; it may be yet
 +- OutboxFull       too many messages wait for their ack 1
 +- ClientClosed     the client was left before the relay answered
 +- NoLogin          the chat found no relay, or none that took its first login
 +- NoToken          the chat and its like cannot read their token
 +- Unreadable       a frame of the relay makes no sense; stays within the client
"""

from relay.client.events import Failed
from relay.errors import ClientError


class LoginRefused(ClientError):
    """The relay does not accept this login; the client has stopped, trying again is pointless.

    `code` is one of PROTOCOL section 5, or the close code 4401.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"login refused: {reason or 'no reason given'} ({code})")
        self.code = code
        self.reason = reason


class Replaced(ClientError):
    """The same user logged in elsewhere and took this session over; the client has stopped.

    It does not reconnect, or the two would throw each other out for ever.
    """

    code = 4409

    def __init__(self) -> None:
        super().__init__("replaced: the same user logged in elsewhere")


class ClientFault(ClientError):
    """The relay closed with 1002, 1007 or 1008: this client has a fault, and has stopped.

    Connecting again would only repeat it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code}: {reason or 'no reason given'}")
        self.code = code
        self.reason = reason


class SendRefused(ClientError):
    """The relay refused a send; nobody got it.

    With `retryable`, sending again with the same `id` may succeed later, after `retry_after`
    seconds where the relay named a time.
    """

    def __init__(self, failure: Failed) -> None:
        super().__init__(f"send refused: {failure.reason} ({failure.code})")
        self.id = failure.id
        self.code = failure.code
        self.reason = failure.reason
        self.retry_after = failure.retry_after
        self.retryable = failure.retryable


class SendUnconfirmed(ClientError):
    """A message was not sent, delivered or read in time. It may have been, or may be yet.

    `is_stored` says whether it had its ack 1. Where not, sending the same message again with the
    same `id` is always safe: it goes on waiting for the one under way, or starts it again.
    """

    def __init__(
        self, message_id: str, what: str, waited_s: float, *, is_stored: bool, why: str = ""
    ) -> None:
        because = f": {why}" if why else ""
        super().__init__(f"{message_id} not {what} within {waited_s:g} s{because}")
        self.id = message_id
        self.is_stored = is_stored


class OutboxFull(ClientError):
    """So many messages wait for their ack 1 that no more are taken; nothing was sent."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} messages wait for their ack 1")


class ClientClosed(ClientError):
    """The client was left or closed before the relay answered."""


class NoLogin(ClientError):
    """The first attempt to log in failed; the chat does not wait for a relay to appear."""


class NoToken(ClientError):
    """There is no token to show at a login; the client asks again later."""


class Unreadable(ClientError):
    """A frame of the relay, or a part of one, makes no sense.

    The protocol counts it and goes on: a program never sees this.
    """
