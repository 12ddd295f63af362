"""An operator's own NATS as the engine: asked whether it is fit, at the start and ever again."""

from __future__ import annotations

import select
from collections import Counter
from typing import Final

from relay import log
from relay.clock import clock_ms
from relay.cluster.access import login_of, servers_of
from relay.cluster.engineconfig import SYSTEM_USER
from relay.cluster.enginefacts import JSZ_SUBJECT, facts_of, least_payload_bytes, unfit
from relay.cluster.natswire import Wire, WireLost
from relay.errors import BootError, SettingsError
from relay.process.control import ChildReady, PeerGone, SettingsChanged, Stop
from relay.process.duties import Duties
from relay.process.place import Place
from relay.settings.clustering import ClusterSettings

logger = log.get_logger()

# Servers are replaced, and settings changed; what is acked between is as safe as they are.
_AGAIN_MS: Final = 60_000
_WITHIN_S: Final = 2.0
_EACH_S: Final = 1.0
_NO_RESPONDERS: Final = 503


class ForeignEngine:
    """In the engine's place where the operator runs it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        cluster = self._cluster = place.settings.cluster
        self._least_payload = least_payload_bytes(
            message_bytes=place.settings.limits.message_bytes, ranges=cluster.ranges
        )
        self._duties = Duties(
            "engine",
            place.control,
            Counter(),
            heartbeat_s=place.settings.supervisor.heartbeat_s,
        )
        self._was_fit = True

    def run(self) -> None:
        """Ask, and go on asking, until told to stop.

        Raises:
            BootError: it is not fit, or cannot be asked.
        """
        problem = ask(self._cluster, least_payload=self._least_payload)
        if problem:
            raise BootError(f"cluster.engine: {problem}")
        self._place.control.send(ChildReady())
        again_ms = clock_ms() + _AGAIN_MS
        poll = select.poll()
        poll.register(self._place.control, select.POLLIN)
        while True:
            poll.poll(max(0, min(self._duties.due_ms, again_ms) - clock_ms()))
            self._place.control.flush()
            for message in self._place.control.receive():
                match message:
                    case Stop() | PeerGone():
                        return
                    case SettingsChanged(settings):
                        self._place.taken(settings)
                        self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
                    case _:
                        pass
            if clock_ms() >= again_ms:
                again_ms = clock_ms() + _AGAIN_MS
                self._look_again()
            if clock_ms() >= self._duties.due_ms:
                self._duties.tick(clock_ms())

    def _look_again(self) -> None:
        """Say when it is fit no more, once; a relay that serves is not stopped for that."""
        problem = ask(self._cluster, least_payload=self._least_payload)
        if problem and self._was_fit:
            logger.error("engine.unfit", reason=problem)
        elif not problem and not self._was_fit:
            logger.info("engine.fit_again")
        self._was_fit = not problem


def ask(cluster: ClusterSettings, *, least_payload: int) -> str:
    """Ask the servers of `cluster`; say why they are not taken, "" where they are.

    Each must take messages of `least_payload` bytes.
    """
    try:
        wire = Wire(
            servers_of(cluster), login_of(cluster, user=SYSTEM_USER), name="relay engine check"
        )
    except (WireLost, SettingsError) as error:
        return _unasked(str(error))
    try:
        answers = wire.request_many(
            JSZ_SUBJECT,
            # How many there are nobody says.
            is_last=lambda answer: answer.status == _NO_RESPONDERS,
            timeout_s=_WITHIN_S,
        )
    except (WireLost, TimeoutError) as error:
        return _unasked(str(error))
    finally:
        wire.close()
    facts = [found for each in answers if (found := facts_of(each.payload))]
    if not facts:
        return _unasked(f"nobody answers the user `{SYSTEM_USER}`")
    return unfit(facts, _payloads(cluster), least_payload)


def _payloads(cluster: ClusterSettings) -> dict[str, int]:
    """Return how large a message each server takes of our processes that lets us in now."""
    found = {}
    for server in servers_of(cluster):
        try:
            wire = Wire([server], login_of(cluster), name="relay engine check", connect_s=_EACH_S)
        except WireLost:
            continue  # others are there, or nobody would have answered
        found[wire.server_name] = wire.max_payload
        wire.close()
    return found


def _unasked(why: str) -> str:
    return (
        "NATS cannot be asked whether it syncs always, and is not taken unasked: the user"
        f" `{SYSTEM_USER}`, with cluster.password, must be in its system account; {why}"
    )
