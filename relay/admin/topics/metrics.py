"""GET /metrics: the figures of all processes, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from litestar import Response
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector, CollectorRegistry

from relay.admin.families import families
from relay.admin.processes import usages
from relay.admin.routes import look
from relay.admin.view import View
from relay.inquiries.figures import AskFigures


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
    found = list(families(told, usages(), view.asker.restarts, view.counters))
    registry = CollectorRegistry()
    registry.register(_Collected(found))
    text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]
    return Response(text, media_type=exposition.CONTENT_TYPE_LATEST)


ROUTES = [metrics]
