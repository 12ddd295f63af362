"""When something happens, as the pure parts are told it."""

from typing import NamedTuple


class Moment(NamedTuple):
    """The wall clock, in seconds since 1970; a clock that is never set; and a random number.

    `up` is seconds of any start. `chance` is in [0, 1).
    """

    wall: int
    up: float
    chance: float
