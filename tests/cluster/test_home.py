"""What an agent says of its host, and what of the others: less where it cannot know."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from relay.bus.topology import Topology, WorkerAddress
from relay.cluster.beats import Beat, EngineFacts, Owned
from relay.cluster.home import BOOT_SHIFT, Home, tell
from relay.cluster.ownership import decide
from relay.cluster.placement import Plan
from relay.cluster.view import View
from relay.cluster.vouching import Vouch
from relay.process.control import ClusterTold

PLAN: Final = Plan(hosts=("a", "b", "c"), ranges=2, standbys=1)
HERE: Final = WorkerAddress(0, 0, 2047, "ipc://1", 17, "a", "tcp://10.0.0.1:9100", 5)
THERE: Final = WorkerAddress(1, 2048, 4095, "", 40, "b", "tcp://10.0.0.2:9100")
MINE: Final = Topology(1, (HERE, THERE), ("front-a-0-3", "front-b-0-7"))
FROM_B: Final = Beat(
    host="b", boot=1, number=1, owned={1: Owned(40, THERE.tcp)}, fronts=("front-b-0-7",)
)


def home(incarnation: int = (3 << BOOT_SHIFT) + 2) -> Home:
    home = Home("a", incarnation=incarnation)
    home.follow(MINE)
    return home


def beat(home: Home, *, draining: bool = False) -> Beat:
    return home.beat(
        moving=None, plan=PLAN.mark, ranges=PLAN.ranges, draining=draining, engine=EngineFacts()
    )


def view(now_s: float = 0.0) -> View:
    return View(PLAN, PLAN.hosts, detect_s=1.5, isolate_s=3.0, now_s=now_s)


def told_by(view: View, now_s: float, before: ClusterTold | None = None) -> ClusterTold | None:
    return tell(view, decide(view, "a", now_s), "a", before, now_s)


def test_a_beat_has_what_is_here_and_nothing_of_others() -> None:
    here = home()
    here.stand_by({1: 12}, synced={0: 16, 1: 10})

    said = beat(here)

    assert said.host == "a"
    assert said.boot == 3
    assert said.owned == {0: Owned(17, HERE.tcp)}
    assert said.standing == {1: 12}
    assert said.synced == {0: 16, 1: 10}
    assert said.fronts == ("front-a-0-3",)


def test_each_beat_is_later_than_all_before_also_of_an_earlier_agent() -> None:
    before, after = home((3 << BOOT_SHIFT) + 2), home((3 << BOOT_SHIFT) + 9)
    first, second = beat(before), beat(before)

    assert first.order < second.order < beat(after).order
    assert beat(after).order < beat(home((4 << BOOT_SHIFT) + 1)).order


def test_a_beat_has_to_wait_until_all_is_known_that_is_here() -> None:
    here = Home("a", incarnation=1)
    assert not here.is_known

    here.follow(MINE)
    assert not here.is_known, "nothing is known of standbys"
    here.stand_by({})
    assert here.is_known
    assert here.has_workers
    here.follow(Topology(2, (THERE,), ()))
    assert not here.has_workers


def test_a_host_without_an_agent_is_listed_while_its_workers_answer() -> None:
    seen = view()
    for number in range(40):
        now_s = number / 4
        seen.hear(beat(home()), now_s)
        seen.hear(Beat(host="c", boot=1, number=number), now_s)
        if number < 8:
            seen.hear(structs.replace(FROM_B, number=number + 1), now_s)
        elif number < 24:
            seen.vouch("b", Vouch(1, 40), now_s)
        told = told_by(seen, now_s)
        if number == 23:
            assert told is not None
            assert told.workers == (THERE,)
            assert told.fronts == ("front-b-0-7",)

    assert told is not None
    assert (told.workers, told.fronts) == ((), ())


def test_what_is_new_here_is_noticed_and_what_is_new_elsewhere_is_not() -> None:
    here = home()

    assert not here.follow(Topology(2, (HERE,), ("front-a-0-3",)))
    assert here.follow(Topology(3, (), ("front-a-0-3",)))
    assert here.follow(Topology(4, (), ()))
    assert here.stand_by({0: 1})
    assert not here.stand_by({0: 2})
    assert here.stand_by({})


def test_nothing_is_told_before_all_were_heard_or_had_their_time() -> None:
    seen = view()
    seen.hear(beat(home()), 0.1)
    seen.hear(FROM_B, 0.1)

    assert told_by(seen, 0.2) is None  # of c nothing is known yet
    seen.hear(Beat(host="b", boot=1, number=2, owned=FROM_B.owned, fronts=FROM_B.fronts), 1.0)
    told = told_by(seen, 1.6)

    assert told is not None
    assert told.workers == (THERE,)
    assert told.fronts == ("front-b-0-7",)


def test_of_a_silent_host_nobody_is_listed_where_there_is_a_majority() -> None:
    seen = view()
    for number in range(20):
        now_s = number / 4
        seen.hear(beat(home()), now_s)
        seen.hear(Beat(host="c", boot=1, number=number), now_s)
        if number < 8:
            seen.hear(structs.replace(FROM_B, number=number + 1), now_s)
        told = told_by(seen, now_s)

    assert told is not None
    assert told.workers == ()
    assert told.fronts == ()
    assert not told.isolated


def test_without_a_majority_all_stay_listed_and_nobody_is_served() -> None:
    seen, told = view(), None
    for number in range(40):
        now_s = number / 4
        seen.hear(beat(home()), now_s)
        if number < 12:
            seen.hear(Beat(host="c", boot=1, number=number), now_s)
            seen.hear(structs.replace(FROM_B, number=number + 1), now_s)
        told = told_by(seen, now_s, told) or told

    assert told is not None
    assert told.workers == (THERE,)
    assert told.fronts == ("front-b-0-7",)
    assert told.isolated


def test_an_owner_that_another_one_has_followed_is_not_listed() -> None:
    seen = view()
    seen.hear(FROM_B, 0.1)
    seen.hear(Beat(host="c", boot=1, number=1, owned={1: Owned(50, "tcp://10.0.0.3:9100")}), 0.1)

    told = told_by(seen, 0.2)

    assert told is not None
    assert [(each.host, each.incarnation) for each in told.workers] == [("c", 50)]


def test_a_host_that_is_being_added_is_listed_where_the_file_does_not_name_it_yet() -> None:
    seen = view()
    added = {1: Owned(50, "tcp://10.0.0.4:9100")}
    for number in range(20):
        now_s = number / 4
        seen.hear(beat(home()), now_s)
        for host in "bc":
            seen.hear(Beat(host=host, boot=1, number=number + 1), now_s)
        if number < 12:
            d = Beat(host="d", boot=1, number=number + 1, owned=added, fronts=("front-d-0-2",))
            seen.hear(d, now_s)
        told = told_by(seen, now_s)
        if number == 11:
            assert told is not None
            assert [(each.host, each.tcp) for each in told.workers] == [("d", added[1].endpoint)]
            assert told.fronts == ("front-d-0-2",)

    assert told is not None
    assert (told.workers, told.fronts) == ((), ()), "it is silent by now"


def test_an_agent_that_has_just_started_does_not_say_that_the_host_is_cut_off() -> None:
    seen = view()
    for number in range(8):
        decisions = decide(seen, "a", number / 4)
    assert decisions.isolated

    told = tell(seen, decisions, "a", None, 1.75, is_new=True)

    assert told is not None
    assert told.isolated is None


def test_a_drained_host_serves_nobody_once_it_owns_nothing() -> None:
    drained = View(
        structs.replace(PLAN, away=frozenset("a")),
        PLAN.hosts,
        detect_s=1.5,
        isolate_s=3.0,
        now_s=0.0,
    )
    owns = home()
    for now_s in (0.0, 1.0, 2.0):
        drained.hear(beat(owns), now_s)
        for host in "bc":
            number = 1 + int(now_s)
            drained.hear(Beat(host=host, boot=1, number=number), now_s)
        said = told_by(drained, now_s)
    assert said is not None
    assert said.isolated is False

    owns.follow(Topology(2, (THERE,), ()))
    drained.hear(beat(owns), 2.0)

    said = told_by(drained, 2.0)
    assert said is not None
    assert said.isolated is True


def test_a_store_that_ends_before_its_log_begins_is_handed_out_to_nobody() -> None:
    here = home()
    here.stand_by({1: 499})
    assert not here.holds(1, at_least=500)
    assert here.holds(0, at_least=500)  # owned

    here.stand_by({1: 500})

    assert here.holds(1, at_least=500)
    assert not here.holds(2, at_least=0)
