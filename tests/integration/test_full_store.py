"""A store without room refuses sends; reads and acks go on, and room that comes back is used."""

from .conftest import RelayStarter
from .harness import ALICE, BOB, ack_1, delivery, poll_for

FULL_MAP = "[store]\nmap_bytes = 67108864\nmax_map_bytes = 67108864\n"
BODY = {"conversation": "x" * 60_000}


def test_a_full_store_refuses_sends_until_acks_have_made_room(start_relay: RelayStarter) -> None:
    relay = start_relay(
        fronts=1, workers=1, config=FULL_MAP + "[mailbox]\nmax_bytes = 1073741824\n"
    )
    relay.expect_in_log("store.full")
    alice = relay.login(ALICE)
    stored = 0
    while True:
        alice.send_message(BOB, f"M{stored}", BODY)
        answer = alice.recv()
        if answer[0] == "error":
            break
        assert answer == ack_1(f"M{stored}", author=ALICE, to=BOB)
        stored += 1
        assert stored < 1200, "64 MiB hold no more than that"
    assert answer[1]["code"] == 500
    assert answer[1]["id"] == f"M{stored}"
    assert "full" in answer[1]["reason"]
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
