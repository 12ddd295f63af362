"""The lists of whom nobody lets in, which another host has just changed."""

from __future__ import annotations

import asyncio

from relay.admin.keeper import take_changes
from relay.admin.view import View
from relay.errors import DiskError
from relay.inquiries.contract import FAILED, Handlers, NoAnswer
from relay.inquiries.leaving import ListsTaken, ReadLists, TakeLists


def handlers(view: View) -> Handlers:
    """Return what this topic answers."""

    async def take(asked: TakeLists) -> ListsTaken | NoAnswer:
        deadline_s = view.asker.deadline_s()
        try:
            await asyncio.to_thread(take_changes, view.settings.cluster, view.place.data_dir)
        except DiskError as error:
            return NoAnswer(FAILED, str(error))
        _, silent = await view.asker.ask_all("front", ReadLists(), deadline_s=deadline_s)
        return ListsTaken([each.index for each in silent])

    return {TakeLists: take}
