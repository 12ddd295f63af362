"""Quantities as people write them: 90s, 1m30s, 0,2-5."""

import re
from typing import Final

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)(s|ms)?)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of `300`, `300s`, `250ms`, `20m` or `1h30m`.

    Raises:
        ValueError: anything else, or nothing at all.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text!r} is no duration (90s, 250ms, 20m, 1h30m)")
    hours, minutes, seconds, unit = match.groups()
    scale = 0.001 if unit == "ms" else 1.0
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0) * scale


def parse_cpus(text: str) -> tuple[int, ...]:
    """Return the CPU numbers of `0`, `0,2` or `0-3,6`, ascending.

    Raises:
        ValueError: no list of CPUs.
    """
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{text!r} is no list of CPUs (0 or 0,2 or 0-3)")
        cpus.update(range(int(first), int(last or first) + 1))
    if not cpus:
        raise ValueError(f"{text!r} names no CPU")
    return tuple(sorted(cpus))
