"""Who is let in, and what is kept of an address: I6, and the quotas of one address."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from relay.front import admission
from relay.front.admission import Admission, Bound, Visit, key_of
from relay.settings.tables import AdmissionSettings, LimitSettings, Settings

OURS, OTHERS = "198.51.100.1", "198.51.100.2"


class Scene:
    """An admission with a clock that the test turns."""

    def __init__(self, connections: int = 100, **settings: object) -> None:
        roomy = {
            "unauthenticated": 100,
            "address_connections": 0,
            "address_unauthenticated": 0,
            "address_handshakes_per_s": 0.0,
        }
        self.settings = Settings(
            limits=LimitSettings(connections=connections),
            admission=replace(AdmissionSettings(), **{**roomy, **settings}),
        )
        self.counters: Counter[str] = Counter()
        self.admission = Admission(self.settings, self.counters)
        self.now_ms = 1_000

    def arrive(self, address: str = OURS) -> Visit | Bound:
        return self.admission.arrive(address, self.now_ms)

    def let_in(self, address: str = OURS) -> Visit:
        visit = self.arrive(address)
        assert isinstance(visit, Visit), visit
        return visit


def test_a_front_takes_no_more_connections_than_it_may() -> None:
    scene = Scene(connections=2)
    first = scene.let_in()
    first.logged_in()
    scene.let_in()

    assert scene.arrive() is Bound.CONNECTIONS
    first.left()
    scene.let_in()


def test_c5_a_front_takes_no_more_connections_than_it_has_descriptors_for() -> None:
    scene = Scene()
    scene.admission.most_open = 1
    visit = scene.let_in()

    assert scene.arrive() is Bound.DESCRIPTORS
    visit.left()
    scene.let_in()


def test_those_who_have_not_logged_in_are_bounded_in_all() -> None:
    scene = Scene(unauthenticated=2)
    first, _ = scene.let_in(OURS), scene.let_in(OTHERS)

    assert scene.arrive() is Bound.UNAUTHENTICATED
    first.logged_in()
    first.logged_in()  # again, on the same connection
    scene.let_in()
    assert scene.arrive() is Bound.UNAUTHENTICATED


def test_the_connections_of_an_address_are_bounded_and_others_come_in() -> None:
    scene = Scene(address_connections=2)
    first = scene.let_in()
    first.logged_in()
    scene.let_in().logged_in()

    assert scene.arrive() is Bound.ADDRESS_CONNECTIONS
    scene.let_in(OTHERS)
    first.left()
    scene.let_in()


def test_those_of_an_address_who_have_not_logged_in_are_bounded() -> None:
    scene = Scene(address_unauthenticated=1)
    first = scene.let_in()

    assert scene.arrive() is Bound.ADDRESS_UNAUTHENTICATED
    scene.let_in(OTHERS)
    first.logged_in()
    second = scene.let_in()
    second.left()
    scene.let_in()


def test_an_address_may_come_in_a_burst_and_then_at_its_rate() -> None:
    scene = Scene(address_handshakes_per_s=2.0, address_handshakes_burst=3)
    for _ in range(3):
        scene.let_in().left()

    assert scene.arrive() is Bound.ADDRESS_HANDSHAKES
    scene.let_in(OTHERS)
    scene.now_ms += 499
    assert scene.arrive() is Bound.ADDRESS_HANDSHAKES
    scene.now_ms += 1
    scene.let_in().left()
    assert scene.arrive() is Bound.ADDRESS_HANDSHAKES


def test_an_exempt_address_has_only_the_limits_of_all() -> None:
    scene = Scene(unauthenticated=3, address_connections=1, exempt=("198.51.100.0/24", "::1"))
    scene.let_in(OURS)
    scene.let_in(f"::ffff:{OURS}")
    scene.let_in("::1")

    assert scene.arrive(OURS) is Bound.UNAUTHENTICATED
    assert scene.admission.addresses == 0


def test_by_default_nothing_that_runs_here_is_counted_by_its_address() -> None:
    admission = Admission(Settings(), Counter())

    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert isinstance(admission.arrive(address, 0), Visit)
    assert admission.addresses == 0


def test_one_of_a_proxy_counts_in_all_and_then_for_its_address_too() -> None:
    scene = Scene(unauthenticated=3, address_connections=1)
    ours, again = (scene.admission.arrive(None, scene.now_ms) for _ in range(2))
    assert isinstance(ours, Visit)
    assert isinstance(again, Visit)
    theirs = scene.let_in(OTHERS)
    assert scene.admission.arrive(None, scene.now_ms) is Bound.UNAUTHENTICATED

    assert scene.admission.place(ours, OURS, scene.now_ms) is None
    assert ours.told_address == OURS
    assert scene.admission.place(again, OURS, scene.now_ms) is Bound.ADDRESS_CONNECTIONS
    again.left()
    assert scene.arrive() is Bound.ADDRESS_CONNECTIONS
    for visit in (ours, theirs):
        visit.logged_in()
        visit.left()

    assert (scene.admission.connections, scene.admission.unauthenticated) == (0, 0)
    scene.let_in()
    scene.now_ms += 3_600_000
    scene.let_in("203.0.113.5")
    assert scene.admission.addresses == 2


def test_one_of_a_proxy_whose_address_is_exempt_has_only_the_limits_of_all() -> None:
    scene = Scene(address_connections=1, exempt=(OURS,))
    for _ in range(3):
        visit = scene.admission.arrive(None, scene.now_ms)
        assert isinstance(visit, Visit)
        assert scene.admission.place(visit, OURS, scene.now_ms) is None
    assert scene.admission.addresses == 0


def test_an_office_behind_one_nat_never_meets_the_defaults() -> None:
    """Its router starts again, and 240 come back at once; then the front does so."""
    admission = Admission(Settings(), Counter())
    for _ in range(4):
        visits = [admission.arrive(OURS, 0) for _ in range(240)]
        assert all(isinstance(visit, Visit) for visit in visits)
        for visit in visits:
            assert isinstance(visit, Visit)
            visit.logged_in()
            visit.left()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("::ffff:198.51.100.1", "::ffff:198.51.100.2", False),
        ("198.51.100.1", "198.51.100.2", False),
        ("", "", True),
    ],
)
def test_an_address_of_ipv6_counts_as_its_64(one: str, other: str, same: bool) -> None:
    assert (key_of(one) == key_of(other)) is same


def test_i6_an_address_is_forgotten_once_it_has_gone_and_its_handshakes_are_forgiven() -> None:
    scene = Scene(address_handshakes_per_s=10.0, address_handshakes_burst=10)
    for number in range(200):
        scene.let_in(f"198.51.100.{number}").left()
        scene.now_ms += 60
    assert scene.admission.addresses <= 4

    stays = scene.let_in(OURS)
    for number in range(50):
        scene.now_ms += 60
        scene.let_in(f"203.0.113.{number}").left()
    assert scene.admission.addresses <= 5
    stays.left()


def test_i6_addresses_that_are_not_forgiven_yet_are_bounded_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MOST_IDLE", 20)
    scene = Scene(connections=1, address_handshakes_per_s=0.001)
    scene.let_in()

    for number in range(100):
        assert scene.arrive(f"203.0.113.{number}") is Bound.CONNECTIONS

    assert scene.admission.addresses == 21
    assert scene.counters["addresses_forgotten"] == 80


def test_changed_settings_hold_from_then_on_and_send_nobody_away() -> None:
    scene = Scene(address_connections=5)
    for _ in range(3):
        scene.let_in()

    scene.admission.adopt(
        replace(scene.settings, admission=replace(scene.settings.admission, address_connections=2))
    )

    assert scene.arrive() is Bound.ADDRESS_CONNECTIONS
    assert scene.admission.connections == 3


def test_what_is_counted_is_zero_when_all_have_gone() -> None:
    scene = Scene()
    visits = [scene.let_in(address) for address in (OURS, OTHERS, OURS)]
    visits[1].logged_in()
    for visit in visits:
        visit.left()

    assert (scene.admission.connections, scene.admission.unauthenticated) == (0, 0)
