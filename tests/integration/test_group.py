"""Groups: the rules of PROTOCOL 2.5 and 2.6, and the provisioning file."""

import json
from itertools import count

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    GROUP,
    SENT_AT,
    ack_1,
    group_delivery,
    group_receipt,
    message_id_of,
    receipt,
)
from tests.outside.people import Cast, users_of_shard
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

OTHER_GROUP = "917069852821-1566557066@g.us"

_attempts = count()


def wait_until_accepted(sender: SheetClient, group: str = GROUP) -> str:
    """Send to the group until it is accepted; return the id of the message that was."""

    def try_once() -> bool:
        sender.send_message(group, f"TRY{next(_attempts)}")
        answers.append(sender.recv())
        return bool(answers[-1][0] == "Msg")

    answers: list[list[object]] = []
    poll_for(f"{sender.user} may send to {group}", try_once)
    return message_id_of(answers[-1])


def test_2_5_1_only_members_send_and_only_to_a_group_that_exists(
    shared_relay: Relay, cast: Cast
) -> None:
    eve, bob = shared_relay.logged_in(cast.eve, cast.bob)

    eve.send_message(cast.group, "A")
    eve.expect_error(403, tag="action", message_id="A")
    eve.send_message(OTHER_GROUP, "B")
    eve.expect_error(404, tag="action", message_id="B")

    bob.send_message(cast.group, "C")
    bob.expect(ack_1("C", author=cast.bob, to=cast.group))
    exchange_marker(eve, bob)


def test_2_5_1_the_provisioning_file_is_read_again_on_sighup(relay: Relay) -> None:
    alice, eve = relay.logged_in(ALICE, EVE)
    eve.send_message(GROUP, "EARLY")
    eve.expect_error(403, message_id="EARLY")

    relay.write_groups({GROUP: [ALICE, EVE], OTHER_GROUP: [ALICE, EVE]})
    relay.reload()

    accepted = wait_until_accepted(eve)
    alice.expect(group_delivery(accepted, author=EVE))
    accepted = wait_until_accepted(eve, OTHER_GROUP)
    alice.expect(group_delivery(accepted, author=EVE, group=OTHER_GROUP))

    # A group that the file does not name any more is no group any more.
    relay.write_groups({OTHER_GROUP: [ALICE, EVE]})
    relay.reload()

    def is_gone() -> bool:
        eve.send_message(GROUP, f"TRY{next(_attempts)}")
        answer = eve.recv()
        if answer[0] == "error":
            assert answer[1]["code"] == 404, answer
        return bool(answer[0] == "error")

    poll_for("the group is gone", is_gone)


def test_2_5_1_a_bad_file_is_refused_whole_and_the_old_one_kept(relay: Relay) -> None:
    good = {"subject": "x", "participants": [f"{EVE}@c.us"], "admins": []}
    bad_groups: dict[str, object] = {
        GROUP: {"subject": "x"},
        "1@c.us": good,
        "2@g.us": {**good, "participants": [f"{EVE}@example.com"]},
        "3@g.us": {**good, "admins": [f"{BOB}@c.us"]},
        "4@g.us": {**good, "participants": "all"},
    }
    # Each beside a good group, which may not be taken either.
    texts = [json.dumps({OTHER_GROUP: good, jid: group}) for jid, group in bad_groups.items()]
    relay.log.expect(str(relay.groups_path))
    alice, eve = relay.logged_in(ALICE, EVE)

    for text in ("", "{", "[]", *texts):
        before = relay.log.text().count(str(relay.groups_path))
        relay.groups_path.write_text(text)
        relay.reload()
        poll_for(
            f"the refusal of {text} is logged",
            lambda: relay.log.text().count(str(relay.groups_path)) > before,  # noqa: B023
        )

    eve.send_message(OTHER_GROUP, "A")
    eve.expect_error(404, message_id="A")
    alice.send_message(GROUP, "B")
    alice.expect(ack_1("B", author=ALICE, to=GROUP))
    alice.expect_nothing()


