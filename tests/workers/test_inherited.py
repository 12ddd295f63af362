"""What a standby has heard goes to the owner that it becomes: the last of each kind."""

from __future__ import annotations

import os
import socket

from relay.bus.topology import Topology
from relay.process.channel import child_end, supervisor_end
from relay.process.control import GroupsChanged, TopologyChanged
from relay.process.memo import read_memo, write_memo
from workers.inherited import Inherited


def test_the_last_of_each_kind_is_kept_in_the_order_in_which_they_came() -> None:
    ours, theirs = socket.socketpair()
    supervisor, control = supervisor_end(ours), child_end(theirs.detach())
    inherited = Inherited(control)
    for content in (b"first", b"second"):
        memo = write_memo("groups", content)
        supervisor.send(GroupsChanged(), descriptor=memo)
        os.close(memo)
        supervisor.send(TopologyChanged(Topology(epoch=len(content))))
    supervisor.send(TopologyChanged(Topology(epoch=9)))

    for message in control.receive():
        assert isinstance(message, GroupsChanged | TopologyChanged)
        inherited.put(message)

    assert inherited.take() == (GroupsChanged(), TopologyChanged(Topology(epoch=9)))
    kept = control.take_descriptor()
    assert read_memo(kept) == b"second"
    os.close(kept)
    supervisor.close()
    control.close()
