"""A store without room refuses sends; reads and acks go on, and room that comes back is used."""

from tests.outside.client import SheetClient
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    SENT_AT,
    ack_1,
    check_error,
    delivery,
    receipt,
)
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

FULL_MAP = "[store]\nmap_bytes = 67108864\nmax_map_bytes = 67108864\n"
BODY = {"conversation": "x" * 60_000}


def send_until_refused(author: SheetClient, to: str, *, most: int) -> tuple[int, str]:
    """Send M0, M1, ... until error 500; return how many were acked and the reason."""
    for number in range(most):
        author.send_message(to, f"M{number}", BODY)
        answer = author.recv()
        if answer[0] == "error":
            check_error(answer, 500, message_id=f"M{number}")
            return number, answer[1]["reason"]
        assert answer == ack_1(f"M{number}", author=author.user, to=to)
    raise AssertionError(f"{most} messages were stored")


def test_a_full_store_refuses_sends_until_acks_have_made_room(start_relay: RelayStarter) -> None:
    relay = start_relay(
        fronts=1, workers=1, config=FULL_MAP + "[mailbox]\nmax_bytes = 1073741824\n"
    )
    relay.log.expect("store.refuses_sends")
    alice = relay.login(ALICE)
    stored, reason = send_until_refused(alice, BOB, most=1200)  # 64 MiB hold no more
    assert "full" in reason
    # A repeat of what is stored is acked as ever.
    alice.send_message(BOB, "M0", BODY)
    alice.expect(ack_1("M0", author=ALICE, to=BOB))

    # The reader gets it all, and his acks make room.
    bob = relay.connect()
    frames = [frame for page in bob.login_pages(BOB, stored) for frame in page]
    assert frames == [delivery(f"M{n}", author=ALICE, message=BODY) for n in range(stored)]
    for frame in frames:
        bob.ack(frame)
    alice.recv_many(stored)

    def takes_again() -> bool:
        alice.send_message(BOB, "AGAIN", {"conversation": "there?"})
        return bool(alice.recv() == ack_1("AGAIN", author=ALICE, to=BOB))

    poll_for("room", takes_again)
    bob.expect(delivery("AGAIN", author=ALICE, message={"conversation": "there?"}))


def test_a_disk_that_refuses_writes_refuses_sends_until_it_takes_them_again(
    start_relay: RelayStarter,
) -> None:
    """The kernel bounds the size of files here, which no look at the free room tells of before."""
    relay = start_relay(fronts=1, workers=1, config="[supervisor]\nrestart_min_s = 0.01\n")
    alice, bob = relay.logged_in(ALICE, BOB)
    bob.send_message(ALICE, "EARLIER")
    bob.expect(ack_1("EARLIER", author=BOB, to=ALICE))
    earlier = alice.recv()
    relay.limit_file_size(2**20)

    stored, reason = send_until_refused(alice, EVE, most=40)  # 1 MiB holds no more
    relay.log.expect("store.refuses_sends")
    assert "cannot be written: File too large" in reason

    # Reads and acks go on: there is room for them yet, and no process has died of it.
    relay.login(CAROL)
    alice.ack(earlier)
    bob.expect(receipt("EARLIER", 2, author=BOB, by=ALICE, t=SENT_AT))

    relay.limit_file_size(None)

    def takes_again() -> bool:
        alice.send_message(EVE, f"M{stored}", BODY)
        return bool(alice.recv() == ack_1(f"M{stored}", author=ALICE, to=EVE))

    poll_for("the disk to be tried again", takes_again)
    eve = relay.connect()
    frames = [frame for page in eve.login_pages(EVE, stored + 1) for frame in page]
    assert frames == [delivery(f"M{n}", author=ALICE, message=BODY) for n in range(stored + 1)]
    assert "worker.exited" not in relay.log.text()
