"""What inquiries may look at in a front."""

from typing import NamedTuple

from relay.front.dispatch import Dispatch
from relay.front.entrance.entrance import Entrance
from relay.front.hub import Hub
from relay.process.place import Place


class Insight(NamedTuple):
    """The one of a front; whoever has it only looks, but for what an inquiry says it does."""

    place: Place
    hub: Hub
    dispatch: Dispatch
    entrance: Entrance
