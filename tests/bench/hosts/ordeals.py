"""What a cluster is put through under a chat: a host is lost, a range moves, a host was away."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple

from relay.cluster.jetstream import StreamState
from relay.cluster.requests import ClusterStatus
from tests.bench.hosts.chat import Chat
from tests.bench.hosts.plan import HOSTS, Person, people
from tests.bench.hosts.relays import ThreeHosts
from tests.bench.hosts.watch import LIVING, is_led_evenly
from tests.outside.cluster import Host

# Longer than any pause that is known: who has no ack then gets none.
GIVEN_UP_S: Final = 30.0
_CALM_S: Final = 2.0  # of chat before something happens
_EVEN_WITHIN_S: Final = 15.0
_MOVED_WITHIN_S: Final = 10.0
_CAUGHT_UP_WITHIN_S: Final = 60.0
_LOOK_S: Final = 0.1


class Pause(NamedTuple):
    """A user's wait from the loss of a host to its next ack 1, and what was lost with the host."""

    lost: str  # one of LOST
    seconds: float | None  # None: it got none any more


LOST: Final = ("its own host", "the owner's host", "the leader's host", "a standby or nothing")


class Loss(NamedTuple):
    """The loss of a host: every user's pause, and until nothing was left to be made good."""

    host: str
    pauses: list[Pause]
    refused: int  # errors that users were answered
    whole_s: float | None  # from its start on; None: not within the time


class Move(NamedTuple):
    """A planned move of a range."""

    range_: int
    owner: str
    to: str
    stood_s: float  # the longest that no ack of the range came
    before_s: float  # the same in the calm before
    took_s: float  # from the request until the new owner was heard of


class Away(NamedTuple):
    """A host that was away, and came back while the chat went on; times are from its start."""

    host: str
    away_s: float
    records: int  # that its standbys lacked when it started
    bytes: int  # of them
    ready_s: float
    engine_s: float  # until its engine had all of all logs
    caught_up_s: float  # until its standbys had those records
    working_s: float  # of which they were at it
    whole_s: float | None  # until ranges and leaders were spread again; None: not within the time

    @property
    def records_a_second(self) -> float:
        """Records a second while they were at it."""
        return self.records / self.working_s if self.working_s else float("nan")

    @property
    def mb_a_second(self) -> float:
        """Millions of bytes a second, likewise."""
        return self.bytes / 1e6 / self.working_s if self.working_s else float("nan")


def lose(hosts: ThreeHosts, name: str, *, users: int, interval_s: float) -> Loss:
    """Kill all processes of a host under a chat; start it again, and wait until all is whole.

    Raises:
        TimeoutError: before the loss not everybody was served.
    """
    with suppress(TimeoutError):  # there may be no way to it
        hosts.watch.await_that("logs to be led evenly", is_led_evenly, within_s=_EVEN_WITHIN_S)
    crowd = _people(hosts, users)
    number = HOSTS.index(name)
    with Chat(crowd, hosts.addresses, interval_s=interval_s) as chat:
        chat.come_in()
        time.sleep(_CALM_S)
        status = hosts.watch.status()
        were_on = [chat.host_of(n) for n in range(users)]
        lost_s = time.monotonic()
        hosts.cluster[name].kill()
        behind = len(chat.acked)  # what came while it was being killed says nothing
        chat.speak()
        first = chat.served(behind, users, GIVEN_UP_S)
        pauses = [
            Pause(
                lost_with(name, status, person.range_, is_there=were_on[n] == number),
                first[n].at_s - lost_s if n in first else None,
            )
            for n, person in enumerate(crowd)
        ]
        started_s = time.monotonic()
        hosts.cluster[name].start()
        hosts.cluster[name].await_ready()
    return Loss(name, pauses, chat.refused, _whole_after(hosts, started_s))


def lost_with(host: str, status: ClusterStatus, range_: int, *, is_there: bool) -> str:
    """Return what of a user's was on a host, of what its messages go through."""
    of_range = status.ranges[range_]
    if is_there:
        return LOST[0]
    if of_range.owner == host:
        return LOST[1]
    return LOST[2] if of_range.leader == host else LOST[3]


