"""Whether sends are taken: not while there is no room for them, nor just after a failed write."""

from __future__ import annotations

from pathlib import Path

from relay import log
from relay.settings.tables import StoreSettings
from workers.mishaps import Mishaps
from workers.store.room import CHECK_EVERY_BYTES, lack_of_room, room_bytes
from workers.store.store import Store


class Gate:
    """Open while `refusal` is empty; it tells for people why sends are refused."""

    def __init__(
        self, store: Store, directory: Path, settings: StoreSettings, mishaps: Mishaps
    ) -> None:
        self.refusal = ""
        self._store = store
        self._directory = directory
        self._settings = settings
        self._mishaps = mishaps
        self._unchecked_bytes = 0

    def adopt(self, settings: StoreSettings) -> None:
        """Go by other settings from the next check on."""
        self._settings = settings

    def count(self, size: int) -> None:
        """Note that so many bytes may be stored."""
        self._unchecked_bytes += size

    @property
    def must_check(self) -> bool:
        """Whether so much was stored, or such a thing happened, that `check` must not wait."""
        if self._unchecked_bytes >= CHECK_EVERY_BYTES:
            return True
        return bool(self._store.refusal) and not self.refusal

    @property
    def room_bytes(self) -> int:
        """How much may still be stored until sends are refused; below 0 where they are."""
        return room_bytes(self._store, self._directory, self._settings)

    def check(self, *, now_ms: int) -> None:
        """Refuse sends while there is no room for them, and take them again when there is."""
        self._unchecked_bytes = 0
        lack = lack_of_room(
            self._store, self._directory, self._settings
        ) or self._mishaps.write_refusal(now_ms=now_ms)
        if lack and not self.refusal:
            log.get_logger().error("store.refuses_sends", reason=lack)
        elif self.refusal and not lack:
            log.get_logger().info("store.takes_sends_again")
        self.refusal = lack
        if lack:
            self._store.seek_room()
