"""The hosts of a cluster under test: started, taken, started again, and nothing left of them.

A keeper for each host starts its supervisor whenever the host is there and has none. Clients come
from outside, over the network that the hosts are on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from relay.errors import RelayError
from relay.process.exitcodes import ENGINE_DIED, FENCED
from tests.chaos.checker import Violation
from tests.chaos.fleet import FleetError, complaints_in
from tests.chaos.guard import Guard
from tests.chaos.ledger import Ledger
from tests.chaos.sabotage import VARIABLE
from tests.hosts.host import Host
from tests.hosts.hosts import hosts as hosts_of
from tests.outside.processes import REPOSITORY, environment_below, groups_document

from .logs import Logs
from .schedule import SMALL, HostFault, Target
from .waits import WITHIN_S, longest_waits_s, next_acks_s

# Three engines find each other and elect, and streams are made, on a busy machine.
READY_S: Final = 90.0
STOP_S: Final = 60.0
VICTIM_S: Final = 5.0
COMMAND_S: Final = 30.0
READ_EVERY_S: Final = 20.0
BOOKS_S: Final = 30.0
MOVED_WITHIN_S: Final = 5.0  # the command takes one of them
PORT: Final = 9011
# A host has a disk of 4 GiB; what an engine may keep is set aside as a whole. The logs get it in
# equal parts. One that is half full is trimmed of all that every copy has, however young, and so
# before it is read here: half an hour of 40 messages a second are some 120 MiB of each.
CLUSTER: Final = f"""\
store_bytes = {2 << 30}
"""
# All on two cores: what comes late there is late everywhere.
_THREADS: Final = 16

_MODULES: Final[Mapping[Target, tuple[str, ...]]] = {
    "worker": ("workers", "tests.chaos.sabotage.worker"),
    "front": ("relay.front", "tests.chaos.sabotage.front"),
    "agent": ("relay.cluster", "tests.chaos.sabotage.agent"),
}
_Result = TypeVar("_Result")


class _Site:
    """One host, and whoever runs on it."""

    def __init__(self, host: Host, directory: Path, tree: Path) -> None:
        self.host = host
        self.tree = tree  # the checkout that it is started from
        self.run = directory / host.name  # not on its disk: sockets, and what is lost with power
        self.run.mkdir()
        self.log_path = directory / f"log-{host.name}"
        self.log_path.touch()
        self.is_on = asyncio.Event()
        self.is_on.set()
        self.is_ready = asyncio.Event()
        self.may_end = False  # of a fault
        self.supervisor: asyncio.subprocess.Process | None = None
        self.keeper: asyncio.Task[None] | None = None


class HostFleet:
    """One relay on several hosts; `close` ends whatever there is of it.

    Raises:
        HostsUnavailable: there can be no hosts here.
    """

    def __init__(
        self,
        *,
        names: str,
        ranges: int,
        fronts: int,
        config: str,
        groups: Mapping[str, Iterable[str]],
        faults: Sequence[HostFault],
        random: Random,
        sabotage: str | None,
        keep: Path | None,
        now_s: Callable[[], float],
        guard: Guard,
        tree: Path = REPOSITORY,
    ) -> None:
        """Start nothing yet; each host is of the checkout `tree` at first."""
        self.done: Counter[str] = Counter()  # faults, by deed and target
        self.story: list[tuple[float, str]] = []
        self.struck: list[tuple[float, HostFault]] = []  # when each was carried out
        self._faults = faults
        self._ranges = ranges
        self._fronts = fronts
        self._random = random
        self._sabotage = sabotage
        self._now_s = now_s
        self._kept = keep is not None
        self._killed: set[int] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "hosts")
        self._returns: set[asyncio.Task[None]] = set()  # of hosts that are away
        self._errors: list[BaseException] = []
        self._refusals: list[tuple[float, str]] = []  # when an operator was refused, and why
        self._stack = ExitStack()
        found = self._stack.enter_context(hosts_of(names, disks=True))
        # Short: ipc sockets lie below it.
        self.directory = keep or Path(tempfile.mkdtemp(prefix="chaos-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_path = self.directory / "cluster.toml"
        self._sites = {name: _Site(host, self.directory, tree) for name, host in found.items()}
        self._write_config(config + guard.config(self.directory))
        self._guarded_by = guard.arguments(self.directory) or ("--insecure-open",)
        self._logs = Logs(self.config_path)
        self._reading = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        (self.directory / "groups.json").write_text(
            groups_document({jid: sorted(members) for jid, members in groups.items()})
        )

    def _write_config(self, config: str) -> None:
        hosts = [f"{name}={site.host.address}" for name, site in self._sites.items()]
        command = ["init", "--file", str(self.config_path), "--ranges", str(self._ranges), *hosts]
        subprocess.run(
            [sys.executable, "-m", "relay", "cluster", *command],
            check=True,
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            timeout=COMMAND_S,
        )
        with self.config_path.open("a") as file:
            file.write(CLUSTER + config)

    def urls(self, user: int) -> list[str]:
        """Return where the user of that number connects: its side's host first, then the others."""
        addresses = [site.host.address for site in self._sites.values()]
        first = user % len(addresses)
        return [f"ws://{each}:{PORT}/" for each in addresses[first:] + addresses[:first]]

    # --- start and stop ---

    async def start(self) -> None:
        """Start all, and return when they serve; from then on they are kept running.

        Raises:
            FleetError: one does not come up.
        """
        for site in self._sites.values():
            site.keeper = asyncio.create_task(self._keep(site))
        await self.ready()

    async def ready(self) -> None:
        """Wait until every host serves.

        Raises:
            FleetError: one does not, or has ended of itself.
        """
        keepers = [site.keeper for site in self._sites.values() if site.keeper is not None]
        waiting = asyncio.create_task(self._wait_for_all())
        try:
            await asyncio.wait(
                {waiting, *keepers}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        for keeper in keepers:
            if keeper.done():
                keeper.result()
        if late := [name for name, site in self._sites.items() if not site.is_ready.is_set()]:
            raise FleetError(f"not ready after {READY_S:g} s: {', '.join(late)}")

    async def _wait_for_all(self) -> None:
        for site in self._sites.values():
            await site.is_ready.wait()

    async def failed(self) -> None:
        """Return never; raise FleetError when the relay of a host ends of itself."""
        await asyncio.gather(
            *(asyncio.shield(site.keeper) for site in self._sites.values() if site.keeper)
        )

    async def stop(self) -> list[Violation]:
        """Stop one host after the other, in order; return what is wrong with how it went."""
        found = []
        for name, site in self._sites.items():
            assert site.keeper is not None
            site.keeper.cancel()
            await asyncio.wait({site.keeper})
            assert site.supervisor is not None
            with contextlib.suppress(ProcessLookupError):
                site.supervisor.terminate()
            try:
                code = await asyncio.wait_for(site.supervisor.wait(), STOP_S)
            except TimeoutError:
                what = f"SIGTERM did not stop host {name} in {STOP_S:g} s"
                found.append(Violation("stop", (), what))
                continue
            if code:
                found.append(Violation("stop", (), f"host {name}: exit {code} after SIGTERM"))
            found += [
                Violation("left behind", (), f"host {name}: {_describe(pid)}")
                for pid in site.host.pids()
            ]
        return found

    def close(self) -> None:
        """Kill everything, and remove it all unless it is to be kept."""
        for task in (*self._returns, self._reader, *(site.keeper for site in self._sites.values())):
            if task is not None:
                task.cancel()
        if self._kept:
            for site in self._sites.values():
                site.host.kill()
                with contextlib.suppress(shutil.Error, OSError):  # of one without power
                    kept = self.directory / f"disk-{site.host.name}"
                    shutil.copytree(site.host.directory, kept)
        self._stack.close()
        self._threads.shutdown(wait=False)
        if not self._kept:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def _keep(self, site: _Site) -> None:
        name = site.host.name
        while True:
            await site.is_on.wait()
            site.may_end = False
            started_s = self._now_s()
            supervisor = site.supervisor = await self._spawn(site)
            assert supervisor.stdout is not None
            line = await supervisor.stdout.readline()
            if line.startswith(b"ready "):
                site.is_ready.set()
                self._note(f"host {name} ready after {self._now_s() - started_s:.1f} s")
            code = await supervisor.wait()
            site.is_ready.clear()
            if not site.may_end:
                raise FleetError(f"the supervisor of {name} has ended of itself, exit {code}")
            await asyncio.sleep(self._random.uniform(0.1, 0.5))

    async def _spawn(self, site: _Site) -> asyncio.subprocess.Process:
        environment = environment_below(site.run, tree=site.tree)
        program = ["supervisor.py"]
        if self._sabotage is not None:
            program = ["-m", "tests.chaos.sabotage.supervisor"]
            environment[VARIABLE] = self._sabotage
        with site.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *site.host.within(),
                *(sys.executable, *program, "--config", str(self.config_path)),
                *("--host-name", site.host.name, "--host", site.host.address),
                *("--port", str(PORT), "--fronts", str(self._fronts)),
                *("--data", str(site.host.directory / "data"), "--log-format", "json"),
                *("--groups", str(self.directory / "groups.json"), "--no-admin"),
                *self._guarded_by,
                cwd=site.tree,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    async def _do(self, what: Callable[..., _Result], *arguments: Any) -> _Result:
        """Do what waits for the kernel, while the users live on."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, what, *arguments)

    # --- faults ---

    async def storm(self) -> None:
        """Carry out the faults, each at its time."""
        self.begin_to_read()
        for fault in self._faults:
            await asyncio.sleep(max(0.0, fault.at_s - self._now_s()))
            if fault.deed in SMALL:  # these wait for a victim, or for an answer
                self._background(self._suffer(fault))
            else:
                await self._suffer(fault)

    async def _suffer(self, fault: HostFault) -> None:
        site = self._sites[fault.host]
        if fault.deed in ("move", "drain"):
            await self._steer(fault)
            return
        at_s = self._now_s()
        found = True
        match fault.deed:
            case "kill host":
                site.may_end = True
                site.is_on.clear()
                await self._do(site.host.kill)
            case "cut":
                await self._do(site.host.cut)
            case "freeze":
                await self._do(site.host.freeze)
            case "power cut":
                site.may_end = True
                site.is_on.clear()
                await self._do(site.host.lose_power)
            case "kill engine":
                found = await self._kill_one(lambda: site.host.running("nats-server"), 0)
            case "kill supervisor":
                site.may_end = True
                found = await self._kill_one(lambda: _supervisor_of(site), 0)
            case "kill":
                modules = _MODULES[fault.target]
                found = await self._kill_one(lambda: _those_of(site.host, modules), fault.index)
        if not found:
            self._note(f"{fault}: nobody there")
            return
        self.struck.append((at_s, fault))
        self.done[f"{fault.deed} {fault.target}".strip()] += 1
        self._note(str(fault))
        if fault.away_s:
            self._background(self._return(fault, at_s))

    async def _kill_one(self, find: Callable[[], list[int]], index: int) -> bool:
        """Kill one of those that are found, as soon as there is one; False: there is none."""
        deadline = self._now_s() + VICTIM_S
        while True:
            pids = await self._do(find)
            if pids:
                pid = sorted(pids)[index % len(pids)]
                self._killed.add(pid)
                return await self._do(_kill, pid)
            if self._now_s() > deadline:
                return False
            await asyncio.sleep(0.05)

    async def _return(self, fault: HostFault, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s + fault.away_s - self._now_s()))
        site = self._sites[fault.host]
        match fault.deed:
            case "cut":
                await self._do(site.host.heal)
            case "freeze":
                await self._do(site.host.thaw)
            case "power cut":
                await self._do(site.host.get_power)
        site.is_on.set()
        self._note(f"host {fault.host} is back")

    async def _steer(self, fault: HostFault) -> None:
        """Have an operator move a range, or drain a host and later let it back."""
        at_s = self._now_s()
        range_ = [str(fault.index)] if fault.deed == "move" else []
        words = (fault.deed, *range_, fault.host)
        code, said = await self._type(*words, "--no-wait")
        said_so = f"{fault}: {said}"
        self._note(said_so)
        if code:
            self.done[f"{fault.deed} refused"] += 1
            self._refusals.append((at_s, said_so))
        else:
            self.done[fault.deed] += 1
            self.struck.append((at_s, fault))
        if fault.deed == "drain":
            # Refused or not: of one that came late nobody may have heard that it was taken.
            await asyncio.sleep(max(0.0, at_s + fault.away_s - self._now_s()))
            await self.let_back(fault.host)

    async def let_back(self, host: str) -> None:
        """Have an operator end the drain of a host, as often as it takes: engines may elect.

        Raises:
            FleetError: it is refused for too long.
        """
        ends_s = self._now_s() + READY_S
        while True:
            code, said = await self._type("drain", host, "--undo")
            self._note(f"{host} is let back: {said}")
            if not code:
                return
            if self._now_s() > ends_s:
                raise FleetError(f"{host} stays drained: {said}")
            await asyncio.sleep(1.0)

    async def _type(
        self, *words: str, tree: Path = REPOSITORY, within_s: float = COMMAND_S
    ) -> tuple[int, str]:
        """Have `relay cluster` of a checkout do something; return its exit code, and what it said.

        Raises:
            TimeoutError: it has not ended by then.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "cluster", *words, "--config", str(self.config_path)),
            cwd=tree,
            env=environment_below(self.directory, tree=tree),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), within_s)
        except BaseException:
            process.kill()
            raise
        return process.returncode or 0, said.decode().strip()

    def _background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._returns.add(task)
        task.add_done_callback(self._has_returned)

    def _has_returned(self, task: asyncio.Task[None]) -> None:
        self._returns.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._errors.append(error)

    async def calm(self) -> None:
        """Wait until every host is back."""
        if self._reader is not None:
            async with self._reading:
                self._reader.cancel()
        if self._returns:
            await asyncio.wait(set(self._returns))
        for error in self._errors:
            raise error

    def orphans(self) -> list[Any]:
        """Nothing: who outlives its supervisor is found when all have stopped."""
        return []

    def _note(self, text: str) -> None:
        self.story.append((self._now_s(), text))

    # --- what there is to see ---

    async def books(self) -> list[Violation]:
        """Return what is wrong with the logs of the ranges, when nothing is written any more."""
        ends_s = self._now_s() + BOOKS_S
        while True:
            try:
                async with self._reading:
                    await self._do(self._logs.read)
                return self._logs.wrong
            except (RelayError, TimeoutError) as error:
                if self._now_s() > ends_s:
                    return [*self._logs.wrong, Violation("log", (), f"it cannot be read: {error}")]
            await asyncio.sleep(1.0)

    def begin_to_read(self) -> None:
        """Read the logs from now on, until it is calm."""
        self._reader = asyncio.create_task(self._read_on())
        self._reader.add_done_callback(self._has_returned)

    async def _read_on(self) -> None:
        """Read the logs now and then, as what is old is trimmed."""
        while True:
            await asyncio.sleep(READ_EVERY_S)
            with contextlib.suppress(RelayError, TimeoutError):  # an engine is away
                async with self._reading:
                    await self._do(self._logs.read)

    def report(self, ledger: Ledger, steady: Collection[str]) -> list[str]:
        """Return how long acks were missed after each fault, and what the engines had."""
        lines = [f"records   {self._logs}"]
        for at_s, fault in self.struck:
            if fault.takes or fault.deed in ("move", "drain"):
                within_s = WITHIN_S if fault.takes else MOVED_WITHIN_S
                lines.append(line_of(at_s, str(fault), ledger, steady, within_s=within_s))
        return lines + [f"{at_s:5.0f} s  {said}" for at_s, said in self._refusals]

    def complaints(self) -> list[Violation]:
        """Return what the logs tell of crashes, hangs and errors that no fault explains."""
        return [
            each
            for site in self._sites.values()
            for each in complaints_in(
                site.log_path,
                killed=self._killed,
                is_explained=_is_explained,
            )
        ]


