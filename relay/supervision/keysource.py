"""The keys of tokens that are published at an address: one process fetches them for all fronts.

So the address is asked once and not by each front, and a front that starts has keys at once. What
was fetched is on the disk too, for a start at which the address does not answer. Nobody but this
asks, and a bad answer changes nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from random import Random

import msgspec

from relay import log
from relay.disk.layout import KEYS_FILE
from relay.process.memo import read_memo, write_memo
from relay.settings.givenfile import Unreadable, read_file
from relay.settings.tables import Settings
from relay.supervision.child import start
from relay.supervision.fetching import MOST_KEPT_BYTES, Kept, Order, Result
from relay.supervision.fetchplan import FetchPlan

logger = log.get_logger()


class KeySource:
    """What is there of them, and the fetch that is under way."""

    def __init__(self, settings: Settings, *, now_s: float) -> None:
        """Know of no keys yet; without auth_token.jwks_url there are none to know of."""
        token = settings.auth_token
        self._url = token.jwks_url if settings.auth.mode == "token" else ""
        self._cache = Path(settings.server.data).absolute() / KEYS_FILE
        self._order = Order(self._url, token.algorithm, str(self._cache))
        self._plan = FetchPlan(
            token.jwks_refresh_s,
            rest_s=token.jwks_rest_s,
            random=Random(),  # noqa: S311  # nothing to guess
            now_s=now_s,
        )
        self._has_begun = False
        self._result = -1  # the memo of the fetch that is under way
        self.process: subprocess.Popen[bytes] | None = None
        self.memo: int | None = None  # of the keys, once there are some

    def begin(self, now_s: float) -> None:
        """Have the keys that were fetched before this start, if there are some, and fetch."""
        self._has_begun = bool(self._url)
        if self._has_begun:
            self._read_cache()
            self.look(now_s)

    def _read_cache(self) -> None:
        try:
            kept = msgspec.json.decode(
                read_file(self._cache, max_bytes=MOST_KEPT_BYTES).content, type=Kept
            )
        except FileNotFoundError:
            return
        except (Unreadable, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("auth.kept_keys_unusable", path=self._cache, reason=str(error))
            return
        if kept.url == self._url:
            self._keep(bytes(kept.keys))

    def take_over(self, memo: int | None) -> None:
        """Go on with the keys of a predecessor."""
        self._has_begun = bool(self._url)
        self.memo = memo

    def wanted(self, now_s: float) -> None:
        """Fetch as soon as may be: a front has seen a key that nobody knows."""
        self._plan.wanted(now_s)
        self.look(now_s)

    def look(self, now_s: float) -> None:
        """Fetch if it is time; to be called about each second."""
        if not self._has_begun or self.process is not None or now_s < self._plan.due_s:
            return
        self._plan.begun(now_s)
        order = -1
        try:
            order = write_memo("order", msgspec.json.encode(self._order))
            self._result = write_memo("fetched", b"")
            self.process = start(
                [
                    *("-m", "relay.supervision.fetcher"),
                    *("--order-fd", str(order)),
                    *("--result-fd", str(self._result)),
                ],
                pass_fds=(order, self._result),
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            self._forget_result()
            self._failed(now_s, f"the process that asks cannot be started: {error.strerror}")
        finally:
            if order >= 0:
                os.close(order)

    def has_ended(self, pid: int, now_s: float) -> bool | None:
        """Take what the process `pid` has fetched; tell whether there are other keys now.

        None: it is none of this.
        """
        if self.process is None or self.process.pid != pid:
            return None
        code, self.process = self.process.wait(), None
        try:
            result = msgspec.json.decode(read_memo(self._result), type=Result)
        except RecursionError:  # whoever has fetched it had a little more of the stack left
            result = Result(reason="its answer is nested too deeply")
        except (msgspec.MsgspecError, ValueError):
            late = code == -signal.SIGALRM
            result = Result(
                reason="it has not answered in time"
                if late
                else f"the process that asks has ended with {code}"
            )
        self._forget_result()
        if not bytes(result.keys):
            self._failed(now_s, result.reason)
            return False
        was_failing = self._plan.is_failing
        self._plan.succeeded(now_s, result.max_age_s)
        if result.unkept:
            logger.warning("auth.keys_not_kept", reason=result.unkept)
        keys = bytes(result.keys)
        has_changed = self.memo is None or read_memo(self.memo) != keys
        if has_changed:
            self._keep(keys)
        if has_changed or was_failing:
            logger.info("auth.keys_fetched", changed=has_changed)
        return has_changed

    def _failed(self, now_s: float, reason: str) -> None:
        if not self._plan.is_failing:  # once, and not at each try
            logger.warning("auth.keys_not_fetched", reason=reason, has_keys=self.memo is not None)
        self._plan.failed(now_s)

    def _forget_result(self) -> None:
        if self._result >= 0:
            os.close(self._result)
            self._result = -1

    def _keep(self, keys: bytes) -> None:
        memo = write_memo("keys", keys)
        if self.memo is not None:
            os.close(self.memo)
        self.memo = memo
