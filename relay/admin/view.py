"""What a topic of the API has to work with."""

from __future__ import annotations

from collections import Counter

from relay.admin.asker import Asker
from relay.process.place import Place


class View:
    """The relay as its admin process sees it."""

    def __init__(self, place: Place, asker: Asker) -> None:
        self.place = place
        self.settings = place.settings  # as they are now
        self.asker = asker
        self.counters: Counter[str] = Counter()  # answers by status, as `requests_200`
