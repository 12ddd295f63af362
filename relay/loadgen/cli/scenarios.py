"""The scenarios as the command line has them: words, examples and options of each, a row each."""

from __future__ import annotations

from typing import Final, NamedTuple

from relay.loadgen.cli import options
from relay.loadgen.cli.options import Option
from relay.loadgen.traffic.plan import Chat, Group, Idle, Mixed, Offline, Scenario, Storm


class Row(NamedTuple):
    """One scenario. `examples` are what follows the program's name."""

    name: str
    kind: type[Scenario]
    summary: str
    help: str
    examples: tuple[str, ...]
    options: list[Option]


def _row(
    kind: type[Scenario],
    summary: str,
    text: str,
    examples: tuple[str, ...],
    own: list[Option],
    *,
    with_reference: bool = True,
    with_texts: bool = True,
    with_warm_up: bool = True,
    with_length: bool = True,
    with_groups: bool = False,
) -> Row:
    common = [
        *options.target(with_reference=with_reference),
        *options.load(with_texts=with_texts, with_warm_up=with_warm_up, with_length=with_length),
        *options.written(with_groups=with_groups),
    ]
    name = str(kind.__struct_config__.tag)
    return Row(name, kind, summary, f"{summary}\n\n{text}", examples, [*own, *common])


ROWS: Final = (
    _row(
        Chat,
        "Pairs: one of each writes, the other acks.",
        "In a closed loop, which is the default, each pair has --window messages under way and "
        "sends the next when one is complete: that tells how much the relay can take. With --rate "
        "messages leave at their times however it keeps up: that tells its latency.",
        (
            "chat --pairs 100 --window 8",
            "chat --rate 3000 --for 30s --html report.html",
            'chat --spawn "--workers 1 --fronts 1" --reference --relay-cpus 0 --load-cpus 1',
        ),
        options.chat(),
    ),
    _row(
        Group,
        "Groups whose members all listen and of whom some write.",
        "A relay that is not spawned here must know the groups: --groups-file writes the file for "
        "its --groups. Who only listens shows the order that all must have seen.",
        (
            "group --members 256 --groups-file groups.json",
            "group --members 256 --for 30s",
            'group --groups 4 --senders 2 --rate 200 --spawn "--workers 2"',
        ),
        options.group(),
        with_groups=True,
    ),
    _row(
        Offline,
        "Fill mailboxes of users who are away, then log in and drain.",
        "It lasts as long as that takes: there is no --for.",
        (
            "offline --users 100 --messages 10000",
            'offline --messages 100000 --spawn "--workers 1 --fronts 1" --json offline.json',
        ),
        options.offline(),
        with_warm_up=False,
        with_length=False,
    ),
    _row(
        Storm,
        "Logins, as fast as accepted or at a rate.",
        "It lasts until everyone is in: there is no --for. Pairs who are in already chat.",
        (
            "storm --logins 10000 --at-once 64",
            "storm --logins 10000 --rate 500 --procs 2",
        ),
        options.storm(),
        with_texts=False,
        with_warm_up=False,
        with_length=False,
    ),
    _row(
        Idle,
        "Logged-in sockets that do nothing; --for says how long.",
        "It shows what a connection costs in memory, and in CPU while nothing happens.",
        (
            'idle --sockets 10000 --spawn "--workers 1 --fronts 1"',
            "idle --sockets 50000 --procs 4 --for 5m",
        ),
        options.idle(),
        with_texts=False,
        with_warm_up=False,
    ),
    _row(
        Mixed,
        "A day in the life: comings and goings, chats, groups, reads.",
        "Some leave without goodbye, as if the battery had died. The reference keeps nothing for "
        "those, so there is no --reference.",
        (
            'mixed --users 200 --rate 200 --spawn "--workers 2 --fronts 2"',
            "mixed --users 1000 --online 20s --away 10s --for 20m --html day.html",
        ),
        options.mixed(),
        with_reference=False,
        with_groups=True,
    ),
)


def having(flag: str) -> list[str]:
    """Return the scenarios that have an option."""
    return [row.name for row in ROWS if any(flag in option.opts for option in row.options)]
