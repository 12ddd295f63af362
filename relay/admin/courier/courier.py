"""The courier: takes events from the workers, has them posted, and says what became of each.

It keeps nothing that must last. What it has not told a worker of is posted again by its successor,
under the same id; so is what a worker had yet to carry out when it died, by the worker's.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Final, Literal

import msgspec

from relay import clock, log
from relay.admin.asker import Asker, Seat, Silence
from relay.admin.courier.contract import Report
from relay.admin.courier.letters import Answer, Held, Letter, Letters
from relay.admin.courier.post import Post
from relay.admin.courier.standing import Standing
from relay.errors import DiskError
from relay.inquiries.webhooks import MAX_EVENTS, AskEvents, EventsKept, Kept, Ordered, OrderEvents
from relay.process.eventloop import begin_task
from relay.settings.webhooks import WebhookSettings
from relay.webhooks.bodies import Noted, body_of_test
from relay.webhooks.events import Place, decode_event

# Between two looks at the workers; at once where one has more than it told.
LOOK_S: Final = 0.25
# Posted events whose worker may not have carried that out yet: a second or two of them.
MAX_REMEMBERED: Final = 20_000
# What waits to be told to one worker; beyond that nothing more is posted until it has heard.
MAX_UNTOLD: Final = 5_000
_MAX_ORDERED: Final = 500  # in one inquiry
# Events that a worker is asked for at once: not one for each that was posted.
_LEAST_ASKED: Final = 200
# Between two lines of the log that the endpoint fails.
_TELL_S: Final = 60.0

Key = tuple[int, Place]


class _Position:
    """How far the events of a worker have been read."""

    def __init__(self) -> None:
        self.incarnation = -1
        self.rounds = 0
        self.behind: Place | None = None


class _Last:
    """What came last of posting; times are ms since 1970, 0 for never."""

    def __init__(self) -> None:
        self.posted_ms = self.failed_ms = 0
        self.failure = ""
        self.told_s = -_TELL_S  # when the log had a failure, of the loop's clock
        self.is_told = False  # and has not had its end


class HttpCourier:
    """The one of an admin."""

    def __init__(
        self, settings: WebhookSettings, data: Path, asker: Asker, counters: Counter[str]
    ) -> None:
        """Post nothing yet.

        Raises:
            SettingsError: the URL, the secrets or the certificates are unusable.
        """
        self._post = Post(settings)
        self._settings = settings
        self._asker = asker
        self._counters = counters
        self._standing = Standing(data, settings.url)
        self._letters = Letters(settings, Random())  # noqa: S311 -- it spreads tries, no secret
        self._letters.gone = bool(self._standing.gone_ms())
        self._positions: dict[int, _Position] = {}
        self._untold: dict[int, list[Ordered]] = {}
        self._posted: OrderedDict[Key, None] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last = _Last()
        self._is_closing = False

    def adopt(self, settings: WebhookSettings) -> None:
        """Go by other settings, but for those that need a restart."""
        self._settings = self._letters.settings = settings

    def refresh(self) -> None:
        """Read the secrets again if they have changed."""
        self._post.secrets.refresh()

    def start(self) -> None:
        """Post from here on."""
        self._task = begin_task(self._run())

    async def close(self) -> None:
        """Post nothing any more; what is under way is given up, and comes again."""
        self._is_closing = True
        tasks = [*self._sending, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._post.close()

    def report(self) -> Report:
        """Return how it is."""
        letters = self._letters
        now_s = asyncio.get_running_loop().time()
        state: Literal["posting", "failing", "gone"] = "posting"
        if letters.gone:
            state = "gone"
        elif letters.failures:
            state = "failing"
        return Report(
            state,
            len(letters),
            self._last.posted_ms,
            self._last.failed_ms,
            self._last.failure,
            max(0.0, letters.rests_until_s - now_s),
        )

    def resume(self) -> None:
        """Try everything now, also of an endpoint that wanted nothing any more."""
        try:
            self._standing.is_back()
        except DiskError as error:
            log.get_logger().warning("webhooks.not_forgotten", reason=str(error))
        self._letters.hurry()
        self._news.set()

    async def test(self) -> Answer:
        """Post an event that tells nothing, beside all others and however they fare."""
        name, body = body_of_test(token_hex(16), clock.now_ms())
        return await self._send(name, body)

    # ---------------------------------------------------------------------------------- the loop

    async def _run(self) -> None:
        while True:
            has_more = await self._look()
            self._send_due()
            self._news.clear()
            try:
                async with asyncio.timeout(0 if has_more else LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _look(self) -> bool:
        """Tell the workers what they are to know, and hear of what waits; tell if there is more."""
        workers = sorted(seat.index for seat in self._asker.seats if seat.role == "worker")
        more = await asyncio.gather(*map(self._look_at, workers))
        return any(more) and self._letters.room >= _LEAST_ASKED

    async def _look_at(self, worker: int) -> bool:
        seat = Seat("worker", worker)
        process = self._asker.who_is(seat)
        if process is None:
            return False
        position = self._positions.setdefault(worker, _Position())
        if process.incarnation != position.incarnation:
            # It may have forgotten what it was told last, and have them still.
            position.incarnation, position.behind = process.incarnation, None
        if not await self._tell(seat):
            return False
        room = self._letters.room
        if room < _LEAST_ASKED or self._letters.gone:
            return False
        behind = position.behind or Place(0, "")
        inquiry = AskEvents(min(room, MAX_EVENTS), behind.seq, behind.owner)
        answer = await self._asker.ask(seat, inquiry)
        if isinstance(answer, Silence) or process != self._asker.who_is(seat):
            return False
        return self._hear(worker, position, answer)

    def _hear(self, worker: int, position: _Position, answer: EventsKept) -> bool:
        if answer.rounds != position.rounds:
            # Some lie before those that were read: of this answer they may be missing.
            position.rounds, position.behind = answer.rounds, None
            return True
        for kept in answer.events:
            place = Place(kept.seq, kept.owner)
            position.behind = place
            if (worker, place) in self._posted:
                self._order(worker, place, "settle")
            else:
                self._hold(worker, place, kept)
        return answer.more

    def _hold(self, worker: int, place: Place, kept: Kept) -> None:
        try:
            event = decode_event(kept.body)
        except msgspec.MsgspecError as error:
            log.get_logger().error("webhooks.unreadable", seq=place.seq, reason=str(error))
            reason = f"it cannot be read: {error}"
            self._order(worker, place, "bury", reason)
            return
        self._letters.add(Held(worker, Noted(place, event), len(kept.body)))

    async def _tell(self, seat: Seat) -> bool:
        """Tell a worker what became of events; False where it did not hear of all."""
        untold = self._untold.get(seat.index, [])
        while untold:
            some = untold[:_MAX_ORDERED]
            answer = await self._asker.ask(seat, OrderEvents(some))
            if isinstance(answer, Silence):
                return False
            del untold[: len(some)]
        return True

    def _order(
        self, worker: int, place: Place, what: Literal["settle", "bury"], reason: str = ""
    ) -> None:
        order = Ordered(place.seq, place.owner, what, reason)
        self._untold.setdefault(worker, []).append(order)

    # --------------------------------------------------------------------------------- the posts

    def _send_due(self) -> None:
        if self._is_closing or any(len(untold) >= MAX_UNTOLD for untold in self._untold.values()):
            return
        for letter in self._due():
            task = begin_task(self._deliver(letter))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _due(self) -> Iterator[Letter]:
        now_s = asyncio.get_running_loop().time()
        while (letter := self._letters.next(now_s)) is not None:
            yield letter

    async def _send(self, name: str, body: bytes) -> Answer:
        answer = await self._post.send(name, body, self._settings.timeout_s)
        self._counters[f"webhook_requests_{answer.status}"] += 1
        return answer

    async def _deliver(self, letter: Letter) -> None:
        answer = await self._send(letter.name, letter.body)
        now_s, now_ms = asyncio.get_running_loop().time(), clock.now_ms()
        was_failing = self._letters.failures
        dead = self._letters.answered(letter, answer, now_s=now_s, now_ms=now_ms)
        if answer.is_good:
            self._last.posted_ms = now_ms
            self._note_posted(letter)
            if self._last.is_told:
                self._last.is_told = False
                log.get_logger().info("webhooks.answered_again", after_failures=was_failing)
        else:
            self._last.failed_ms, self._last.failure = now_ms, answer.detail
            if not self._last.is_told and now_s - self._last.told_s >= _TELL_S:
                self._last.is_told, self._last.told_s = True, now_s
                log.get_logger().warning("webhooks.not_taken", reason=answer.detail)
            if self._letters.gone:
                self._note_gone(now_ms)
        self._bury(dead, answer.detail)
        self._send_due()  # the workers may be a while to ask

    def _note_posted(self, letter: Letter) -> None:
        self._counters["events_posted"] += len(letter.events)
        for each in letter.events:
            self._posted[each.worker, each.noted.place] = None
            self._order(each.worker, each.noted.place, "settle")
        while len(self._posted) > MAX_REMEMBERED:
            self._posted.popitem(last=False)

    def _note_gone(self, now_ms: int) -> None:
        log.get_logger().error(
            "webhooks.gone", hint="the endpoint answers with 410; relay webhooks resume tries again"
        )
        try:
            self._standing.is_gone(now_ms)
        except DiskError as error:
            log.get_logger().error("webhooks.gone_not_kept", reason=str(error))

    def _bury(self, dead: Iterable[Letter], reason: str) -> None:
        letters = list(dead)
        if letters:
            count = sum(len(letter.events) for letter in letters)
            log.get_logger().error("webhooks.given_up", events=count, reason=reason)
        for letter in letters:
            for each in letter.events:
                self._order(each.worker, each.noted.place, "bury", reason)
