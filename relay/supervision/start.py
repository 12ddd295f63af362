"""What is to be so before anything is started: all that is claimed, and all that is read once."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Final

from relay.auth.modes import authenticator_of
from relay.auth.tls import all_warnings_of
from relay.disk.layout import is_settled, read_layout
from relay.errors import BootError
from relay.process import descriptors
from relay.settings.agreement import exposure
from relay.supervision import hostdata
from relay.supervision.activation import take_listeners
from relay.supervision.announcing import log_start
from relay.supervision.claims import Claims, DataClaim
from relay.supervision.course import Course
from relay.supervision.events import Claimed
from relay.supervision.handover import Handover
from relay.supervision.identity import Identity
from relay.supervision.keysource import KeySource
from relay.supervision.reload import InForce
from relay.supervision.sharing import Sharing

# Between two tries to claim the port of a supervisor that was killed.
CLAIM_AGAIN_S: Final = 0.1


class Start:
    """That of one supervisor: anew by `begin`, or from a predecessor by `take_over`."""

    def __init__(
        self, course: Course, in_force: InForce, sharing: Sharing | None, keys: KeySource
    ) -> None:
        """`sharing` is None without a cluster."""
        self._course = course
        self._in_force = in_force
        self._sharing = sharing
        self._keys = keys
        self.claims: Claims | None = None  # until the data directory is ours

    def begin(self) -> None:
        """Read what must be usable, and claim all; the fleet hears when it is `Claimed`.

        Raises:
            SettingsError: the groups file or a key is unusable.
            BootError, DiskError: something is in the way of starting.
        """
        given = take_listeners()
        if len(given) > self._in_force.settings.server.fronts:
            # The clients of one that no front takes would wait for ever.
            raise BootError(
                f"systemd hands over {len(given)} sockets, for"
                f" {self._in_force.settings.server.fronts} fronts: one, or one a front"
            )
        identity = Identity(self._in_force.settings.server.user)
        authenticator_of(self._in_force.settings)  # it refuses keys that are unusable
        all_warnings_of(self._in_force.settings)
        if self._sharing is not None:
            self._sharing.join()
        self._in_force.load_groups()
        data = DataClaim(Path(self._in_force.settings.server.data))
        self.claims = Claims(data, now_s=self._course.now_s, given=given)
        self._claim_port(self.claims, identity)

    def _claim_port(self, claims: Claims, identity: Identity) -> None:
        if self._course.fleet.is_stopping:
            return
        server = self._in_force.settings.server
        with identity.privileged():
            found = claims.claim_port(server.host, server.port, now_s=self._course.now_s)
        if found is None:
            self._course.later(CLAIM_AGAIN_S, partial(self._claim_port, claims, identity))
            return
        if identity.changes:
            with identity.privileged():
                claims.bind_for_good(server.fronts)
            identity.settle()
        data = Path(server.data)
        layout = read_layout(data)
        claims.make_run_dir()
        self._keys.begin(self._course.now_s)
        self._in_force.found(*found)
        if refusal := exposure(self._in_force.settings):  # by a socket that was given
            raise BootError(refusal)
        log_start(
            self._in_force.settings,
            cores=len(os.sched_getaffinity(0)),
            is_root=os.geteuid() == 0,
            most_files=descriptors.limit(),
        )
        if self._sharing is not None:
            self._sharing.place_files()
            self._sharing.look_at_files()
            hostdata.prepare(data, server.workers)
            numbers = hostdata.count_boot(data) << hostdata.BOOT_SHIFT
            self._course.happened(Claimed(laid_out=True, numbers=numbers))
            return
        # The child that lays the stores out compacts them too.
        laid_out = is_settled(data, layout, workers=server.workers)
        compacts = self._in_force.settings.store.compact
        self._course.happened(Claimed(laid_out=laid_out and not compacts))

    def take_over(self, predecessor: Handover) -> None:
        """Go on with what a predecessor in this process holds and has read."""
        self.claims = Claims.taken_over(predecessor.claims)
        self._in_force.found(predecessor.host, predecessor.port)
        self._in_force.take_over(predecessor.groups)
        if self._sharing is not None:
            self._sharing.take_over(predecessor.accord)
        self._keys.take_over(predecessor.keys)
