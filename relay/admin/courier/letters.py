"""Which events are posted now, and what becomes of them by what the endpoint answers. Pure.

A **letter** is one request: an event, or several. It stays one, with one id, until it was taken or
is dead. Letters of one user are not under way at the same time, so nobody is told that he came
after he went, unless a request fails.

The endpoint rests after a failure that is its own, and is tried with one letter then: what it is
not there for is asked of it once, not for each event that waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

from relay.settings.webhooks import WebhookSettings
from relay.webhooks.bodies import Noted, body_of
from relay.webhooks.events import Place

# Events that the admin holds, and bytes of what they are kept as; the workers have the rest.
MAX_HELD: Final = 1000
MAX_HELD_BYTES: Final = 4 * 1024 * 1024
# Of them those that failed while others were taken; beyond it those that failed most are dead, so
# that what an endpoint never takes does not take the place of all else.
MAX_FAILING: Final = 500
# Bytes of the events of one letter, after which it takes no more.
MAX_LETTER_BYTES: Final = 256 * 1024
# Failures in a row, whatever they are, after which the endpoint counts as the one that fails.
FAILURES: Final = 5
# Of what Retry-After may ask for.
MAX_RETRY_AFTER_S: Final = 86_400.0

_GONE: Final = 410
# Of these the specification says that the endpoint is to be asked less; 0 is no answer at all.
_THROTTLING: Final = frozenset({0, 429, 502, 503, 504})
_DAY_S: Final = 86_400


class Answer(NamedTuple):
    """What came of a request: `status` 0 is no answer; `detail` says for people what it was."""

    status: int
    detail: str
    retry_after_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether the endpoint has taken it."""
        return 200 <= self.status < 300


class Held(NamedTuple):
    """An event, and the worker that keeps it."""

    worker: int
    noted: Noted
    size: int


class Letter:
    """One request, until it is settled."""

    __slots__ = ("body", "due_s", "events", "failed_first_s", "failures", "name", "owners")

    def __init__(self, events: Sequence[Held]) -> None:
        self.events = events
        self.name, self.body = body_of([each.noted for each in events])
        self.owners = {each.noted.place.owner for each in events}
        self.failures = 0
        self.failed_first_s = 0.0
        self.due_s = 0.0


