"""What a child says with its exit code."""

from typing import Final

# Exit code of a child that cannot start here (store unreadable, endpoint not bindable) and has
# logged why. Starting it again at once would fail the same way.
CANNOT_BOOT: Final = 3
# Exit code of a worker whose disk refused a write. Its successor knows the store as it is.
WRITE_FAILED: Final = 4
# Exit code of the keeper of a cluster's engine that has ended by itself, which it has logged.
ENGINE_DIED: Final = 7
