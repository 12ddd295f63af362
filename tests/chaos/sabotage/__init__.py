"""A relay that breaks a promise on purpose, so that a chaos run can show that it would be found.

`supervisor`, `worker`, `front` and `agent` are programs that stand in for the relay's own. They are
told by `RELAY_SABOTAGE` what to do wrong. They replace methods of the classes that they run. The
relay itself knows nothing of this: no setting, option or variable of it leads here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from relay import log
from relay.process.place import Place

VARIABLE: Final = "RELAY_SABOTAGE"

NAMES: Final = {
    "early-ack": "workers send what a batch has to say before they commit it",
    "no-replay": "fronts do not repeat to a worker's successor what the worker did not confirm",
    "no-dedupe": "workers do not look whether they know a message",
    "no-outbox": "workers keep nothing for each other until it is applied",
}
# With several hosts; "early-ack" is one of theirs too: that commit is a majority's.
NAMES_OF_MANY_HOSTS: Final = {
    "early-ack": NAMES["early-ack"],
    "no-fence": "owners write on whoever has written since, and take no notice of a newer epoch",
    "fold-unconfirmed": "owners keep a record in their store before the log has it",
    "no-catch-up": "standbys are seconds behind, and take over without what they lack",
    "early-trim": "logs are trimmed up to their ends, while standbys are seconds behind",
}

# How a sabotage replaces an attribute: `setattr`, or a test's that can be undone.
Patch = Callable[[object, str, object], None]


def chosen() -> str:
    """Return what this process is to do wrong.

    Raises:
        KeyError: it was not told, or told something unknown.
    """
    name = os.environ[VARIABLE]
    known = {**NAMES, **NAMES_OF_MANY_HOSTS}
    if name not in known:
        raise KeyError(f"{VARIABLE}={name}: none of {', '.join(known)}")
    return name


def serve_sabotaged(
    place: Place, serve: Callable[[Place], None], sabotages: Mapping[str, Callable[[Patch], None]]
) -> None:
    """Serve as the relay's own process does, but for the sabotage if it is one of its role's."""
    name = chosen()
    log.get_logger().warning("process.sabotaged", sabotage=name)
    if name in sabotages:
        sabotages[name](setattr)
    serve(place)