class Letters:
    """Those of one admin; times are `now_s` of a clock that only grows, unless they say `now_ms`.

    `gone` tells that the endpoint wants nothing any more (410).
    """

    def __init__(self, settings: WebhookSettings, random: Random) -> None:
        self.settings = settings
        self._random = random
        self._fresh: OrderedDict[tuple[int, Place], Held] = OrderedDict()  # in no letter yet
        self._idle: list[Letter] = []  # that failed, and wait
        self._under_way: list[Letter] = []
        self._size = 0  # bytes of all events
        self._known: set[tuple[int, Place]] = set()
        self.failures = 0  # in a row
        self.failing_since_s = 0.0
        self.rests_until_s = 0.0
        self._rests = 0  # in a row
        self.gone = False

    # ------------------------------------------------------------------------------- what is held

    @property
    def room(self) -> int:
        """How many events more may be held."""
        return MAX_HELD - len(self._known) if self._size < MAX_HELD_BYTES else 0

    def __contains__(self, place: tuple[int, Place]) -> bool:
        return place in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, held: Held) -> None:
        """Hold an event until it is settled; one that is held already is not held twice."""
        key = (held.worker, held.noted.place)
        if key not in self._known:
            self._known.add(key)
            self._size += held.size
            self._fresh[key] = held

    def _let_go(self, letter: Letter) -> None:
        for each in letter.events:
            self._known.discard((each.worker, each.noted.place))
            self._size -= each.size

    # ---------------------------------------------------------------------------- what goes out

    @property
    def is_resting(self) -> bool:
        """Whether the endpoint has failed, and is tried with one letter at a time."""
        return self._rests > 0

    def next(self, now_s: float) -> Letter | None:
        """Return the letter that is to be posted now, None where there is none; it is under way."""
        if self.gone or now_s < self.rests_until_s:
            return None
        most = 1 if self.is_resting else self.settings.parallel
        if len(self._under_way) >= most:
            return None
        letter = self._again(now_s) or self._anew()
        if letter is not None:
            self._under_way.append(letter)
        return letter

    def _busy(self) -> set[str]:
        return {owner for letter in self._under_way for owner in letter.owners}

    def _again(self, now_s: float) -> Letter | None:
        busy = self._busy()
        due = [e for e in self._idle if e.due_s <= now_s and not e.owners & busy]
        if not due:
            return None
        letter = min(due, key=lambda each: each.due_s)
        self._idle.remove(letter)
        return letter

    def _anew(self) -> Letter | None:
        busy, size = self._busy(), 0
        chosen: list[Held] = []
        for held in self._fresh.values():
            owner = held.noted.place.owner
            if owner in busy:
                continue
            if chosen and size + held.size > MAX_LETTER_BYTES:
                break
            chosen.append(held)
            size += held.size
            if len(chosen) == self.settings.batch:
                break
        for held in chosen:
            del self._fresh[held.worker, held.noted.place]
        return Letter(chosen) if chosen else None

    # ------------------------------------------------------------------------- what came of it

    def answered(
        self, letter: Letter, answer: Answer, *, now_s: float, now_ms: int
    ) -> Iterable[Letter]:
        """Take the answer to a letter; return those that are dead by now.

        A letter that was taken is let go of; `answer.is_good` says so.
        """
        self._under_way.remove(letter)
        if answer.is_good:
            self._let_go(letter)
            self.recover()
            return ()
        if not self.failures:
            self.failing_since_s = now_s
        if not letter.failures:
            letter.failed_first_s = now_s
        self.failures += 1
        letter.failures += 1
        self._idle.append(letter)
        wished_s = min(answer.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        letter.due_s = now_s + max(wished_s, self._pause_s(letter.failures))
        if answer.status == _GONE:
            self.gone = True
        elif answer.status in _THROTTLING or self.failures >= FAILURES:
            self._rest(now_s, wished_s)
        return list(self._given_up(now_s, now_ms))

    def _rest(self, now_s: float, wished_s: float) -> None:
        if now_s >= self.rests_until_s:  # else it was under way beside one that has failed
            self._rests += 1
            wished_s = max(wished_s, self._pause_s(self._rests))
        self.rests_until_s = max(self.rests_until_s, now_s + wished_s)

    def _pause_s(self, failures: int) -> float:
        settings = self.settings
        pause_s = settings.retry_min_s * 2.0 ** min(failures - 1, 40)
        return min(pause_s, settings.retry_max_s) * (1 - self._random.random() / 2)

    def _given_up(self, now_s: float, now_ms: int) -> Iterator[Letter]:
        """Let go of the letters that have failed for too long, and yield them.

        By their own age, and by how long they, or all, have failed here: a clock that jumps makes
        nothing old that was just posted for the first time.
        """
        give_up_s = self.settings.give_up_days * _DAY_S
        for letter in [*self._idle]:
            age_s = now_ms / 1000 - letter.events[-1].noted.event.at_ms / 1000
            failing_s = now_s - min(letter.failed_first_s, self.failing_since_s)
            if min(age_s, failing_s) >= give_up_s:
                self._idle.remove(letter)
                self._let_go(letter)
                yield letter
        while not self.is_resting and sum(len(e.events) for e in self._idle) > MAX_FAILING:
            letter = max(self._idle, key=lambda each: each.failures)
            self._idle.remove(letter)
            self._let_go(letter)
            yield letter

    def recover(self) -> None:
        """Take it that the endpoint is there; what has failed before is tried when it is due."""
        self.failures = self._rests = 0
        self.rests_until_s = 0.0

    def hurry(self) -> None:
        """Have everything tried at once: an operator knows that the endpoint is back."""
        self.recover()
        self.gone = False
        for letter in self._idle:
            letter.due_s = 0.0
