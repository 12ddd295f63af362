"""`relay stop`: the whole relay, in order, as before a reboot.

Exit codes: 0 it has stopped, 1 it could not be told to, 2 bad usage, 3 it is still stopping.
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import Final

import click

from relay.errors import NotAsked
from relay.operating.commands import PARTLY, data_option
from relay.operating.line import holder_of
from relay.words import age

_FIRST: Final = 1  # the pid of whoever starts services


@click.command()
@data_option
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=60.0,
    help="Seconds to wait for its end (default: 60).",
)
def stop(data: Path, wait_s: float) -> int:
    """Stop the whole relay in order, as before a reboot, as SIGTERM does; of several this host.

    Clients are sent away a few at a time with close 1012, and come again by themselves once it
    runs; what was acked is on the disk, and waits for them. With `supervisor.drain_notice_s`
    /readyz says 503 first.

    One that systemd started is stopped by `systemctl stop`, which a reboot does by itself.
    """
    pid = holder_of(data).pid
    try:
        process = os.pidfd_open(pid)
        if not _holds(pid, data / "lock"):
            raise NotAsked(f"process {pid} does not hold {data}: is it of another machine?")
        if unit := _unit_of(pid):
            raise NotAsked(f"systemd started it: systemctl stop {unit}, with its .socket if it has")
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except (ProcessLookupError, FileNotFoundError):
        raise NotAsked(f"no relay runs on {data}; see --data") from None
    except PermissionError:
        raise NotAsked(f"process {pid} is another user's: do it as that user, or as root") from None
    begun_s = time.monotonic()
    ends = select.poll()
    ends.register(process, select.POLLIN)
    has_ended = bool(ends.poll(wait_s * 1000))
    os.close(process)
    took = age(time.monotonic() - begun_s)
    click.echo(f"stopped, after {took}" if has_ended else f"still stopping, after {took}")
    return 0 if has_ended else PARTLY


def _holds(pid: int, lock: Path) -> bool:
    """Whether a process has that file open: a pid alone may be anybody's by now."""
    held = lock.stat()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.path.samestat(each.stat(), held):
                return True
        except FileNotFoundError:
            continue  # closed meanwhile, or a pipe's
    return False


def _unit_of(pid: int) -> str:
    """Return the service of systemd's that a process is, empty where it is none."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    place = Path(f"/proc/{pid}/cgroup").read_text().rstrip().rpartition("/")[2]
    return place if parent == _FIRST and place.endswith(".service") else ""
