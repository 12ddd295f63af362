"""What a child says with its exit code."""

from typing import Final

# Exit code of a child that cannot go on here (store or log unreadable, endpoint not bindable) and
# has logged why. Starting it again at once would fail the same way.
CANNOT_BOOT: Final = 3
# Exit code of a worker whose disk refused a write. Its successor knows the store as it is.
WRITE_FAILED: Final = 4
# Exit code of a worker whose range another one owns by now. Its successor is a standby.
FENCED: Final = 5
# Exit code of a worker whose log has less than it had confirmed, which it has logged: somebody must
# look before anything of that range is served again.
LOG_LOST_DATA: Final = 6
# Exit code of the keeper of a cluster's engine that has ended by itself, which it has logged.
ENGINE_DIED: Final = 7
