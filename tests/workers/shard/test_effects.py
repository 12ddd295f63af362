"""Effects: a group message once a front."""

from relay.bus.envelopes import Seq
from tests import plain
from workers.shard.effects import Effects

FRONT, OTHER_FRONT = b"front-0-1", b"front-1-2"


def test_the_sessions_of_a_front_share_one_frame_of_a_group_message() -> None:
    effects = Effects()

    for front, session in ((FRONT, 1), (OTHER_FRONT, 1), (FRONT, 2)):
        effects.deliver_shared(front, session, Seq(10), b"to all")
    effects.deliver_shared(FRONT, 1, Seq(11), b"the next")

    assert effects.to_fronts == {
        FRONT: [
            plain.deliver_to_many([1, 2], 10, b"to all"),
            plain.deliver_to_many([1], 11, b"the next"),
        ],
        OTHER_FRONT: [plain.deliver_to_many([1], 10, b"to all")],
    }


def test_nobody_gets_anything_of_no_decision() -> None:
    effects = Effects()

    assert not effects.to_fronts
    assert not effects.to_peers
    assert not effects.applied
