"""Identities on the bus: who it is, on which host, and on which connection."""

import pytest

from relay.bus.identity import BOOT_SHIFT, Who, connected_as, name_in_directory, who_is


@pytest.mark.parametrize(
    ("identity", "who"),
    [
        ("front-12-345", Who("front", 12, 345)),
        ("worker-0-1", Who("worker", 0, 1)),
        ("front-a-12-345", Who("front", 12, 345, "a")),
        ("front-a9-0-498417762305", Who("front", 0, 498417762305, "a9")),
        ("front-a-12-345.2", Who("front", 12, 345, "a", 2)),
        ("worker-3-9041.1", Who("worker", 3, 9041, "", 1)),
    ],
)
def test_an_identity_says_who_it_is(identity: str, who: Who) -> None:
    assert who_is(identity) == who_is(identity.encode()) == who
    assert connected_as(who.name, who.connection) == identity


def test_without_a_cluster_identities_are_what_they_always_were() -> None:
    assert Who("front", 1, 17).name == "front-1-17"
    assert connected_as(Who("worker", 3, 18).name, 0) == "worker-3-18"


@pytest.mark.parametrize(
    "text", ["", "nobody", "front-1", "front-a-b-1-2", "front-a-1", "front-1-2-"]
)
def test_what_is_no_identity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no identity"):
        who_is(text)


def test_paths_of_sockets_are_no_longer_in_a_cluster() -> None:
    """They are bounded; relay.supervision.claims counts on 21 bytes for a name."""
    boot = 29_700_000
    names = [name_in_directory("w255-", (boot << BOOT_SHIFT) + n) for n in (1, (1 << 24) - 1)]

    assert names == ["w255-1.sock", "w255-16777215.sock"]
    assert name_in_directory("q", 17) == "q17.sock"