def move(hosts: ThreeHosts, range_: int, *, back: bool, users: int) -> Move:
    """Move a range from its owner to its standby while `users` write to it without a rest.

    Or `back` from there, so that ranges are spread as before. Then wait until all is whole.

    Raises:
        TimeoutError: it was not moved in time, or something is not whole in a minute.
    """
    of_range = hosts.watch.status().ranges[range_]
    to = hosts.watch.home_of(range_) if back else min(set(of_range.standing) - {of_range.owner})
    with Chat(_people(hosts, users, only=range_), hosts.addresses, interval_s=0.0) as chat:
        chat.come_in()
        calm_s = time.monotonic()
        time.sleep(_CALM_S)
        asked_s = time.monotonic()
        hosts.watch.move(range_, "" if back else to)
        hosts.watch.await_that(
            f"range {range_} to be moved to {to}",
            lambda status: status.ranges[range_].owner == to,
            within_s=_MOVED_WITHIN_S,
        )
        moved_s = time.monotonic()
        time.sleep(_CALM_S)
        times, ended_s = [each.at_s for each in chat.acked], time.monotonic()
    hosts.watch.await_whole()
    return Move(
        range_,
        of_range.owner,
        to,
        stood_s=longest_gap(times, asked_s, ended_s),
        before_s=longest_gap(times, calm_s, asked_s),
        took_s=moved_s - asked_s,
    )


def longest_gap(times: Sequence[float], begins: float, ends: float) -> float:
    """Return the longest time between two of `times` and the bounds, from `begins` to `ends`."""
    inside = [begins, *(each for each in times if begins < each < ends), ends]
    return max(later - earlier for earlier, later in pairwise(inside))


def away(hosts: ThreeHosts, name: str, *, seconds: float, users: int, interval_s: float) -> Away:
    """Have a host be away for so long of a chat, and come back while it goes on.

    Raises:
        TimeoutError: it has not caught up in time.
    """
    watch, host = hosts.watch, hosts.cluster[name]
    with (
        Chat(_people(hosts, users), hosts.addresses, interval_s=interval_s) as chat,
        ThreadPoolExecutor(1) as waiter,
    ):
        chat.come_in()
        had = copies_of(watch.status(), name)
        host.kill()
        watch.rest(seconds)
        logs, began_s = watch.logs(), time.monotonic()
        host.start()
        ready = waiter.submit(_seconds_until_ready, host, began_s)
        first_s = engine_s = caught_up_s = None
        while caught_up_s is None or engine_s is None:
            now_s = time.monotonic()
            if now_s > began_s + _CAUGHT_UP_WITHIN_S:
                raise TimeoutError(f"{name} has not caught up in {_CAUGHT_UP_WITHIN_S:g} s")
            standing = copies_of(watch.status(), name)
            if standing and first_s is None and host.lives:
                first_s = now_s
            if engine_s is None and watch.replicas_lack(name) == 0:
                engine_s = now_s
            if caught_up_s is None and first_s is not None and has_all(standing, had, logs):
                caught_up_s = now_s
            time.sleep(_LOOK_S)
        lacked = {range_: logs[range_].last_seq - number for range_, number in had.items()}
        assert first_s is not None
        return Away(
            name,
            seconds,
            records=sum(lacked.values()),
            bytes=bytes_of(lacked, logs),
            ready_s=ready.result(),
            engine_s=engine_s - began_s,
            caught_up_s=caught_up_s - began_s,
            working_s=caught_up_s - first_s,
            whole_s=_whole_after(hosts, began_s),
        )


def copies_of(status: ClusterStatus, host: str) -> dict[int, int]:
    """Return the ranges that a host has, and up to which record; none where it does not live."""
    if status.hosts[host].life != LIVING:
        return {}
    return {
        n: each.last if each.owner == host else each.standing[host]
        for n, each in enumerate(status.ranges)
        if each.owner == host or host in each.standing
    }


def has_all(
    standing: Mapping[int, int], ranges: Iterable[int], logs: Sequence[StreamState]
) -> bool:
    """Whether a host has of all these ranges what their logs had."""
    return all(standing.get(range_, 0) >= logs[range_].last_seq for range_ in ranges)


def bytes_of(records: Mapping[int, int], logs: Sequence[StreamState]) -> int:
    """Return the bytes of so many records of each range, by what one there has on average."""
    return round(
        sum(count * logs[n].bytes / max(1, logs[n].messages) for n, count in records.items())
    )


def _people(hosts: ThreeHosts, users: int, *, only: int | None = None) -> list[Person]:
    return people(users, ranges=hosts.ranges, hosts=len(HOSTS), only=only)


def _seconds_until_ready(host: Host, began_s: float) -> float:
    host.await_ready(_CAUGHT_UP_WITHIN_S)
    return time.monotonic() - began_s


def _whole_after(hosts: ThreeHosts, began_s: float) -> float | None:
    """Return the seconds from then until all is whole; None: it is not, in a minute."""
    try:
        hosts.watch.await_whole()
    except TimeoutError:
        return None
    return time.monotonic() - began_s
