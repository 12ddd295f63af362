"""Who the relay is on its machine: root for as long as it takes to bind a port, then a user.

From its first look at a file on it acts as that user, by the effective ids: what it may not read
or write then it cannot later either, and says so at the start. Root is taken up again to bind, and
given up for good before anything is started.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from relay.errors import SettingsError

_ROOT: Final = 0


class Identity:
    """The one of this process, for `server.user`; "" leaves it as it is.

    Raises:
        SettingsError: there is no such user, it is root, or it takes root to become it.
    """

    def __init__(self, user: str) -> None:
        self.was_root = os.geteuid() == _ROOT
        self.changes = False  # whether root is yet to be given up
        if not user:
            return
        entry = user_of(user)
        if not self.was_root:
            if entry.pw_uid != os.geteuid():
                raise SettingsError(
                    f"server.user: it takes root to become {user}, and this is user {os.geteuid()}"
                )
            return
        self.changes = True
        self._uid, self._gid = entry.pw_uid, entry.pw_gid
        os.initgroups(user, entry.pw_gid)
        os.setegid(entry.pw_gid)
        os.seteuid(entry.pw_uid)

    @contextmanager
    def privileged(self) -> Iterator[None]:
        """Be root in here, where root is yet to be given up."""
        if not self.changes:
            yield
            return
        os.seteuid(_ROOT)
        try:
            yield
        finally:
            os.seteuid(self._uid)

    def settle(self) -> None:
        """Give root up for good."""
        if not self.changes:
            return
        os.seteuid(_ROOT)
        os.setgid(self._gid)
        os.setuid(self._uid)
        self.changes = False
        if os.getresuid() != (self._uid,) * 3 or os.getresgid() != (self._gid,) * 3:
            raise RuntimeError("root was not given up")  # by no kernel that is known


def user_of(name: str) -> pwd.struct_passwd:
    """Return what the system knows of the user that a relay of root is to become.

    Raises:
        SettingsError: there is none, or it is root.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise SettingsError(f"server.user: there is no user {name}") from None
    if entry.pw_uid == _ROOT:
        raise SettingsError(f"server.user: {name} is root")
    return entry
