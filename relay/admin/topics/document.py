"""GET /openapi.json: what the API can do, for machines."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def document(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Return the document of all topics, in OpenAPI 3.1."""
    return Response(request.app.openapi_schema.to_schema())


ROUTES = [document]
