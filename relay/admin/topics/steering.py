"""POST /api/v1/reload, /roll, .../drain, PUT /api/v1/workers: what the supervisor does.

In a cluster it is that of the host that is asked, as the operation says.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request
from litestar.params import Parameter

from relay.admin.operations import Operation
from relay.admin.routes import act, acted, look, missing, replace
from relay.admin.view import View
from relay.settings.tables import MAX_PROCESSES

# An answer comes within a second; what takes longer is asked for again by its id.
WAIT_S: Final = 0.8


@act("/api/v1/reload", summary="Read settings and groups again", tags=["operations"])
async def reload(request: Request[Any, Any, Any], view: View) -> Operation:
    """Do what SIGHUP does; `failed` where a file was refused, which changes nothing of it."""
    return await _asked(request, view, view.operations.reload())


@act("/api/v1/roll", summary="Renew every process", tags=["operations"])
async def roll(request: Request[Any, Any, Any], view: View) -> Operation:
    """Do what SIGUSR2 does; its id is `roll`, and this admin is renewed as the last."""
    return await _asked(request, view, view.operations.roll())


@act(
    "/api/v1/processes/{role:str}/{index:int}/drain", summary="Renew a process", tags=["operations"]
)
async def drain(
    request: Request[Any, Any, Any],
    view: View,
    role: Literal["front", "worker"],
    index: Annotated[int, Parameter(ge=0, le=1000, description="its number")],
) -> Operation:
    """Send a front's clients away, a few at a time; or have a worker finish. Both are succeeded."""
    if all((role, index) != (seat.role, seat.index) for seat in view.asker.seats):
        raise missing(f"there is no {role} {index}")
    return await _asked(request, view, view.operations.drain(role, index))


class WorkersWanted(msgspec.Struct, frozen=True):
    """How many workers there are to be."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=MAX_PROCESSES)]


@replace("/api/v1/workers", summary="Another number of workers", tags=["operations"])
async def workers(request: Request[Any, Any, Any], view: View, data: WorkersWanted) -> Operation:
    """Have so many from the next start on, which lays the stores out anew; `status` tells it.

    It is durable when this is `done`, and counts until the settings file says another number than
    now. `failed` where the command line says how many there are.
    """
    return await _asked(request, view, view.operations.want_workers(data.workers))


@look("/api/v1/operations/{operation:str}", summary="What became of one", tags=["operations"])
async def operation(
    view: View, operation: Annotated[str, Parameter(max_length=40, description="its id")]
) -> Operation:
    """Return how it is, as soon as it has ended or within a second; 404: this admin is another."""
    found = view.operations.find(operation)
    if found is None:
        raise missing(f"nothing is known of operation {operation}")
    return await view.operations.wait(found, WAIT_S)


async def _asked(request: Request[Any, Any, Any], view: View, begun: Operation) -> Operation:
    acted(request, begun.what, operation=begun.id)
    return await view.operations.wait(begun, WAIT_S)


ROUTES = [reload, roll, drain, workers, operation]
