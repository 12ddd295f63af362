"""The words of the control channel, by which a newer supervisor understands older children."""

import msgspec
import pytest

from relay.bus.topology import Topology, WorkerAddress
from relay.process.control import (
    AccordSettled,
    AccordWanted,
    ChildReady,
    ClusterTold,
    FromChild,
    FromSupervisor,
    GroupsChanged,
    HandOver,
    Heartbeat,
    HostState,
    Isolated,
    KeysChanged,
    KeysWanted,
    LogLost,
    Outcome,
    Promote,
    SettingsChanged,
    Standing,
    Stop,
    TopologyChanged,
    Wish,
)
from relay.settings.tables import Settings

# A rolling upgrade needs them to stay.
FROM_CHILD: list[tuple[FromChild, str]] = [
    (ChildReady(), '{"type":"ready"}'),
    (ChildReady("ipc:///run/w0-3.sock"), '{"type":"ready","endpoint":"ipc:///run/w0-3.sock"}'),
    (
        ChildReady("ipc:///run/w0-3.sock", "tcp://10.0.0.1:9100", 17),
        '{"type":"ready","endpoint":"ipc:///run/w0-3.sock","tcp":"tcp://10.0.0.1:9100","epoch":17}',
    ),
    (Standing(12), '{"type":"standing","applied":12}'),
    (ClusterTold(), '{"type":"cluster"}'),
    (
        ClusterTold(
            workers=(WorkerAddress(1, 2048, 4095, "tcp://10.0.0.2:9100", 8),),
            fronts=("front-b-0-1",),
            seats=(0, 1),
            promote=(0,),
            hand_over=((1, "b"),),
            isolated=True,
        ),
        '{"type":"cluster","workers":[{"index":1,"first_slot":2048,"last_slot":4095,'
        '"endpoint":"tcp://10.0.0.2:9100","incarnation":8}],"fronts":["front-b-0-1"],'
        '"seats":[0,1],"promote":[0],"hand_over":[[1,"b"]],"isolated":true}',
    ),
    (Heartbeat(), '{"type":"heartbeat"}'),
    (Heartbeat(7, 9, 12), '{"type":"heartbeat","sessions":7,"logins":9,"messages":12}'),
    (Heartbeat(synced=4), '{"type":"heartbeat","synced":4}'),
    (KeysWanted(), '{"type":"keys-wanted"}'),
    (LogLost(), '{"type":"log-lost"}'),
    (AccordSettled(2), '{"type":"accord-settled","number":2}'),
    (AccordSettled(2, "no"), '{"type":"accord-settled","number":2,"refusal":"no"}'),
    (Wish(1, "reload"), '{"type":"wish","number":1,"what":"reload","role":"front","index":0}'),
]
FROM_SUPERVISOR: list[tuple[FromSupervisor, str]] = [
    (
        TopologyChanged(
            Topology(
                epoch=7,
                workers=(WorkerAddress(0, 0, 4095, "ipc:///run/w0-3.sock", 3),),
                fronts=("front-0-1",),
            )
        ),
        '{"type":"topology","topology":{"epoch":7,"workers":[{"index":0,"first_slot":0,'
        '"last_slot":4095,"endpoint":"ipc:///run/w0-3.sock","incarnation":3}],'
        '"fronts":["front-0-1"]}}',
    ),
    (
        SettingsChanged(Settings()),
        f'{{"type":"settings","settings":{msgspec.json.encode(Settings()).decode()}}}',
    ),
    (GroupsChanged(), '{"type":"groups"}'),
    (KeysChanged(), '{"type":"keys"}'),
    (
        Outcome(1, "done", "it is"),
        '{"type":"outcome","number":1,"state":"done","detail":"it is"}',
    ),
    (AccordWanted(2, (3, "a", 1)), '{"type":"accord","number":2,"before":[3,"a",1]}'),
    (Stop(deadline_s=2.5), '{"type":"stop","deadline_s":2.5}'),
    (Promote(), '{"type":"promote"}'),
    (HandOver("b"), '{"type":"hand-over","to":"b"}'),
    (Isolated(True), '{"type":"isolated","isolated":true}'),
    (HostState({3: 12}), '{"type":"host-state","standing":{"3":12}}'),
    (
        HostState({3: 12}, synced={3: 10}),
        '{"type":"host-state","standing":{"3":12},"synced":{"3":10}}',
    ),
]


@pytest.mark.parametrize(("message", "line"), [*FROM_CHILD, *FROM_SUPERVISOR])
def test_each_message_is_spelled_as_ever(message: FromChild | FromSupervisor, line: str) -> None:
    assert msgspec.json.encode(message).decode() == line


@pytest.mark.parametrize(("message", "line"), FROM_CHILD)
def test_a_supervisor_understands_its_children(message: FromChild, line: str) -> None:
    understood: FromChild = msgspec.json.decode(line, type=FromChild)

    assert understood == message


@pytest.mark.parametrize(("message", "line"), FROM_SUPERVISOR)
def test_a_child_understands_its_supervisor(message: FromSupervisor, line: str) -> None:
    understood: FromSupervisor = msgspec.json.decode(line, type=FromSupervisor)

    assert understood == message


@pytest.mark.parametrize("union", [FromChild, FromSupervisor])
def test_every_word_is_tried_here(union: object) -> None:
    tried = {type(message) for message, _ in [*FROM_CHILD, *FROM_SUPERVISOR]}

    assert set(union.__args__) <= tried  # type: ignore[attr-defined]


def test_what_a_newer_version_adds_to_a_message_is_overlooked() -> None:
    line = b'{"type":"ready","endpoint":"x","metrics":9}'

    assert msgspec.json.decode(line, type=FromChild) == ChildReady("x")
