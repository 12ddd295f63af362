"""The half of webhooks in a worker: notes events in the batches of what they tell of.

What waits is a tree, and so are dead letters; both move, and are checked and copied, as trees of
extensions are. The admin process reads what waits by inquiries, posts it, and says what became of
it; that is carried out in the next sweep. So an event outlives every process, and may be posted
twice, but under the same id.

Who was online, and how groups were, is kept too: a session that ended while its worker was gone,
and a file that changed while the relay was, are told all the same.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec

from relay.bus.envelopes import SendToUser
from relay.disk.groupfile import Group
from relay.errors import MailboxFull as NoRoom
from relay.errors import ShareFull
from relay.extensions.contract import Extension, Incoming, ShardDesk, TreeSpec, WorkerHalf
from relay.settings.webhooks import EventName, WebhookSettings
from relay.webhooks.events import (
    DEAD_TREE,
    NAME,
    WAITING_TREE,
    DeadLetter,
    Event,
    GroupChanged,
    MailboxFull,
    MessageQueued,
    Place,
    UserOffline,
    UserOnline,
    What,
    decode_dead,
    encode,
    key_of,
    place_of,
)
from relay.webhooks.shelf import Shelf

# Orders of the admin that wait for a sweep; beyond that it asks again.
MAX_ORDERED: Final = 10_000
# Of them a sweep carries out so many, some 10 ms.
MAX_CARRIED_OUT: Final = 2000
# Bytes that move between the trees in one go: each is written to the journal again.
MAX_MOVED_BYTES: Final = 256 * 1024
# Users and groups that a sweep compares with what was kept of them, some 2 ms.
MAX_COMPARED: Final = 500
# Of those who have gone meanwhile: the mailbox of each may have to be counted.
MAX_FOUND_GONE: Final = 50
# Sweeps, one a second, until who has not come back is offline: clients do within that time.
GRACE_SWEEPS: Final = 60
# Full mailboxes that are remembered, so as not to be told again and again.
MAX_FULL: Final = 4096
# Of max_event_bytes; a longer text is left out.
MAX_TEXT_PART: Final = 1 / 8

_ONLINE_TREE: Final = "online"
_GROUPS_TREE: Final = "groups"
_PRESENCE: Final[tuple[EventName, ...]] = ("user.online", "user.offline")


class Order(NamedTuple):
    """What becomes of an event; `reason` is why it is dead, for people."""

    place: Place
    what: Literal["settle", "bury", "retry", "drop"]
    reason: str = ""


class Notes(WorkerHalf):
    """The events of one worker: `waiting` and `dead` say what is in the trees."""

    def __init__(self, desk: ShardDesk) -> None:
        super().__init__(desk)
        self.waiting = Shelf()
        self.dead = Shelf()
        # Grows whenever something comes to wait that is older than what the admin may have read.
        self.rounds = 0
        self.is_filled = False
        self._orders: deque[Order] = deque()
        self._moved = 0  # bytes from tree to tree, since somebody began to count
        self._full: OrderedDict[tuple[str, str], int] = OrderedDict()  # when it was told
        self._grace = GRACE_SWEEPS
        self._absent_after: tuple[str, bytes] | None = None
        self._knows_who_is_there = False
        self._groups = _Groups(desk)

    @property
    def _settings(self) -> WebhookSettings:
        return self.desk.settings.webhooks

    # ------------------------------------------------------------------------------ what happens

    def queued(self, user: str, message: Incoming) -> None:
        """Note that a message waits for a user who is away."""
        settings = self._settings
        if "message.queued" not in settings.events:
            return
        size = len(message.frame)
        tells = settings.texts and size <= settings.max_event_bytes * MAX_TEXT_PART
        self._note(
            user,
            MessageQueued(
                message.author,
                "" if isinstance(message, SendToUser) else message.group,
                message.message_id,
                message.time_s,
                size,
                message.frame if tells else b"",
            ),
        )

    def overfull(self, user: str, message: Incoming, error: NoRoom) -> None:
        """Note that a mailbox is full, once in a while."""
        settings = self._settings
        if "mailbox.full" not in settings.events:
            return
        is_share = isinstance(error, ShareFull)
        mailbox = (user, message.author if is_share else "")
        told_ms, now_ms = self._full.get(mailbox), self.desk.now_ms()
        if told_ms is not None and 0 <= now_ms - told_ms < settings.full_again_s * 1000:
            return
        if self.desk.refusal and isinstance(message, SendToUser):
            self.desk.count("events_unstored")  # such a batch stores nothing
            return
        self._full.pop(mailbox, None)
        self._full[mailbox] = now_ms
        if len(self._full) > MAX_FULL:
            self._full.popitem(last=False)
        group = "" if isinstance(message, SendToUser) else message.group
        self._note(user, MailboxFull(message.author, group, message.message_id, is_share))

    def opened(self, user: str) -> None:
        """Note that a user is online who was not."""
        if not self._tells_presence():
            return
        online = self.desk.tree(_ONLINE_TREE)
        if online.get(user, b"") is not None:
            return
        if self.desk.refusal:
            self.desk.count("events_unstored")
            return
        online.put(user, b"", b"\x01")
        if "user.online" in self._settings.events:
            self._note(user, UserOnline())

    def closed(self, user: str) -> None:
        """Note that a user is offline who was online."""
        if not self._tells_presence():
            return
        online = self.desk.tree(_ONLINE_TREE)
        if online.get(user, b"") is None:
            return
        if self.desk.refusal:
            self._knows_who_is_there = False  # it is found when there is room again
            return
        online.pop(user, b"")
        if "user.offline" in self._settings.events:
            self._note(user, UserOffline(self.desk.waiting(user)))

    def swept(self) -> None:
        """Carry out what the admin has ordered; find who has gone, and what groups have become."""
        self._fill()
        self._carry_out_orders()
        self._keep_bounds()
        if self.desk.refusal:
            return
        if self._grace:
            self._grace -= 1
        elif not self._knows_who_is_there and self._tells_presence():
            self._look_who_is_there()
        if "group.changed" in self._settings.events:
            for group, what in self._groups.look():
                self._note(group, what)

    def _tells_presence(self) -> bool:
        events = self._settings.events
        return _PRESENCE[0] in events or _PRESENCE[1] in events

    def _look_who_is_there(self) -> None:
        gone: list[str] = []
        online = self.desk.tree(_ONLINE_TREE).items(self._absent_after)
        for compared, (owner, key, _) in enumerate(online, start=1):
            if not self.desk.serves(owner):
                gone.append(owner)
            if compared == MAX_COMPARED or len(gone) == MAX_FOUND_GONE:
                self._absent_after = (owner, key)
                break
        else:
            self._absent_after, self._knows_who_is_there = None, True
        for owner in gone:
            self.closed(owner)

    # -------------------------------------------------------------------------- what is kept

    def _note(self, owner: str, what: What) -> None:
        self._fill()
        place = Place(self.desk.next_seq(), owner)
        body = encode(Event(self.desk.now_ms(), what))
        self.desk.tree(WAITING_TREE).put(owner, key_of(place), body)
        self.waiting.add(place, len(body))
        self.desk.count("events_noted")
        if self._is_over():
            self._keep_bounds(at_least=len(body))

    def _is_over(self) -> bool:
        settings = self._settings
        return (
            len(self.waiting) > settings.max_events or self.waiting.size > settings.max_event_bytes
        )

    def _keep_bounds(self, at_least: int = 0) -> None:
        """Have the oldest go where it is too much: what waits to the dead letters, those for good.

        A bounded piece of work, but of `at_least` so many bytes: as much as has come.
        """
        settings = self._settings
        self._moved = 0
        for _ in range(MAX_COMPARED):
            oldest = self.waiting.oldest()
            if oldest is None or not self._is_over():
                break
            if self._moved >= max(at_least, MAX_MOVED_BYTES):
                break
            self.desk.count("events_crowded_out")
            if self.desk.refusal:  # the little room that is left is for others
                self._take_off(oldest)
                self.desk.count("dead_letters_dropped")
            else:
                self._bury(oldest, "too many events waited")
        for _ in range(MAX_COMPARED):
            oldest = self.dead.oldest()
            if oldest is None or not (
                len(self.dead) > settings.max_dead_letters
                or self.dead.size > settings.max_event_bytes
            ):
                break
            self.desk.count("dead_letters_dropped")
            self._drop(oldest)

    def _fill(self) -> None:
        """Learn what the trees hold, once in a life."""
        if self.is_filled:
            return
        self.is_filled = True
        for name, shelf in ((WAITING_TREE, self.waiting), (DEAD_TREE, self.dead)):
            items = self.desk.tree(name).items()
            shelf.fill((place_of(owner, key), len(value)) for owner, key, value in items)

    # ------------------------------------------------------------------------ what is ordered

    def take(self, orders: list[Order]) -> bool:
        """Take what the admin says, for the next sweep; False where too much waits for that."""
        if len(self._orders) + len(orders) > MAX_ORDERED:
            return False
        self._orders.extend(orders)
        return True

    def _carry_out_orders(self) -> None:
        self._moved = 0
        for _ in range(min(len(self._orders), MAX_CARRIED_OUT)):
            if self._moved >= MAX_MOVED_BYTES:
                break
            order = self._orders.popleft()
            if self.desk.refusal and order.what in ("bury", "retry"):
                self._orders.append(order)  # it needs room
            else:
                self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order.what:
            case "settle":
                if not self._take_off(order.place):
                    self._drop(order.place)  # it was crowded out while it was posted
            case "bury":
                if order.place in self.waiting:
                    self.desk.count("events_given_up")
                    self._bury(order.place, order.reason)
            case "retry":
                self._revive(order.place)
            case "drop":
                self._drop(order.place)

    def _take_off(self, place: Place) -> bytes | None:
        if not self.waiting.remove(place):
            return None
        return self.desk.tree(WAITING_TREE).pop(place.owner, key_of(place))

    def _bury(self, place: Place, reason: str) -> None:
        event = self._take_off(place)
        if event is None or place in self.dead:
            return
        letter = encode(DeadLetter(self.desk.now_ms(), reason, msgspec.Raw(event)))
        self.desk.tree(DEAD_TREE).put(place.owner, key_of(place), letter)
        self.dead.add(place, len(letter))
        self._moved += len(letter)

    def _drop(self, place: Place) -> bytes | None:
        if not self.dead.remove(place):
            return None
        return self.desk.tree(DEAD_TREE).pop(place.owner, key_of(place))

    def _revive(self, place: Place) -> None:
        letter = self._drop(place)
        if letter is None or place in self.waiting:
            return
        try:
            event = bytes(decode_dead(letter).event)
        except msgspec.MsgspecError:
            self.desk.count("events_unreadable")
            return
        self.desk.tree(WAITING_TREE).put(place.owner, key_of(place), event)
        self.waiting.add(place, len(event))
        self._moved += len(event)
        self.rounds += 1


class _Groups:
    """What groups have become since they were told of, or first seen."""

    def __init__(self, desk: ShardDesk) -> None:
        self._desk = desk
        self._seen: Mapping[str, Group] | None = None
        self._left: Iterator[str] = iter(())
        self._is_first = False  # there is nothing to compare with

    def look(self) -> list[tuple[str, GroupChanged]]:
        """Compare some of the groups with what was kept; return who has changed, and how."""
        groups, known = self._desk.groups(), self._desk.tree(_GROUPS_TREE)
        if groups is not self._seen:
            self._is_first = self._seen is None and next(known.items(), None) is None
            self._seen = groups
            self._left = self._names(groups)
        found: list[tuple[str, GroupChanged]] = []
        for _, local in zip(range(MAX_COMPARED), self._left, strict=False):
            group = groups.get(local)
            if group is None:
                known.pop(local, b"")
                found.append((local, GroupChanged("deleted", "", 0)))
                continue
            before = known.get(local, b"")
            digest = blake2b(encode(group), digest_size=16).digest()
            if digest == before:
                continue
            known.put(local, b"", digest)
            if not self._is_first:
                change: Literal["created", "changed"] = "changed" if before else "created"
                members = len(group.participants)
                found.append((local, GroupChanged(change, group.subject, members)))
        return found

    def _names(self, groups: Mapping[str, Group]) -> Iterator[str]:
        """Yield those that there are, then those that were kept; it goes on in later batches."""
        yield from groups
        after: tuple[str, bytes] | None = None
        while True:
            items = self._desk.tree(_GROUPS_TREE).items(after)
            page = [(owner, key) for owner, key, _ in islice(items, MAX_COMPARED)]
            yield from (owner for owner, _ in page)
            if len(page) < MAX_COMPARED:
                return
            after = page[-1]


EXTENSION: Final = Extension(
    name=NAME,
    worker=Notes,
    trees=(
        TreeSpec(name=WAITING_TREE, grows=True),
        TreeSpec(name=DEAD_TREE, grows=True),
        TreeSpec(name=_ONLINE_TREE),
        TreeSpec(name=_GROUPS_TREE),
    ),
)
