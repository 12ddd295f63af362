"""The conversation as lines of text: events in, lines out, nothing printed."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from relay.client.events import Delayed, Event, Failed, Level, Message, Receipt, Refused, Sent
from relay.client.ticks import OwnMessage, done
from relay.protocol.jid import user_cus

_YOU: Final = "you"
_MAX_OWN: Final = 500  # own messages whose ticks are followed
_EXCERPT: Final = 30


class Transcript:
    """The lines of one chat, `to` a user or a group with so many `recipients`, None if unknown.

    An own message gets its line when `flush` is called, some moments after it was written, with
    the tick it has by then; a later tick gets a short line of its own. An incoming message
    flushes first, so that lines stand in the order in which things happened.

    A line begins with a time that `clock` makes of seconds, or with spaces and a tick. What others
    wrote is in it as they wrote it: see `relay.client.screen`.
    """

    def __init__(
        self, to: str, *, clock: Callable[[int], str], recipients: int | None = None
    ) -> None:
        self._to = to
        self._group = to.endswith("@g.us")
        self._clock = clock
        self._recipients = recipients
        self._own: dict[str, OwnMessage] = {}
        self._changed: dict[str, None] = {}  # ids whose line is to be shown, in order
        self._delayed = False
        self._earlier: dict[str, Level] = {}  # of messages of an earlier run that got receipts

    def own(self, message_id: str, text: str, *, now_s: int) -> None:
        """Note a message that was just written."""
        if len(self._own) >= _MAX_OWN:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._changed.pop(oldest, None)
        self._own[message_id] = OwnMessage(text, self._clock(now_s))
        self._changed[message_id] = None

    def fail(self, message_id: str, reason: str) -> None:
        """Note that a message was refused."""
        if own := self._own.get(message_id):
            own.failure = reason
            self._changed[message_id] = None

    def add(self, event: Event) -> list[str]:
        """Note an event; return the lines to show at once. Ticks wait for `flush`."""
        match event:
            case Message():
                said = f"{self._where(event)}{_name(event.sender)}: {_content(event)}"
                return [*self.flush(), f"{self._clock(event.t)} {said}"]
            case Sent():
                self._delayed = False
                self._stored(event.id)
            case Receipt() if own := self._own.get(event.id):
                own.rise(event.user, event.level)
                self._changed[event.id] = None
            case Receipt():
                self._earlier[event.id] = max(event.level, self._earlier.get(event.id, event.level))
            case Failed():
                self.fail(event.id, f"{event.reason} ({event.code})")
            case Delayed() if not self._delayed:
                self._delayed = True  # said once, however many wait
                why = f"{event.reason} ({event.code})"
                return [f"the relay cannot take messages now: {why}; they are sent again"]
            case Refused():
                return [f"the relay refused a frame: {event.reason} ({event.code})"]
        return []

    def _stored(self, message_id: str) -> None:
        if own := self._own.get(message_id):
            own.stored = True
            self._changed[message_id] = None

    def _where(self, message: Message) -> str:
        """Return a mark for what was not said in the chat at hand."""
        if message.chat == self._to:
            return ""
        if message.is_group:
            return f"[{message.chat}] "
        return "[private] " if self._group else ""  # the sender's name tells it otherwise

    def flush(self) -> list[str]:
        """Return the lines of what changed since the last call."""
        lines = [
            f"      {done(level)}: {count} earlier message{'s' if count > 1 else ''}"
            for level, count in sorted(Counter(self._earlier.values()).items())
        ]
        self._earlier.clear()
        risen: dict[str, list[str]] = {}  # excerpts of lines shown before, by their new tick
        for own in [self._own[message_id] for message_id in self._changed]:
            tick = own.tick(group=self._group, recipients=self._recipients)
            if tick == own.shown:
                continue
            if own.shown:
                risen.setdefault(tick, []).append(own.text)
            else:
                lines.append(f"{own.clock} {_YOU}: {own.text}  {tick}")
            own.shown = tick
        self._changed.clear()
        for tick, texts in risen.items():
            more = f" and {len(texts) - 1} before it" if len(texts) > 1 else ""
            last = texts[-1] if len(texts[-1]) <= _EXCERPT else texts[-1][:_EXCERPT] + "…"
            lines.append(f"      {tick}: {last}{more}")
        return lines


def _name(sender: str) -> str:
    """Return the sender as it is shown; a user may be called what own lines begin with."""
    return user_cus(sender) if sender.lower() == _YOU else sender


def _content(message: Message) -> str:
    return message.text or f"({', '.join(message.body)})"  # not a text: name what it is
