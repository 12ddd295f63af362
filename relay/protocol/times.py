"""Times as clients write them (PROTOCOL R8, R9)."""

# Above this a number is milliseconds: it would be the year 5138 in seconds, and 1973 in
# milliseconds (R8).
MILLISECONDS_ABOVE = 1e11
MAX_AHEAD_S = 300  # how far in the future a client's time is believed (R9, 2.4.3)
_MILLISECOND_DIGITS = 12  # of the lowest time in milliseconds
_USUAL_DIGITS = 10  # of a time in seconds, from 2001 on: it is read at once
_MAX_DIGITS = 20  # more digits than any time has; refuses to convert longer strings at all


def read_time(value: object) -> int | None:
    """Return `value` as whole seconds since 1970, or None where it is no time (R8).

    Takes an int, a float, or a string of ASCII digits; milliseconds become seconds.
    """
    number: int | float
    if type(value) is str:
        if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
            return None
        number = int(value)
        if len(value) < _MILLISECOND_DIGITS:  # as nearly always
            return number
    elif type(value) is int or type(value) is float:
        number = value
    else:
        return None
    if number > MILLISECONDS_ABOVE:
        number = number // 1000
    # The upper bound also refuses infinity and what no clock will show.
    return int(number) if 0 <= number <= MILLISECONDS_ABOVE else None


def message_time(value: object, *, now_s: int) -> int:
    """Return the client's time if it is one and not too far ahead, else the server's (R9)."""
    if type(value) is str and len(value) == _USUAL_DIGITS and value.isascii() and value.isdigit():
        time_s: int | None = int(value)
    else:
        time_s = read_time(value)
    return now_s if time_s is None or time_s > now_s + MAX_AHEAD_S else time_s


def receipt_time(claimed_s: int | None, *, message_s: int, now_s: int) -> int:
    """Return the time that an author is told for a receipt (2.4.3)."""
    if claimed_s is None or not message_s - MAX_AHEAD_S <= claimed_s <= now_s + MAX_AHEAD_S:
        return now_s
    return claimed_s
