"""Several fronts and workers look like one relay: users meet wherever their sockets are."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    GROUP,
    SENT_AT,
    Frame,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    group_delivery,
    group_receipt,
    message_id_of,
    queued_in,
)
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter


def login_at(relay: Relay, front: int, user: str) -> SheetClient:
    client = relay.connect_to_front(front)
    client.login(user)
    return client


def test_users_of_different_fronts_chat_and_take_over_as_on_one(start_relay: RelayStarter) -> None:
    relay = start_relay(fronts=2)
    alice, bob = login_at(relay, 0, ALICE), login_at(relay, 1, BOB)
    carol, eve = login_at(relay, 0, CAROL), login_at(relay, 1, EVE)
    for author, reader in ((alice, bob), (carol, bob), (eve, carol), (alice, eve)):
        exchange_marker(author, reader)

    alice.send_message(GROUP, "MANY")
    alice.expect(ack_1("MANY", author=ALICE, to=GROUP))
    for member in (bob, carol):
        member.expect(group_delivery("MANY", author=ALICE))

    # Newest wins, whichever front it is at.
    here = login_at(relay, 0, BOB)
    assert here.queued == [group_delivery("MANY", author=ALICE)]
    bob.expect(["Cmd", {"type": "disconnect", "kind": "replaced"}])
    bob.expect_close(4409)
    exchange_marker(alice, here)
    here.ack(here.queued[0])
    alice.expect(group_receipt("MANY", 2, author=ALICE, by=BOB, t=SENT_AT))

    # A front that dies costs its clients the connection, and nothing else.
    relay.children("front")[0].process.kill()
    assert here.wait_for_close() == 1006
    eve.send_message(BOB, "M")
    eve.expect(ack_1("M", author=EVE, to=BOB))
    poll_for("the front is back", lambda: len(relay.children("front")) == 2)
    assert login_at(relay, 1, BOB).queued == [delivery("M", author=EVE)]
    exchange_marker(eve, login_at(relay, 0, CAROL))


@dataclass
class Story:
    """What one user sent and got, over all its connections."""

    client: SheetClient
    # By message id: to whom, and whether ack 1 has come.
    sent: dict[str, str] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)
    # (chat, message id) in the order of first sight, and what was acked of it.
    seen: dict[tuple[str, str], Frame] = field(default_factory=dict)
    acked: set[tuple[str, str]] = field(default_factory=set)
    receipts: set[tuple[str, str]] = field(default_factory=set)  # (message id, by whom)

    def take(self, frame: Frame, *, on_this_connection: Counter[tuple[str, str]]) -> None:
        match frame[0]:
            case "action":
                [message] = frame[2]
                key = (message["key"]["remoteJid"], message["key"]["id"])
                on_this_connection[key] += 1
                assert on_this_connection[key] == 1, f"twice on one connection: {key}"
                self.seen.setdefault(key, frame)
            case "Msg" if frame[1]["ack"] == 1:
                assert frame[1]["id"] in self.sent
                self.accepted.append(frame[1]["id"])
            case "Msg":
                self.receipts.add((frame[1]["id"], frame[1]["to"].partition("@")[0]))
            case "MsgInfo":
                self.receipts.add((frame[1]["id"], frame[1]["participant"].partition("@")[0]))
            case "q":
                for inner in queued_in(frame):
                    self.take(inner, on_this_connection=on_this_connection)
            case _:
                raise AssertionError(f"unexpected: {frame}")


def test_random_traffic_with_reconnects_is_complete_and_in_order(
    start_relay: RelayStarter,
) -> None:
    # Any seed will do; a fixed one makes a failure one that can be repeated.
    seeded = random.Random(7)
    users = [f"91{number}" for number in range(8)]
    groups = {"1-1@g.us": users[:5], "2-2@g.us": users[3:]}
    relay = start_relay(fronts=2, workers=3, groups=groups)
    stories = {user: Story(relay.connect()) for user in users}
    counters: dict[str, Counter[tuple[str, str]]] = {user: Counter() for user in users}

    def log_in(user: str) -> None:
        story = stories[user]
        counters[user] = Counter()
        story.client = relay.connect()
        story.client.user = user
        story.client.send(auth_frame(user))
        assert story.client.recv()[0] == "auth"

    def read(user: str) -> None:
        for frame in stories[user].client.recv_available():
            stories[user].take(frame, on_this_connection=counters[user])

    def leave(user: str, *, in_order: bool) -> None:
        # Whatever a pong may have confirmed counts as read.
        read(user)
        if in_order:
            stories[user].client.close()
            read(user)
        else:
            stories[user].client.drop()

    def read_acks(user: str) -> None:
        """Take what comes until each message sent has its ack 1."""
        story = stories[user]
        while len(story.accepted) < len(story.sent):
            story.take(story.client.recv(), on_this_connection=counters[user])

    def ack_some(user: str, share: float) -> None:
        story = stories[user]
        for key in story.seen.keys() - story.acked:
            if seeded.random() < share:
                story.client.ack(story.seen[key])
                story.acked.add(key)

    for user in users:
        log_in(user)
    for step in range(600):
        user = seeded.choice(users)
        story = stories[user]
        act = seeded.random()
        if act < 0.6:
            own_groups = [jid for jid, members in groups.items() if user in members]
            to = seeded.choice([*users, *own_groups])
            count = seeded.choice([1, 1, 1, 7])
            ids = [f"{user}-{step}-{number}" for number in range(count)]
            story.sent.update(dict.fromkeys(ids, to))
            story.client.send(action(*(element(to, message_id) for message_id in ids)))
        elif act < 0.9:
            read(user)
            ack_some(user, 0.5)
        else:
            read_acks(user)
            # Acks have no answer: what a broken connection swallows is acked again at the end.
            leave(user, in_order=act < 0.95)
            log_in(user)

    for user in users:
        read_acks(user)
    expected: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for user, story in stories.items():
        for message_id, to in story.sent.items():
            if to in groups:
                for member in set(groups[to]) - {user}:
                    expected[member].add((to, message_id))
            else:
                expected[to].add((f"{user}@s.whatsapp.com", message_id))
    for user, story in stories.items():
        assert story.accepted == list(story.sent), f"acks of {user}"

        def has_seen_all(user: str = user, story: Story = story) -> bool:
            read(user)
            return story.seen.keys() == expected[user]

        poll_for(f"{user} has seen everything", has_seen_all)

    def orders(keys: list[tuple[str, str]], by_author: str) -> list[tuple[str, str]]:
        return [key for key in keys if key[1].startswith(by_author + "-")]

    # FIFO per author and chat, and one order of each group for all its members.
    for user, story in stories.items():
        for author, other in stories.items():
            for chat in {chat for chat, _ in story.seen}:
                came = [key for key in orders(list(story.seen), author) if key[0] == chat]
                sent = [m for m in other.sent if (chat, m) in expected[user]]
                assert [message_id for _, message_id in came] == sent, (user, author, chat)
    for jid, members in groups.items():
        for one in members:
            for two in members:
                common = [
                    [key for key in stories[a].seen if key[0] == jid and key in stories[b].seen]
                    for a, b in ((one, two), (two, one))
                ]
                assert common[0] == common[1], (jid, one, two)

    # At a last login everything is acked, and every author gets every receipt.
    for user in users:
        leave(user, in_order=True)
        log_in(user)
        for frame in stories[user].seen.values():
            stories[user].client.ack(frame)
    for user, story in stories.items():
        due = {
            (message_id, reader)
            for message_id, to in story.sent.items()
            for reader in (set(groups[to]) - {user} if to in groups else {to})
        }

        def has_all_receipts(user: str = user, story: Story = story) -> bool:
            read(user)
            return story.receipts >= due  # noqa: B023

        poll_for(f"{user} has every receipt", has_all_receipts)
    for user in users:
        leave(user, in_order=True)
        queued = [message_id_of(f) for f in relay.login(user).queued if f[0] == "action"]
        assert queued == []
