"""What the supervisor says of the relay: in the log when it starts, and once it serves."""

from __future__ import annotations

import os
import sys

from relay import __version__, compiled, log
from relay.outlet import Outlet
from relay.process import descriptors
from relay.settings.tables import Settings
from relay.supervision.notice import READY, give_notice

logger = log.get_logger()


def log_start(settings: Settings, *, cores: int, most_files: int, is_root: bool = False) -> None:
    """Say what starts, and where it is more than the machine is made for."""
    server = settings.server
    if settings.cluster.is_on:
        logger.info(
            "cluster.joining",
            cluster=settings.cluster.name,
            host_name=settings.cluster.host_name,
            hosts=list(settings.cluster.addresses),
            ranges=settings.cluster.ranges,
        )
    logger.info(
        "supervisor.starting",
        version=__version__,
        parts=compiled.kind(),
        pid=os.getpid(),
        host=server.host,
        port=server.port,
        fronts=server.fronts,
        workers=server.workers,
        data=server.data,
        durability=settings.store.durability,
        auth=settings.auth.mode,
        tls=bool(settings.tls.certificate_files),
    )
    if is_root:
        logger.warning(
            "supervisor.runs_as_root",
            hint="nothing here needs root once the port is bound; see server.user",
        )
    if server.workers > cores and not settings.cluster.is_on:  # there they are for all hosts
        logger.info(
            "supervisor.many_workers",
            workers=server.workers,
            cores=cores,
            hint="fewer cost less processor time a message; see --workers",
        )
    if most_files - descriptors.reserve_of(settings) < settings.limits.connections:
        logger.warning(
            "supervisor.few_descriptors",
            open_files=most_files,
            connections=settings.limits.connections,
            hint="a front takes fewer clients than limits.connections says; raise the limit of open"
            " files (ulimit -n; with systemd LimitNOFILE)",
        )


def announce(settings: Settings) -> None:
    """Write the ready line, and tell the service manager."""
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    stdout = Outlet(sys.stdout.fileno())
    scheme = "wss" if settings.tls.certificate_files else "ws"
    line = f"ready {scheme}://{host}:{server.port}/ fronts={server.fronts}"
    cluster = settings.cluster
    line += (
        f" host={cluster.host_name} ranges={cluster.ranges}"
        if cluster.is_on
        else f" workers={server.workers}"
    )
    stdout.write(line)
    stdout.flush(log.FLUSH_S)
    give_notice(READY)
