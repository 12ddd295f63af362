"""Hosts that get another version under load, one after the other, and the earlier one back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Final

from tests.chaos.checker import Violation
from tests.chaos.fleet import FleetError
from tests.chaos.ledger import Ledger
from tests.outside.processes import REPOSITORY
from tests.outside.releases import version_of

from .hostfleet import READY_S, STOP_S, HostFleet, line_of
from .waits import WITHIN_S

# On a busy machine: ranges move one after the other, a standby catches up, a log has a new leader.
DRAINED_S: Final = 300.0
WELL_S: Final = 180.0
LOOK_S: Final = 1.0


class UpgradingFleet(HostFleet):
    """A relay on several hosts that is upgraded, host by host, and taken back.

    All begin with the checkout of `older`. Upwards each host is drained before it stops; on the way
    back it is only stopped.
    """

    def __init__(self, *, older: Path, **others: Any) -> None:
        """`others` are what a HostFleet is given."""
        self._older = older
        self._wrong: list[Violation] = []
        self._stops: list[tuple[float, str]] = []  # what was done to which host, and when
        super().__init__(tree=older, **others)

    async def storm(self) -> None:
        """Give each host this version, then each the earlier one again.

        Operators type with what hosts are not yet upgraded to, or have been: it is to understand
        all of them.
        """
        self.begin_to_read()
        await self._all_well(self._older)
        for name in self._sites:
            await self._renew(name, REPOSITORY, operator=self._older, drains=True)
        for name in self._sites:
            await self._renew(name, self._older, operator=REPOSITORY, drains=False)

    async def books(self) -> list[Violation]:
        """Return what is wrong with the logs, and with how the hosts were upgraded."""
        return [*await super().books(), *self._wrong]

    def report(self, ledger: Ledger, steady: Collection[str]) -> list[str]:
        """Return what the engines had, and how long acks were missed at each stop."""
        lines = super().report(ledger, steady)
        for at_s, what in self._stops:
            lines.append(line_of(at_s, what, ledger, steady, within_s=WITHIN_S))
        return lines

    async def _renew(self, name: str, tree: Path, *, operator: Path, drains: bool) -> None:
        site, version = self._sites[name], version_of(tree)
        if drains:
            self._did(f"drain {name}")
            code, said = await self._type("drain", name, tree=operator, within_s=DRAINED_S)
            if code:
                raise FleetError(f"{name} is not drained: {said}")
        self._did(f"stop {name}, for {version}")
        await self._end(name)
        site.tree = tree
        site.is_on.set()
        await self._await(f"all to live, {name} of {version}", lambda: self._are_seen(operator))
        await self._look_at_table(operator)
        if drains:
            await self.let_back(name)
        try:
            await asyncio.wait_for(site.is_ready.wait(), READY_S)
        except TimeoutError:
            raise FleetError(f"{name} is not ready after {READY_S:g} s, of {version}") from None
        await self._all_well(operator)
        self.done["upgrade" if tree == REPOSITORY else "downgrade"] += 1

    def _did(self, what: str) -> None:
        self._stops.append((self._now_s(), what))
        self._note(what)

    async def _end(self, name: str) -> None:
        """Stop a host in order; it is off then."""
        site = self._sites[name]
        assert site.supervisor is not None
        site.may_end = True
        site.is_on.clear()
        site.supervisor.terminate()
        try:
            code = await asyncio.wait_for(site.supervisor.wait(), STOP_S)
        except TimeoutError:
            raise FleetError(f"SIGTERM did not stop host {name} in {STOP_S:g} s") from None
        site.is_ready.clear()
        if code:
            self._wrong.append(Violation("stop", (), f"host {name}: exit {code} after SIGTERM"))
        for pid in await self._do(site.host.pids):
            self._wrong.append(Violation("left behind", (), f"host {name}: {pid} outlives it"))

    async def _await(self, what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
        ends_s = self._now_s() + WELL_S
        while not await is_so():
            if self._now_s() > ends_s:
                raise FleetError(f"waited for {what} for {WELL_S:g} s")
            await asyncio.sleep(LOOK_S)

    async def _all_well(self, operator: Path) -> None:
        """Wait until nothing is amiss, as an operator does before the next host."""
        said = ""

        async def is_so() -> bool:
            nonlocal said
            try:
                code, said = await self._type("status", tree=operator)
            except TimeoutError:
                code, said = 1, "no answer"
            return code == 0

        began_s = self._now_s()
        try:
            await self._await("all to be well", is_so)
        except FleetError as error:
            raise FleetError(f"{error}: {said}") from None
        self._note(f"all is well after {self._now_s() - began_s:.1f} s")

    async def _are_seen(self, operator: Path) -> bool:
        """Whether the status has each host living, with the version that it is of."""
        wanted = {name: ("living", version_of(site.tree)) for name, site in self._sites.items()}
        hosts = await self._hosts(operator)
        return {name: (host["life"], host["version"]) for name, host in hosts.items()} == wanted

    async def _hosts(self, operator: Path) -> dict[str, Any]:
        """Return how each host is seen; nothing while nobody says so."""
        try:
            code, said = await self._type("status", "--json", tree=operator)
        except TimeoutError:  # which is told once it lasts
            return {}
        if code == 1:
            return {}
        found: dict[str, Any] = json.loads(said)["status"]["hosts"]
        return found

    async def _look_at_table(self, operator: Path) -> None:
        """The status shows people each of the versions, too."""
        _, said = await self._type("status", tree=operator)
        missing = {version_of(site.tree) for site in self._sites.values()} - set(said.split())
        if missing:
            what = f"the status lacks {sorted(missing)}: {said}"
            self._wrong.append(Violation("version", (), what))
