"""POST /api/v1/purge, /backups and /check: what the tools for the stores do for operators."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException

from relay.admin import purging
from relay.admin.backups import NAME, Backup, Backups
from relay.admin.operations import Operation
from relay.admin.routes import act, acted, also, local_of, look, missing
from relay.admin.tools import Done, Say, ToolRuns
from relay.admin.view import View

# An answer comes within a second; what takes longer is asked for again by its id.
WAIT_S: Final = 0.8
_ONE_BY_ONE: Final = "another tool runs: they go one by one"
_TOOLS: Final = also({409: _ONE_BY_ONE})
_BACKUPS: Final = also(
    {
        409: f"{_ONE_BY_ONE}; or admin.backup_directory is not set, or has one of that name",
        500: "admin.backup_directory cannot be read",
    }
)
Name = Annotated[str, msgspec.Meta(pattern=f"^{NAME}$", description="of a backup")]


class Purge(msgspec.Struct, frozen=True):
    """What is to go for good: what is of `user`, or else what waits for longer than that."""

    user: Annotated[str, msgspec.Meta(max_length=200)] = ""
    older_than_s: Annotated[int, msgspec.Meta(ge=0, le=10 * 366 * 86_400)] | None = None
    dry_run: bool = True  # count exactly, and change nothing


class BackupWanted(msgspec.Struct, frozen=True):
    """Which one to make."""

    name: Name


class CheckWanted(msgspec.Struct, frozen=True):
    """Which backup to check; without a name what the relay serves from."""

    backup: Name | None = None


class AllBackups(msgspec.Struct, frozen=True):
    """Those that are whole, the newest first."""

    backups: list[Backup]


@act(
    "/api/v1/purge",
    summary="Throw away what waits",
    tags=["keeping"],
    responses=_TOOLS,
)
async def purge(request: Request[Any, Any, Any], view: View, data: Purge) -> Operation:
    """Do what `relay store purge` does; without `dry_run: false` it only counts what would go.

    In a cluster each host does it to what is of the ranges that it owns.
    """
    if bool(data.user) == (data.older_than_s is not None):
        raise ValidationException("give either user or older_than_s")
    user = local_of(data.user) if data.user else ""
    which = purging.Which(user, data.older_than_s, data.dry_run)

    async def work(say: Say) -> Done:
        return await purging.purge(view, which, say)

    return await _begun(request, view, f"purge {which}", work)


@act("/api/v1/backups", summary="Make a backup", tags=["keeping"], responses=_BACKUPS)
async def back_up(request: Request[Any, Any, Any], view: View, data: BackupWanted) -> Operation:
    """Copy the data directory while the relay runs, check the copy, and give it its name."""
    backups = _backups(view)
    path = _path_of(backups, data.name)
    if await asyncio.to_thread(backups.is_taken, data.name):
        raise HTTPException(f"{path} is there already", status_code=409)

    async def work(say: Say) -> Done:
        return await backups.make(data.name, view.place.data_dir, view.tools, say)

    return await _begun(request, view, f"backup {data.name}", work)


@look("/api/v1/backups", summary="Which backups there are", tags=["keeping"], responses=_BACKUPS)
async def backups(view: View) -> AllBackups:
    """Return them; nothing is known of those that `relay backup DIR TO` has made elsewhere."""
    try:
        return AllBackups(await asyncio.to_thread(_backups(view).all))
    except OSError as error:
        raise HTTPException(f"{error.filename}: {error.strerror}", status_code=500) from None


@act("/api/v1/check", summary="Check the stores", tags=["keeping"], responses=_BACKUPS)
async def check(request: Request[Any, Any, Any], view: View, data: CheckWanted) -> Operation:
    """Verify that every index agrees with every other; `failed` where one does not."""
    path = view.place.data_dir
    if data.backup is not None:
        path = _path_of(_backups(view), data.backup)
        if not await asyncio.to_thread(path.exists):
            raise missing(f"there is no backup {data.backup}")

    async def work(say: Say) -> Done:
        return await view.tools.run(say, "check", str(path))

    stores = f"the stores of {view.asker.host}" if view.asker.host else "the stores"
    return await _begun(request, view, f"check {data.backup or stores}", work)


def _backups(view: View) -> Backups:
    directory = view.settings.admin.backup_directory
    if not directory:
        raise HTTPException("admin.backup_directory is not set", status_code=409)
    return Backups(Path(directory))


def _path_of(backups: Backups, name: str) -> Path:
    if not re.fullmatch(NAME, name):  # `$` overlooks the end of a line
        raise ValidationException("a name has no end of a line")
    return backups.path_of(name)


async def _begun(
    request: Request[Any, Any, Any],
    view: View,
    what: str,
    work: Callable[[Say], Awaitable[Done]],
) -> Operation:
    try:
        operation = view.tools.begin(what, work)
    except ToolRuns as error:
        raise HTTPException(str(error), status_code=409) from None
    acted(request, what, operation=operation.id)
    return await view.operations.wait(operation, WAIT_S)


ROUTES = [purge, back_up, backups, check]
