"""Network namespaces on one bridge, which plays the switch between hosts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

COMMAND_S: Final = 20.0
# Names say whose they are, so that what a killed test left behind is told from what is in use.
# A network interface may have 15 characters.
_NAME: Final = re.compile(r"rl(\d{1,7})(?:br|[a-z])\b")
_NAMESPACES: Final = "/run/netns"
_NETWORKS: Final = range(1, 250)


class HostsUnavailable(Exception):
    """No namespaces can be made here; the message says why."""


def run(*command: str) -> str:
    """Run a command of the system; return what it printed.

    Raises:
        HostsUnavailable: it is not there, or has failed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
    except FileNotFoundError:
        raise HostsUnavailable(f"there is no `{command[0]}` here") from None
    except subprocess.TimeoutExpired:
        raise HostsUnavailable(f"{' '.join(command)}: not within {COMMAND_S:g} s") from None
    if done.returncode:
        raise HostsUnavailable(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def attempt(*command: str) -> None:
    """Run it, whatever comes of it: for what may be gone already."""
    with contextlib.suppress(HostsUnavailable):
        run(*command)


def sweep() -> None:
    """Remove the namespaces and bridges of tests that are no more, and end what runs there."""
    for name in (each.split()[0] for each in run("ip", "netns", "list").splitlines() if each):
        if _is_left(name):
            for pid in run("ip", "netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            attempt("ip", "netns", "delete", name)
    for line in run("ip", "-o", "link", "show", "type", "bridge").splitlines():
        if _is_left(name := line.split(": ")[1].split("@")[0]):
            attempt("ip", "link", "delete", name)


def _is_left(name: str) -> bool:
    found = _NAME.fullmatch(name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


class Network:
    """One bridge with a namespace for each host, `.1` on, and this side of it, `.254`.

    As a context manager it is there, and nothing of it is left.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Of hosts of such names, of one small letter each."""
        self.names = tuple(names)
        self._own = f"rl{os.getpid()}"
        self._bridge = f"{self._own}br"
        self._subnet = ""

    def __enter__(self) -> Network:
        """Make it.

        Raises:
            HostsUnavailable: that cannot be here.
        """
        if os.geteuid() != 0:
            raise HostsUnavailable("only root may make network namespaces")
        sweep()
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            attempt("ip", "netns", "delete", self.namespace(name))
            attempt("ip", "link", "delete", self._port(name))
        attempt("ip", "link", "delete", self._bridge)

    def _make(self) -> None:
        run("ip", "link", "add", self._bridge, "type", "bridge")
        taken = run("ip", "-o", "-4", "address", "show")
        free = (f"10.213.{number}" for number in _NETWORKS)
        self._subnet = next(each for each in free if f" {each}." not in taken)
        run("ip", "address", "add", f"{self._subnet}.254/24", "dev", self._bridge)
        run("ip", "link", "set", self._bridge, "up")
        for name in self.names:
            namespace, port = self.namespace(name), self._port(name)
            inside = ("ip", "-n", namespace)
            run("ip", "netns", "add", namespace)
            run("ip", "link", "add", port, "type", "veth", "peer", "eth0", "netns", namespace)
            run("ip", "link", "set", port, "master", self._bridge, "up")
            run(*inside, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            run(*inside, "link", "set", "eth0", "up")
            run(*inside, "link", "set", "lo", "up")
            run(*inside, "route", "add", "default", "via", f"{self._subnet}.254")

    def namespace(self, name: str) -> str:
        """Return the namespace of a host."""
        return f"{self._own}{name}"

    def _port(self, name: str) -> str:
        return f"{self._own}{name}"

    def address(self, name: str) -> str:
        """Return the address of a host, which is reached from this side too."""
        return f"{self._subnet}.{1 + self.names.index(name)}"

    def within(self, name: str) -> list[str]:
        """Return what a command begins with that is to run on that host."""
        # `ip netns exec` would give it mounts of its own too, which keep the disks of other hosts.
        return ["nsenter", f"--net={_NAMESPACES}/{self.namespace(name)}"]

    def pids(self, name: str) -> list[int]:
        """Return the processes that run on a host."""
        return [int(each) for each in run("ip", "netns", "pids", self.namespace(name)).split()]

    def cut(self, name: str) -> None:
        """Cut a host off: what is sent to it or by it is lost, and nobody is told."""
        run("ip", "link", "set", self._port(name), "down")

    def heal(self, name: str) -> None:
        """Connect a host again."""
        run("ip", "link", "set", self._port(name), "up")
