"""GET /metrics: the figures of all processes, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from litestar import Response
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector, CollectorRegistry

from relay.admin.asker import Silence
from relay.admin.families import Own, families
from relay.admin.processes import usages
from relay.admin.routes import look
from relay.admin.view import View
from relay.disk.layout import KEYS_FILE
from relay.inquiries.figures import AskFigures
from relay.settings.tables import Settings


class _Collected(Collector):
    """What was asked for one scrape."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        return iter(self._found)


@look(
    "/metrics",
    summary="Metrics in OpenMetrics",
    tags=["metrics"],
    media_type=exposition.CONTENT_TYPE_LATEST,
)
async def metrics(view: View) -> Response[bytes]:
    """Return the figures of whoever has told them in time; `relay_process_up` says who has not."""
    told, _ = await view.asker.ask_all(None, AskFigures())
    own = Own(view.counters, view.expiries(), _keys_fetched_s(view.settings))
    restarts = {seat: view.asker.restarts[seat] for seat in view.asker.seats}
    found = list(families(told, usages(), restarts, own))
    if view.settings.cluster.is_on:
        found += await _of_cluster(view)
    registry = CollectorRegistry()
    registry.register(_Collected(found))
    text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    return Response(text, media_type=exposition.CONTENT_TYPE_LATEST)


async def _of_cluster(view: View) -> list[Metric]:
    # Here, because a relay on one host needs nothing of it.
    from relay.admin.agents import status_of
    from relay.admin.clusterfamilies import cluster_families

    seen = await status_of(view, view.settings.cluster.host_name)
    return list(cluster_families(None if isinstance(seen, Silence) else seen))


def _keys_fetched_s(settings: Settings) -> float | None:
    """Return when the supervisor has last kept what it fetched, as it does each time."""
    if settings.auth.mode != "token" or not settings.auth_token.jwks_url:
        return None
    try:
        return (Path(settings.server.data) / KEYS_FILE).stat().st_mtime
    except OSError:
        return 0.0


ROUTES = [metrics]
