"""What came over a connection, sorted by whom it is for: who asked, or whoever receives.

Nothing here does I/O.
"""

from typing import Final

from relay.cluster.natsframes import Headers, Message
from relay.errors import RelayError

# What may come unasked while a request waits, and what may come as answers to it.
MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
# A message without any text costs about this.
_MESSAGE_BYTES: Final = 512
# Of our inboxes; others' numbers begin at 1.
INBOX_SID: Final = 0


class TooManyLetters(RelayError):
    """More came than may be kept, and nobody took it."""


class Letters:
    """Messages that wait to be taken, at most MAX_KEPT_BYTES of them."""

    def __init__(self, inbox: str) -> None:
        """Our inboxes are the subjects below `inbox`."""
        self.late = 0  # answers to requests that had timed out
        self.answers: list[Message] = []  # to the present request
        self._inbox = inbox
        self._asked = ""  # the subject on which they come
        self._kept: list[Message] = []
        self._kept_bytes = 0
        self._sids = {INBOX_SID}
        self._numbers = 0

    @property
    def has_kept(self) -> bool:
        """Whether `take` has something to return."""
        return bool(self._kept)

    def open(self) -> int:
        """Return the number of a new subscription, whose messages are kept from here on."""
        self._numbers += 1
        self._sids.add(self._numbers)
        return self._numbers

    def close(self, sid: int) -> None:
        """Drop what came for a subscription, and what is still on its way."""
        self._sids.discard(sid)
        self._kept = [message for message in self._kept if message.sid != sid]
        self._kept_bytes = sum(map(_cost_of, [*self._kept, *self.answers]))

    def new_inbox(self) -> str:
        """Return a subject whose messages are kept."""
        self._numbers += 1
        return f"{self._inbox}.{self._numbers}"

    def ask(self) -> str:
        """Return the subject for answers to a request, which go to `answers` until `asked`."""
        self._numbers += 1
        # With a letter, so that it is told from a `new_inbox`.
        self._asked = f"{self._inbox}.r{self._numbers}"
        return self._asked

    def asked(self) -> None:
        """End the request; what still comes for it is dropped, and counted."""
        self._asked = ""
        self._kept_bytes -= sum(map(_cost_of, self.answers))
        self.answers = []

    def put(self, message: Message) -> None:
        """Sort a message in.

        Raises:
            TooManyLetters: it was sorted in, but that is the last one.
        """
        if message.sid not in self._sids:
            return  # it was on its way when its subscription ended
        if message.sid == INBOX_SID and message.subject.startswith("r", len(self._inbox) + 1):
            if message.subject != self._asked:
                self.late += 1
                return
            self.answers.append(message)
        else:
            self._kept.append(message)
        self._kept_bytes += _cost_of(message)
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise TooManyLetters(f"over {MAX_KEPT_BYTES} bytes came that nobody took")

    def take(self) -> list[Message]:
        """Return what is kept, in the order in which it came."""
        messages, self._kept = self._kept, []
        self._kept_bytes = sum(map(_cost_of, self.answers))
        return messages


def _cost_of(message: Message) -> int:
    headers = message.headers
    block_bytes = headers.block_bytes if isinstance(headers, Headers) else 0
    text_bytes = len(message.subject) + len(message.reply)
    return _MESSAGE_BYTES + text_bytes + block_bytes + len(message.payload)
