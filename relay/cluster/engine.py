"""The engine of a host: a nats-server that the relay runs, as a child of its supervisor.

This process is only its keeper. It has no other work, so that whatever happens to the server is
noticed: its death is this process's, which the supervisor starts again. A server that outlived its
keeper would share the store with its successor, so it dies with it, and a lock that it holds itself
says when it is gone.
"""

from __future__ import annotations

import select
import sys
from collections import Counter
from typing import Final

from relay import log
from relay.clock import clock_ms
from relay.cluster.enginelines import Allowance, said
from relay.cluster.engineprobe import Probe
from relay.cluster.engineprocess import EngineProcess
from relay.cluster.enginerenewal import Renewal
from relay.cluster.keys import require_bus_keys
from relay.errors import BootError
from relay.process.control import ChildReady, PeerGone, SettingsChanged, Stop
from relay.process.duties import Duties
from relay.process.exitcodes import ENGINE_DIED
from relay.process.place import Place
from relay.process.run import run

logger = log.get_logger()

# A server that has much to read again is waited for no longer, or its keeper would count as hung;
# whoever needs it finds out by himself when it answers.
_READY_WITHIN_MS: Final = 30_000
# Of what a stop may take, so that the keeper still ends in order.
_STOP_SHARE: Final = 0.8
# Without a supervisor nobody says how long a stop may take. It takes under a second here.
_ORPHAN_STOP_S: Final = 10.0


def main(place: Place) -> None:
    """Run the engine of this host, or look after the operator's own, until told to stop.

    Raises:
        BootError: it cannot run here, or what is the operator's is not fit for it.
        SystemExit: with ENGINE_DIED, after it was logged.
    """
    if place.settings.cluster.has_own_engine:
        Keeper(place).run()
    else:
        from relay.cluster.foreignengine import ForeignEngine  # few need it

        require_bus_keys(place.settings.cluster)
        ForeignEngine(place).run()


class Keeper:
    """Looks after a server."""

    def __init__(self, place: Place) -> None:
        """Start it.

        Raises:
            BootError: it cannot be started.
        """
        self._place = place
        self._counters: Counter[str] = Counter()
        self._duties = Duties(
            "engine",
            place.control,
            self._counters,
            heartbeat_s=place.settings.supervisor.heartbeat_s,
        )
        self._hung_after_s = place.settings.supervisor.hung_after_s
        self._renewal = Renewal(place.settings.store.min_free_bytes)
        self._probe = Probe(place.settings.cluster)
        now_s = clock_ms() / 1000
        # By whether a line is of a connection.
        self._allowances = {False: Allowance(now_s=now_s), True: Allowance(now_s=now_s)}
        self._last_error = ""
        self._has_served = False  # the server
        self._has_told = False  # the supervisor, that it does
        self._has_supervisor = True
        self._kill_ms: int | None = None  # once the server was told to stop
        self._ready_ms = clock_ms() + _READY_WITHIN_MS
        self._server = EngineProcess(place.settings.cluster, place.data_dir)
        self._poll = select.poll()
        self._poll.register(self._server, select.POLLIN)
        self._poll.register(place.control, select.POLLIN)

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
            code = self._server.wait()
            self._probe.close()
        self._duties.log_counters()
        if self._renewal.has_begun:
            logger.warning("engine.renewed", code=code, reason=self._renewal.reason)
            raise SystemExit(ENGINE_DIED)
        if self._kill_ms is not None:
            logger.info("engine.stopped", code=code)
        elif self._has_served:
            logger.error("engine.died", code=code, last_error=self._last_error)
            raise SystemExit(ENGINE_DIED)
        else:
            why = self._last_error or f"it ends with exit code {code}"
            raise BootError(f"nats-server does not start: {why}")

    def _turn(self) -> bool:
        """Wait for something, and see to it; tell whether the server has not ended."""
        self._poll.poll(max(0, self._due_ms() - clock_ms()))
        now_ms = clock_ms()
        if self._has_supervisor:
            self._obey(now_ms)
        lines = self._server.read()
        for line in lines or ():
            self._heed(line, now_ms)
        if not self._has_told and (self._has_served or now_ms >= self._ready_ms):
            if not self._has_served:
                logger.warning("engine.slow_to_start", after_s=_READY_WITHIN_MS // 1000)
            self._has_told = True
            self._place.control.send(ChildReady())
        if self._has_told and now_ms >= self._duties.due_ms:
            self._duties.tick(now_ms)
            self._tell_dropped()
            self._look_for_life(now_ms)
            self._look_for_room(now_ms)
        if self._kill_ms is not None and now_ms >= self._kill_ms:
            logger.warning("engine.killed", server=self._server.pid, reason="it did not stop")
            self._server.kill()
            self._kill_ms = now_ms + _READY_WITHIN_MS
        return lines is not None

    def _due_ms(self) -> int:
        due_ms = self._duties.due_ms if self._has_told else self._ready_ms
        return due_ms if self._kill_ms is None else min(due_ms, self._kill_ms)

    def _obey(self, now_ms: int) -> None:
        control = self._place.control
        control.flush()
        for message in control.receive():
            match message:
                case Stop(deadline_s):
                    self._renewal.has_begun = False
                    self._stop(now_ms + int(deadline_s * _STOP_SHARE * 1000))
                case PeerGone():
                    self._poll.unregister(control)  # it would be news for ever
                    self._has_supervisor = False
                    self._stop(now_ms + int(_ORPHAN_STOP_S * 1000))
                case SettingsChanged(settings):
                    self._place.taken(settings)
                    self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
                    self._hung_after_s = settings.supervisor.hung_after_s
                    self._renewal.min_free_bytes = settings.store.min_free_bytes
                case _:
                    pass  # what other children go by

    def _stop(self, kill_ms: int) -> None:
        if self._kill_ms is None:
            self._kill_ms = kill_ms
            self._server.terminate()

    def _heed(self, line: str, now_ms: int) -> None:
        """Take what the server has written, and log it."""
        if not line:
            return
        heard = said(line, self._place.settings.cluster.password)
        if heard.is_ready:
            self._has_served = True
        if heard.level in ("warning", "error"):
            self._counters[f"lines_{heard.level}"] += 1
        if heard.level == "error" and not heard.is_of_connection:
            self._last_error = heard.text
        if heard.is_last_write and self._renewal.note(heard.text, now_ms):
            logger.error(
                "engine.cannot_write",
                reason=heard.text,
                hint="others go on without its copies; it is renewed when its disk has room",
            )
        if self._allowances[heard.is_of_connection].takes(now_s=now_ms / 1000):
            getattr(logger, heard.level)("engine.said", text=heard.text)
        else:
            self._counters["lines_dropped"] += 1

    def _tell_dropped(self) -> None:
        if dropped := sum(each.take_dropped() for each in self._allowances.values()):
            logger.warning("engine.lines_dropped", lines=dropped)

    def _look_for_room(self, now_ms: int) -> None:
        """Have another server take the place of one that cannot write, when that is of use."""
        if self._kill_ms is None and self._renewal.begins(self._server.free_bytes, now_ms):
            self._stop(now_ms + int(_ORPHAN_STOP_S * 1000))

    def _look_for_life(self, now_ms: int) -> None:
        if not self._has_served or self._kill_ms is not None:
            return
        silent_s = self._probe.look(now_ms) / 1000
        if silent_s > self._hung_after_s:
            logger.error("engine.hung", silent_s=int(silent_s), reason=self._probe.reason)
            self._last_error = "it gave no sign of life"
            self._server.kill()


if __name__ == "__main__":
    sys.exit(run("engine", main))
