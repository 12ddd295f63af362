"""Who asks the agents of a cluster, by its file, from any machine that reaches one of its hosts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from relay.cluster.access import login_of, servers_of
from relay.cluster.names import agent_of
from relay.cluster.natswire import Server, Wire, WireLost
from relay.cluster.requests import (
    Answer,
    ClusterStatus,
    Refused,
    Request,
    RequestUnreadable,
    Room,
    StatusAsked,
    decode_answer,
    encode,
)
from relay.errors import SettingsError
from relay.settings.clustering import ClusterSettings
from relay.settings.load import draft_settings

CONNECT_S: Final = 2.0
# An agent says at once how it sees the cluster; what is to hold for all it answers when a majority
# has it.
STATUS_S: Final = 2.0
SETTLED_S: Final = 6.0


def cluster_of(path: Path, host_name: str = "") -> ClusterSettings:
    """Return the cluster of a settings file, as its host `host_name` sees it, or else its first.

    Raises:
        click.ClickException: it cannot be read, or there is none in it.
        SettingsError: what it says is not allowed.
    """
    hosts = draft_settings(path, {}).settings.cluster.addresses
    if not hosts:
        raise click.ClickException(
            f"{path} names no hosts: `relay cluster init` writes such a file"
        )
    name = host_name or next(iter(hosts))
    return draft_settings(path, {"cluster.host_name": name}).checked().cluster


class Caller:
    """Asks by one connection, and where that is lost by another."""

    def __init__(self, cluster: ClusterSettings) -> None:
        """Connect to nothing yet."""
        self.cluster = cluster
        self._wire: Wire | None = None

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def wire(self) -> Wire:
        """Return a connection with the first engine that lets us in.

        Raises:
            click.ClickException: none does.
        """
        if self._wire is None:
            try:
                self._wire = self._dial(servers_of(self.cluster))
            except WireLost as error:
                raise click.ClickException(f"no host can be reached: {error}") from None
        return self._wire

    def statuses(self) -> dict[str, ClusterStatus]:
        """Return how each host sees the cluster, of those that say so.

        One that does not answer by the first connection is asked by its own engine: it may be cut
        off from the others, but not from here.

        Raises:
            click.ClickException: no engine lets us in.
        """
        hosts = list(self.cluster.addresses)
        said = self._ask_all(self.wire(), hosts)
        if self.cluster.has_own_engine:
            for host in [each for each in hosts if each not in said]:
                server = Server(self.cluster.addresses[host], self.cluster.engine_port)
                with contextlib.suppress(WireLost), contextlib.closing(self._dial([server])) as own:
                    said |= self._ask_all(own, [host])
        return said

    def settle(self, request: Request) -> str:
        """Have something hold for all hosts; return what the agent said that took it.

        Raises:
            click.ClickException: it was refused, or nobody answers.
        """
        try:
            said = self._settle(request)
        except (WireLost, RequestUnreadable) as error:
            self.hang_up()
            raise click.ClickException(str(error)) from None
        match said:
            case Refused(reason):
                raise click.ClickException(reason)
            case ClusterStatus() | Room():
                raise click.ClickException(
                    "an agent answers something else: is it of this version?"
                )
        return said.said

    def _settle(self, request: Request) -> Answer:
        for host in self.cluster.addresses:
            subject = agent_of(self.cluster.name, host)
            try:
                said = self.wire().request(subject, encode(request), timeout_s=SETTLED_S)
            except TimeoutError:
                continue
            if not said.status:
                return decode_answer(said.payload)
        raise click.ClickException(f"no agent answers, of {', '.join(self.cluster.addresses)}")

    def _ask_all(self, wire: Wire, hosts: Iterable[str]) -> dict[str, ClusterStatus]:
        """Return what those hosts say that answer in time."""
        said: dict[str, ClusterStatus] = {}
        asked = {wire.new_inbox(): host for host in hosts}
        try:
            for inbox, host in asked.items():
                wire.publish(agent_of(self.cluster.name, host), encode(StatusAsked()), reply=inbox)
            until_s = time.monotonic() + STATUS_S
            while asked and (left_s := until_s - time.monotonic()) > 0:
                for message in wire.receive(left_s):
                    host = asked.pop(message.subject, "")
                    if not host or message.status:
                        continue
                    with contextlib.suppress(RequestUnreadable):
                        answer = decode_answer(message.payload)
                        if isinstance(answer, ClusterStatus):
                            said[host] = answer
        except WireLost:
            if wire is self._wire:
                self.hang_up()
        return said

    def watch(self, *, within_s: float, every_s: float = 0.5) -> Iterator[ClusterStatus]:
        """Yield how the cluster is, as who sees a majority says it, again and again until then.

        Where nobody can be asked for a while, nothing comes for as long.
        """
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            with contextlib.suppress(click.ClickException):
                seen = self._ask_all(self.wire(), self.cluster.addresses).values()
                best = next((each for each in seen if each.has_majority), None)
                if best is not None:
                    yield best
            time.sleep(every_s)

    def _dial(self, servers: list[Server]) -> Wire:
        login = login_of(self.cluster)
        try:
            return Wire(servers, login, name="operator", connect_s=CONNECT_S)
        except SettingsError as error:
            raise click.ClickException("; ".join(error.problems)) from None

    def hang_up(self) -> None:
        """Let the connection go; the next call makes another."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
