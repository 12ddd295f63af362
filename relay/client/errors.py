"""What a client raises for reasons outside the calling program.

ClientError, in relay.errors
 +- LoginRefused     the login was refused for good
 +- Replaced         the same user logged in elsewhere
 +- ClientFault      the relay says that this client is broken
 +- SendRefused      the relay refused a send
 +- SendUnconfirmed  no ack 1 in time; the relay may have the message
 +- ClientClosed     the client was left before the relay answered
 +- NoLogin          the chat found no relay, or none that took its first login
 +- Unreadable       a frame of the relay makes no sense; stays within the client
"""

from relay.client.events import SendFailed
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

    With `retryable`, sending again with the same `message_id` may succeed later, after
    `retry_after_s` where the relay named a time.
    """

    def __init__(self, failure: SendFailed) -> None:
        super().__init__(f"send refused: {failure.reason} ({failure.code})")
        self.message_id = failure.id
        self.code = failure.code
        self.reason = failure.reason
        self.retry_after_s = failure.retry_after_s
        self.retryable = failure.retryable


class SendUnconfirmed(ClientError):
    """No ack 1 came in time. The relay may or may not have the message.

    Sending again with the same `message_id` and message is always safe: it goes on waiting for
    the send that is under way, or starts it again.
    """

    def __init__(self, message_id: str, waited_s: float) -> None:
        super().__init__(f"send {message_id} not confirmed within {waited_s:g} s")
        self.message_id = message_id


class ClientClosed(ClientError):
    """The client was left or closed before the relay answered."""


class NoLogin(ClientError):
    """The first attempt to log in failed; the chat does not wait for a relay to appear."""


class Unreadable(ClientError):
    """A frame of the relay, or a part of one, makes no sense.

    The protocol counts it and goes on: a program never sees this.
    """
