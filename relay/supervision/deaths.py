"""Deaths of children: how each is told in the log, and how long its restart waits.

What a death means to the others: the topology no longer lists the dead. So fronts gather what is
for a worker until its successor is ready (relay.front.links), and workers end the sessions of a
front (workers.fronts, then `Logins.front_lost`); docs/links-and-recovery.md draws both.
"""

import signal
from random import Random

from relay.process.exitcodes import CANNOT_BOOT, FENCED, LOG_LOST_DATA, WRITE_FAILED


class Backoff:
    """The delays between the deaths of one child and its restarts.

    They double with each death, from `min_s` to `max_s`, and begin anew after a life of at least
    `max_s`. Jitter takes up to half away, so that children that died together do not come back
    together; each delay is still no shorter than the one before, under the same bounds.
    """

    def __init__(self, *, min_s: float, max_s: float, random: Random) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._random = random
        self.deaths = 0

    def adopt(self, *, min_s: float, max_s: float) -> None:
        """Take other bounds, from the next death on."""
        self._min_s = min_s
        self._max_s = max_s

    def restart_delay_s(self, *, uptime_s: float, exit_code: int | None) -> float:
        """Count a death after `uptime_s` and return how long to wait before the next start.

        `exit_code` is None for a death by signal. CANNOT_BOOT waits the longest at once.
        """
        self.deaths = 1 if uptime_s >= self._max_s else self.deaths + 1
        if exit_code == CANNOT_BOOT:
            return self._max_s
        # 2**30 is past any max_s; without a bound the power overflows a float in a long loop.
        full_s: float = min(self._max_s, self._min_s * 2 ** min(self.deaths - 1, 30))
        return full_s * self._random.uniform(0.5, 1.0)


def describe_exit(returncode: int, *, oom_kills: int, we_killed: bool) -> dict[str, str | int]:
    """Return the log fields of a death: `signal` or `exit_code`, and a `hint` where one helps.

    `returncode` is negative for a signal, as `subprocess` has it. `oom_kills` is how many processes
    the kernel's OOM killer has killed on this machine since the last death was looked at.
    `we_killed`: the SIGKILL was the supervisor's own.
    """
    if returncode >= 0:
        fields: dict[str, str | int] = {"exit_code": returncode}
        if returncode == CANNOT_BOOT:
            fields["hint"] = "it cannot start here; its own log line says why"
        elif returncode == WRITE_FAILED:
            fields["hint"] = "the disk refused a write; its own log line says why"
        elif returncode == FENCED:
            fields["hint"] = "another process owns its range by now; it comes back as a standby"
        elif returncode == LOG_LOST_DATA:
            fields["hint"] = "it is not started again; its own log line says what to do"
        return fields
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"SIG{-returncode}"  # real-time signals have no names of their own
    fields = {"signal": name}
    if name == "SIGKILL" and not we_killed:
        fields["hint"] = (
            "the kernel's OOM killer has struck: give the machine more memory or lower the limits"
            if oom_kills
            else "killed from outside the relay; a container's memory limit does that too"
        )
    elif name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"):
        fields["hint"] = "its stack is in the log above"
    return fields


def parse_oom_kills(vmstat: str) -> int:
    """Return the OOM kills since boot from the text of /proc/vmstat; 0 where it tells none."""
    for line in vmstat.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0
