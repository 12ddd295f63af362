"""Effects: a group message once a front."""

from relay.bus.envelopes import DeliverToMany
from workers.shard.effects import Effects

FRONT, OTHER_FRONT = b"front-0-1", b"front-1-2"


def test_the_sessions_of_a_front_share_one_frame_of_a_group_message() -> None:
    effects = Effects()

    for front, session in ((FRONT, 1), (OTHER_FRONT, 1), (FRONT, 2)):
        effects.deliver_shared(front, session, 10, b"to all")
    effects.deliver_shared(FRONT, 1, 11, b"the next")

    assert effects.to_fronts == {
        FRONT: [DeliverToMany([1, 2], 10, b"to all"), DeliverToMany([1], 11, b"the next")],
        OTHER_FRONT: [DeliverToMany([1], 10, b"to all")],
    }


def test_nobody_gets_anything_of_no_decision() -> None:
    effects = Effects()

    assert not effects.to_fronts
    assert not effects.to_peers
    assert not effects.applied