def test_2_5_2_the_fan_out_is_the_members_at_acceptance_without_the_author(relay: Relay) -> None:
    alice, bob = relay.logged_in(ALICE, BOB)

    alice.send_message(GROUP, "M")

    alice.expect(ack_1("M", author=ALICE, to=GROUP))
    message = bob.recv()
    assert message == group_delivery("M", author=ALICE)
    exchange_marker(bob, alice)

    # Carol is removed and Eve joins: what was queued stays with whom it was queued for.
    relay.write_groups({GROUP: [ALICE, EVE]})
    relay.reload()
    eve = relay.login(EVE)
    accepted = wait_until_accepted(eve)
    alice.expect(group_delivery(accepted, author=EVE))
    exchange_marker(eve, bob)
    carol = relay.login(CAROL)
    assert carol.queued == [message]
    carol.ack(carol.queued[0])
    alice.expect(group_receipt("M", 2, author=ALICE, by=CAROL, t=SENT_AT))
    eve.close()
    assert [f for f in relay.login(EVE).queued if message_id_of(f) == "M"] == []


def test_2_5_3_all_members_see_one_order(start_relay: RelayStarter) -> None:
    here, there = users_of_shard(0), users_of_shard(1)
    members = [next(here), next(there), next(here), next(there)]
    relay = start_relay(groups={GROUP: members})
    readers = [relay.login(user) for user in members[:2]]
    authors = [relay.login(user) for user in members[2:]]
    ids = [f"M{number}" for number in range(50)]

    for message_id in ids:
        for author in authors:
            author.send_message(GROUP, f"{author.user}-{message_id}")

    orders = [
        [message_id_of(frame) for frame in reader.recv_many(2 * len(ids))] for reader in readers
    ]
    assert orders[0] == orders[1]
    for author in authors:
        mine = [message_id for message_id in orders[0] if message_id.startswith(author.user)]
        assert mine == [f"{author.user}-{message_id}" for message_id in ids]


def test_2_5_4_a_member_with_a_full_queue_is_skipped_and_the_send_succeeds(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[mailbox]\nmax_entries = 2\nauthor_share = 1.0")
    alice, carol = relay.logged_in(ALICE, CAROL)

    # Bob is away and has room for two; Carol acks and has room for all.
    for number in range(4):
        alice.send_message(GROUP, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=GROUP))
        carol.ack(carol.recv())
        alice.expect(group_receipt(f"M{number}", 2, author=ALICE, by=CAROL, t=SENT_AT))

    assert relay.login(BOB).queued == [
        group_delivery("M0", author=ALICE),
        group_delivery("M1", author=ALICE),
    ]


def test_2_6_a_receipt_goes_to_the_author_alone_and_names_the_session_user(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob, carol, eve = (
        shared_relay.login(user) for user in (cast.alice, cast.bob, cast.carol, cast.eve)
    )
    alice.send_message(cast.group, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.group))
    for member in (bob, carol):
        member.expect(group_delivery("M", author=cast.alice, group=cast.group))

    # `participant` is overwritten.
    bob.send(group_receipt("M", 2, author=cast.alice, by=cast.carol, t=SENT_AT, group=cast.group))
    alice.expect(group_receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group))

    # Who was not in the fan-out set acks nothing: neither a stranger nor the author.
    eve.send(group_receipt("M", 2, author=cast.alice, by=cast.carol, t=SENT_AT, group=cast.group))
    alice.send(group_receipt("M", 2, author=cast.alice, by=cast.carol, t=SENT_AT, group=cast.group))
    # The same id in another chat is another message.
    eve.send(receipt("M", 2, author=cast.alice, by=cast.eve, t=SENT_AT))
    exchange_marker(alice, eve)
    exchange_marker(bob, carol)
    exchange_marker(carol, bob)
    carol.send(group_receipt("M", 2, author=cast.alice, by=cast.carol, t=SENT_AT, group=cast.group))
    alice.expect(
        group_receipt("M", 2, author=cast.alice, by=cast.carol, t=SENT_AT, group=cast.group)
    )
