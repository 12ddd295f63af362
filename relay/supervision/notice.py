"""What a service manager is told: systemd's `Type=notify` and watchdog, by sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

from relay import log
from relay.supervision.condition import Condition, Phase, Summary

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_SOCKET: Final = "NOTIFY_SOCKET"
_SIGN_OF_LIFE: Final = "WATCHDOG=1"
# Between two lines of how the relay is: as often as a person looks again.
STATUS_EVERY_S: Final = 5.0


def reloading() -> str:
    """Return the notice that settings are being read again; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


class ServiceManager:
    """Is told how the relay is, and that it gets on: at half the time that the watchdog allows.

    `look` is to be called at least every `look_every_s`, from the loop that does the work.
    """

    def __init__(self) -> None:
        self._listens = bool(os.environ.get(_SOCKET))
        allowed_s = _watchdog_s()
        self._sign_every_s = allowed_s / 2 if allowed_s else None
        self._sign_due_s = 0.0
        self._withholds = False  # signs of life, and has said so
        self._summary = Summary()
        self._status = ""
        self._status_due_s = 0.0
        self._phase: Phase | None = None

    def look_every_s(self, most_s: float) -> float:
        """Return after how long to look again, at most `most_s`."""
        return most_s if self._sign_every_s is None else min(most_s, self._sign_every_s)

    def look(self, condition: Condition, *, now_s: float) -> None:
        """Tell what is due; `now_s` is of a clock that only grows."""
        if not self._listens:
            return
        notices = []
        if self._sign_every_s is not None and now_s >= self._sign_due_s:
            if condition.gets_on:
                self._sign_due_s = now_s + self._sign_every_s
                notices.append(_SIGN_OF_LIFE)
            elif not self._withholds:
                log.get_logger().error("supervisor.stuck", seats=condition.stuck)
            self._withholds = not condition.gets_on
        if now_s >= self._status_due_s or condition.phase is not self._phase:
            self._status_due_s = now_s + STATUS_EVERY_S
            self._phase = condition.phase
            status = self._summary.line(condition, now_s=now_s)
            if status != self._status:
                self._status = status
                notices.append(f"STATUS={status}")
        if notices:
            give_notice("\n".join(notices))


def _watchdog_s() -> float | None:
    """Return within which time a sign of life is expected, None if none is, or of somebody else."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ.get("WATCHDOG_USEC", "")) / 1e6 or None
    except ValueError:
        return None


def give_notice(notice: str) -> None:
    """Tell the service manager, if one started us and listens; nobody waits for it."""
    address = os.environ.get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(notice.encode(), address)
    except OSError as error:
        log.get_logger().warning("supervisor.notice_lost", reason=error.strerror)
