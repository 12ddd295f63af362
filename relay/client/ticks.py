"""How far one's own message got, as the tick at the end of its line."""

from typing import Final

import msgspec

from relay.client.events import Level

_DONE: Final = {
    Level.DELIVERED: ("delivered", "to"),
    Level.READ: ("read", "by"),
    Level.PLAYED: ("played", "by"),
}


class OwnMessage(msgspec.Struct):
    """An own message and how far it got. `shown` is the tick on the screen, empty before one is."""

    text: str
    clock: str
    stored: bool = False
    failure: str = ""
    levels: dict[str, Level] = {}  # by recipient
    shown: str = ""

    def rise(self, user: str, level: Level) -> None:
        """Note a receipt; a level never falls."""
        self.levels[user] = max(level, self.levels.get(user, level))

    def tick(self, *, group: bool, recipients: int | None) -> str:
        """Return the tick; in a group it counts the `recipients`, of whom None is any number."""
        if self.failure:
            return f"✗ not sent: {self.failure}"
        if not self.levels:
            return "✓ sent" if self.stored else "…"
        if not group:
            return done(max(self.levels.values()))
        return "✓✓ " + ", ".join(self._counts(recipients))

    def _counts(self, recipients: int | None) -> list[str]:
        """Return how many reached each level; those who read a message have got it as well."""
        counts: list[str] = []
        above = 0  # how many reached the next higher level
        for level in sorted(Level, reverse=True):
            count = sum(reached >= level for reached in self.levels.values())
            if count > above:
                word, preposition = _DONE[level]
                counts.insert(0, f"{word} {preposition} {count}")
            above = count
        if recipients is not None and above <= recipients:
            counts[0] += f" of {recipients}"
        return counts


def done(level: Level) -> str:
    """Return the tick of what one recipient did."""
    return f"✓✓ {_DONE[level][0]}"