def line_of(
    at_s: float, what: str, ledger: Ledger, steady: Collection[str], *, within_s: float
) -> str:
    """Return for how long acks were missed after something, of the sends of `within_s` from it."""
    waits = next_acks_s(ledger, steady, at_s)
    known = sorted(wait for wait in waits.values() if wait is not None)
    line = f"{at_s:5.0f} s  {what:28}"
    if not known:
        return f"{line} nobody sent anything"
    messages = ledger.messages.values()
    longest = sorted(longest_waits_s(messages, steady, at_s, at_s + within_s).values())
    half = known[len(known) // 2]
    never = len(waits) - len(known)
    return (
        f"{line} next ack 1 after s: half {half:.1f}  all {known[-1]:.1f}"
        + (f"  never {never}" if never else "")
        + f"  longest waits: half {longest[len(longest) // 2]:.1f}  all {longest[-1]:.1f}"
    )


def _supervisor_of(site: _Site) -> list[int]:
    supervisor = site.supervisor
    return [supervisor.pid] if supervisor is not None and supervisor.returncode is None else []


def _those_of(host: Host, modules: Iterable[str]) -> list[int]:
    return [pid for module in modules for pid in host.find("-m", module, "")]


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_explained(event: Mapping[str, Any]) -> bool:
    match event.get("event"):
        case "engine.said":  # a server calls it an error that another one is not there
            return True
        case "engine.died":
            return bool(event["code"] == -signal.SIGKILL)
        case "engine.exited":
            return event.get("exit_code") == ENGINE_DIED  # which has said why
        case "worker.exited":
            return event.get("exit_code") == FENCED
    return False


def _describe(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return str(pid)
