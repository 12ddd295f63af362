"""The relay under test, as processes: start, kill, freeze, start again, and leave nothing behind.

A keeper starts a new supervisor on the same data as soon as one is dead. Every process that was
ever seen is remembered, so that what outlives its supervisor is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from tests.outside.processes import (
    REPOSITORY,
    children_of,
    environment_below,
    groups_document,
    lives,
)

from .checker import Violation
from .guard import Guard
from .ledger import Ledger
from .sabotage import VARIABLE
from .schedule import Fault, Target

READY_S: Final = 60.0
STOP_S: Final = 40.0  # supervisor.stop_deadline_s and some more
# How long a fault waits for its victim to be there.
VICTIM_S: Final = 5.0
_GIVEN_UP: Final = "supervisor.roll_given_up"
# Below the ports that the kernel gives to outgoing connections: a client that retries a port where
# nobody listens may otherwise be given that very port and be connected with itself.
PORTS: Final = range(20000, 32000)


class FleetError(Exception):
    """The relay did not start, or ended of itself."""


class Fleet:
    """One relay on one data directory; `close` ends whatever there is of it."""

    def __init__(
        self,
        *,
        workers: int,
        fronts: int,
        reshards: bool,
        config: str,
        groups: Mapping[str, Iterable[str]],
        faults: Sequence[Fault] = (),
        random: Random,
        sabotage: str | None,
        keep: Path | None,
        now_s: Callable[[], float],
        guard: Guard | None = None,
    ) -> None:
        self._faults = faults
        self._workers = workers  # of the supervisor that runs
        self._most_workers = workers + 1
        self._reshards = reshards
        self._fronts = fronts
        self._sabotage = sabotage
        self._random = random
        self._now_s = now_s
        self._kept = keep is not None
        # A short path: ipc sockets lie below it.
        self.directory = keep or Path(tempfile.mkdtemp(prefix="chaos-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "run").mkdir(exist_ok=True)
        guard = self._guard = guard or Guard()
        (self.directory / "relay.toml").write_text(config + guard.config(self.directory))
        self._guarded_by = guard.arguments(self.directory)
        (self.directory / "groups.json").write_text(
            groups_document({jid: sorted(members) for jid, members in groups.items()})
        )
        self.log_path = self.directory / "log"
        self.log_path.touch()
        self.port = _free_port(Random())  # not of the seed: two runs may share that
        self.done: Counter[str] = Counter()  # faults, by deed and target
        self.story: list[tuple[float, str]] = []
        self._supervisor: asyncio.subprocess.Process | None = None
        self._is_ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._killed: set[int] = set()
        self._seen: set[Any] = set()
        self._frozen: set[Any] = set()

    def urls(self, user: int) -> list[str]:
        """Return where the user of that number connects."""
        return [self._guard.url(self.port)]

    # --- start and stop ---

    async def start(self) -> None:
        """Start, and return when the relay serves; from then on it is kept running.

        Raises:
            FleetError: it does not come up.
        """
        self._keeper = asyncio.create_task(self._keep())
        await self.ready()

    async def ready(self) -> None:
        """Wait until the relay serves.

        Raises:
            FleetError: it does not, or has ended of itself.
        """
        assert self._keeper is not None
        waiting = asyncio.create_task(self._is_ready.wait())
        try:
            await asyncio.wait(
                {waiting, self._keeper}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        if self._keeper.done():
            self._keeper.result()
        if not self._is_ready.is_set():
            raise FleetError(f"the relay is not ready after {READY_S:g} s")

    async def failed(self) -> None:
        """Return never; raise FleetError when the relay ends of itself."""
        assert self._keeper is not None
        await asyncio.shield(self._keeper)

    async def stop(self) -> list[Violation]:
        """Stop the relay in order; return what is wrong with how it went."""
        assert self._keeper is not None
        assert self._supervisor is not None
        self.look()
        self._keeper.cancel()
        await asyncio.wait({self._keeper})
        self._supervisor.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(self._supervisor.wait(), STOP_S)
        except TimeoutError:
            return [Violation("stop", (), f"SIGTERM did not stop the relay in {STOP_S:g} s")]
        found = [] if code == 0 else [Violation("stop", (), f"exit {code} after SIGTERM")]
        return found + [Violation("left behind", (), str(process)) for process in self._living()]

    def close(self) -> None:
        """Kill everything that was ever seen, and remove the directory unless it is to be kept."""
        if self._keeper is not None:
            self._keeper.cancel()
        self.look()
        for process in self._living():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._seen, timeout=READY_S)
        if not self._kept:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def _keep(self) -> None:
        while True:
            started_s = self._now_s()
            supervisor = self._supervisor = await self._spawn()
            with contextlib.suppress(psutil.NoSuchProcess):
                self._seen.add(psutil.Process(supervisor.pid))
            assert supervisor.stdout is not None
            line = await supervisor.stdout.readline()
            if line.startswith(b"ready "):
                self._is_ready.set()
                took_s = self._now_s() - started_s
                self._note(f"{self._workers} workers ready after {took_s:.1f} s")
            code = await supervisor.wait()
            self._is_ready.clear()
            if self._reshards:
                self._workers = self._random.randint(1, self._most_workers)
            if supervisor.pid not in self._killed:
                raise FleetError(f"the supervisor has ended of itself, exit {code}")
            await asyncio.sleep(self._random.uniform(0, 0.5))

    async def _spawn(self) -> asyncio.subprocess.Process:
        environment = environment_below(self.directory / "run")
        program = ["supervisor.py"]
        if self._sabotage is not None:
            program = ["-m", "tests.chaos.sabotage.supervisor"]
            environment[VARIABLE] = self._sabotage
        with self.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, *program, "--port", str(self.port)),
                *("--workers", str(self._workers), "--fronts", str(self._fronts)),
                *("--data", str(self.directory / "data"), "--log-format", "json"),
                *("--config", str(self.directory / "relay.toml")),
                *("--groups", str(self.directory / "groups.json"), "--no-admin"),
                *self._guarded_by,
                cwd=REPOSITORY,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is ours, not the relay's
            )

    # --- processes ---

    def look(self) -> list[Any]:
        """Remember the children of the supervisor; return it and them."""
        if self._supervisor is None:
            return []
        try:
            root = psutil.Process(self._supervisor.pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._seen.update(tree)
        return tree

    def _living(self) -> list[Any]:
        return [process for process in self._seen if lives(process)]

    def orphans(self) -> list[Any]:
        """The living processes that no living supervisor started."""
        tree = self.look()
        return [process for process in self._living() if process not in tree]

    def _find(self, target: Target, index: int) -> Any | None:
        tree = self.look()
        if target == "worker":
            index %= self._workers
        if target == "supervisor":
            return tree[0] if tree and lives(tree[0]) else None
        if not tree:
            return None
        try:
            children = children_of(tree[0])
        except psutil.NoSuchProcess:
            return None
        return next(
            (
                child.process
                for child in children
                if (child.role, child.index) == (target, index) and lives(child.process)
            ),
            None,
        )

    # --- faults ---

    async def storm(self) -> None:
        """Carry out the faults, each at its time."""
        for fault in self._faults:
            await asyncio.sleep(max(0.0, fault.at_s - self._now_s()))
            await self._suffer(fault)

    async def _suffer(self, fault: Fault) -> None:
        """Carry out `fault` as soon as its victim is there; give up after some seconds."""
        deadline = self._now_s() + VICTIM_S
        while not self._strike(fault):
            if self._now_s() > deadline:
                self._note(f"{fault}: nobody there")
                return
            await asyncio.sleep(0.02)
        self.done[f"{fault.deed} {fault.target}"] += 1

    def _strike(self, fault: Fault) -> bool:
        if fault.target == "tree":
            return self._kill_tree()
        victim = self._find(fault.target, fault.index)
        if victim is None:
            return False
        try:
            if fault.deed == "renew":
                if not self._is_ready.is_set():
                    return False  # it would not know the signal yet
                victim.send_signal(signal.SIGUSR2)
            elif fault.deed == "pause":
                victim.suspend()
                self._frozen.add(victim)
                asyncio.get_running_loop().call_later(fault.pause_s, self._thaw, victim)
            else:
                if fault.target == "supervisor":
                    victim.suspend()  # so that it starts nothing that is not seen
                    self.look()
                self._kill(victim)
        except psutil.NoSuchProcess:
            return False
        self._note(f"{fault} (pid {victim.pid})")
        return True

    def _kill_tree(self) -> bool:
        supervisor = self._find("supervisor", 0)
        if supervisor is None:
            return False
        self._note("kill tree")
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.suspend()
        self.look()
        for process in self._living():
            with contextlib.suppress(psutil.NoSuchProcess):
                self._kill(process)
        return True

    def _kill(self, process: Any) -> None:
        self._killed.add(process.pid)
        process.kill()

    def _thaw(self, process: Any) -> None:
        self._frozen.discard(process)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

    async def calm(self) -> None:
        """Let everything go on that is frozen."""
        for process in list(self._frozen):
            self._thaw(process)

    def _note(self, text: str) -> None:
        self.story.append((self._now_s(), text))

    # --- what there is to see ---

    async def books(self) -> list[Violation]:
        """Return nothing: what this relay has written is judged by what it serves."""
        return []

    def report(self, ledger: Ledger, steady: Collection[str]) -> list[str]:
        """Return nothing beside what every run tells."""
        return []

    def complaints(self) -> list[Violation]:
        """Return what the log tells of crashes, hangs and errors that no fault explains."""
        return complaints_in(self.log_path, killed=self._killed)


def complaints_in(
    path: Path,
    *,
    killed: Collection[int],
    is_explained: Callable[[Mapping[str, Any]], bool] = lambda event: False,
) -> list[Violation]:
    """Return what a log tells of crashes, hangs and errors that no fault explains.

    `killed` are pids; `is_explained` says what else a fault may lead to.
    """
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            found.append(Violation("log", (), line))  # a stack dump
            continue
        if is_explained(event):
            continue
        if event.get("event") == _GIVEN_UP and killed:
            continue  # whose successors were killed too often has no other choice
        if event.get("level") not in ("info", "warning", "debug") or "exception" in event:
            found.append(Violation("log", (), line))
        elif str(event.get("event")).endswith(".exited"):
            ended_well = event.get("exit_code") == 0
            if not ended_well and event.get("pid") not in killed:
                found.append(Violation("died", (), line))
    return found


def _free_port(random: Random) -> int:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
