"""What a topic of the API has to work with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from relay.admin.asker import Asker, Others
from relay.admin.courier.contract import Courier
from relay.admin.diskwatch import DiskWatch
from relay.admin.groupbook import GroupBook
from relay.admin.operations import Operations
from relay.admin.tools import Tools
from relay.process.place import Place


class View:
    """The relay as its admin process sees it."""

    def __init__(
        self,
        place: Place,
        asker: Asker,
        expiries: Callable[[], Mapping[str, float]],
        disk: DiskWatch,
        counters: Counter[str],
        others: Others,
    ) -> None:
        """`counters` are the admin's own, besides answers by status, as `requests_200`."""
        self.place = place
        self.settings = place.settings  # as they are now
        self.asker = asker
        self.others = others
        self.expiries = expiries  # of the admin's own certificate, as `Figures` have them
        self.disk = disk
        self.groups = GroupBook(lambda: self.settings)
        self.operations = Operations(place.incarnation, place.control.send, host=asker.host)
        self.courier: Courier | None = None  # where events are posted
        self.tools = Tools(self.operations)
        self.counters = counters
