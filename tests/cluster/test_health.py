"""What is amiss in a cluster is said in words, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest
from msgspec import structs

from relay.cluster.health import overview
from relay.cluster.requests import ClusterStatus, HostStatus, RangeStatus
from relay.disk.accord import Origin

HOST: Final = HostStatus("living", version="1", fronts=1)
RANGE: Final = RangeStatus(owner="a", epoch=3, standing={"b": 9}, leader="c", last=9)
WELL: Final = ClusterStatus(
    seen_by="a",
    has_majority=True,
    isolated=False,
    hosts={"a": HOST, "b": HOST, "c": HOST},
    ranges=(RANGE, structs.replace(RANGE, owner="c", standing={"a": 8}, leader="b")),
)


ACCORD: Final = Origin(4, "a", 1_000)


def amiss(status: ClusterStatus, said: Mapping[str, ClusterStatus] | None = None) -> list[str]:
    everybody = dict.fromkeys("abc", status) if said is None else said
    return list(overview("n", "abc", everybody, standbys=1).amiss)


def with_host(name: str, host: HostStatus) -> ClusterStatus:
    return structs.replace(WELL, hosts={**WELL.hosts, name: host})


def with_range(range_: RangeStatus) -> ClusterStatus:
    return structs.replace(WELL, ranges=(range_, WELL.ranges[1]))


def test_where_all_is_well_nothing_is_said() -> None:
    assert amiss(WELL) == []


def test_a_host_whose_settings_are_not_known_yet_is_not_amiss() -> None:
    hosts = {"a": structs.replace(HOST, accord=4), "b": HOST, "c": structs.replace(HOST, accord=4)}

    assert amiss(structs.replace(WELL, accord=ACCORD, hosts=hosts)) == []


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (with_range(structs.replace(RANGE, owner="")), "range 0 is owned by nobody"),
        (with_range(structs.replace(RANGE, leader="")), "the log of range 0 is led by nobody"),
        (with_range(structs.replace(RANGE, standing={})), "range 0 has 0 of 1 standbys"),
        (with_range(structs.replace(RANGE, last=9000)), "range 0 on b lacks 8991 records"),
        (
            with_host("b", structs.replace(HOST, behind={1: 905})),
            "the engine of b lacks 905 records of the log of range 1",
        ),
        (with_host("b", structs.replace(HOST, lacks_room=True)), "the disk of b is full"),
        (with_host("b", structs.replace(HOST, life="agentless")), "host b has no agent"),
        (structs.replace(WELL, has_majority=False), "no majority"),
        (
            structs.replace(with_host("b", structs.replace(HOST, accord=3)), accord=ACCORD),
            "host b goes by settings 3, and not by 4",
        ),
        (
            structs.replace(
                with_host("b", structs.replace(HOST, accord=3, accord_refused="too large")),
                accord=ACCORD,
            ),
            "host b does not take settings 4: too large",
        ),
    ],
)
def test_what_is_amiss_is_said(status: ClusterStatus, says: str) -> None:
    [line] = amiss(status)
    assert says in line


def test_a_silent_host_is_told_from_one_that_is_cut_off_and_one_without_an_agent() -> None:
    silent = with_host("c", HostStatus("silent"))

    assert amiss(silent, {"a": silent, "b": silent}) == ["host c is silent"]
    alone = structs.replace(WELL, seen_by="c", has_majority=False)
    [line] = amiss(silent, {"a": silent, "b": silent, "c": alone})
    assert "host c answers, but a does not hear it" in line
    assert amiss(WELL, {"a": WELL, "b": WELL}) == ["host c lives, but its agent does not answer"]


def test_who_sees_a_majority_knows_best() -> None:
    alone = structs.replace(
        with_host("a", HostStatus("silent")), seen_by="c", has_majority=False, isolated=True
    )
    seen = overview("n", "abc", {"c": alone, "a": WELL}, standbys=1)

    assert seen.status is WELL
    assert seen.answered == ("a", "c")
    assert "host c serves nobody: it was without a majority" in seen.amiss


def test_drained_hosts_and_witnesses_are_no_standbys_that_are_missed() -> None:
    away = structs.replace(HOST, serves=False, drained=True)
    status = structs.replace(
        WELL,
        hosts={"a": HOST, "b": away, "c": away},
        ranges=(structs.replace(RANGE, standing={}),),
    )

    assert amiss(status) == []


def test_of_an_engine_that_is_not_ours_no_leader_is_missed() -> None:
    status = structs.replace(with_range(structs.replace(RANGE, leader="")), has_engines=False)

    assert amiss(status) == []
