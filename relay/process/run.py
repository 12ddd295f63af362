"""How every child process begins and ends: from its command line to its exit code."""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from relay import log, signals
from relay.errors import BootError, Fenced, LogDamaged, LogLostData, StoreWriteError
from relay.process import descriptors
from relay.process.channel import child_end
from relay.process.control import LogLost
from relay.process.exitcodes import CANNOT_BOOT, FENCED, LOG_LOST_DATA, WRITE_FAILED
from relay.process.place import Place, read_settings

# The hot path makes many small objects and no cycles: the default of 700 would look for some at
# every batch. After start-up nothing old needs to be looked at again (`settle`).
_GC_THRESHOLD = 20_000

_PR_SET_PDEATHSIG = 1  # prctl(2)


def run(role: str, main: Callable[[Place], None]) -> int:
    """Run `main` as the process of `role` ("front" or "worker") and return its exit code.

    0: stopped in order. 3: cannot boot, or cannot read the range's log. 4: the disk refused a
    write. 5: another owns the range. 6: its log has lost records. All but 0 are said in one log
    line; a bug escapes as its exception.
    """
    parser = argparse.ArgumentParser(description="Started by supervisor.py, not by hand.")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--incarnation", type=int, required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--settings-fd", type=int)
    parser.add_argument("--groups-fd", type=int)
    parser.add_argument("--listener-fd", type=int)
    parser.add_argument("--keys-fd", type=int)
    parser.add_argument("--stacks-fd", type=int)
    given = parser.parse_args()
    begin(given.stacks_fd)
    if given.settings_fd is None:
        log.configure("text", "info", process=f"{role}-{given.index}", pid=os.getpid())
        reason = "its supervisor is of 0.2.0 or older, and must be stopped and started anew"
        log.get_logger().error("process.cannot_boot", reason=reason)
        return CANNOT_BOOT
    descriptors.raise_limit()
    settings = read_settings(given.settings_fd)
    log.configure(
        settings.log.format, settings.log.level, process=f"{role}-{given.index}", pid=os.getpid()
    )
    place = Place(
        given.run_dir,
        given.index,
        given.incarnation,
        settings,
        child_end(given.control_fd),
        given.groups_fd,
        given.listener_fd,
        given.keys_fd,
    )
    try:
        descriptors.require_own(settings)
        main(place)
    except BootError as error:
        log.get_logger().error("process.cannot_boot", reason=str(error))
        return CANNOT_BOOT
    except LogDamaged as error:
        log.get_logger().error("range.log_unreadable", reason=str(error))
        return CANNOT_BOOT
    except StoreWriteError as error:
        log.get_logger().error("store.write_failed", reason=str(error))
        return WRITE_FAILED
    except Fenced as error:
        log.get_logger().warning("range.lost", reason=str(error))
        return FENCED
    except LogLostData as error:
        place.control.send(LogLost())
        log.get_logger().error("range.log_lost_data", reason=str(error))
        return LOG_LOST_DATA
    finally:
        sys.stderr.flush()
    return 0


def begin(stacks: int | None = None) -> None:
    """Do what every process of the supervisor's does first.

    It leaves its stacks in the file `stacks` if it crashes or hangs; the supervisor logs them.
    """
    os.umask(0o077)
    # A terminal's, or an operator's to the whole relay: the supervisor gets them too, and says what
    # follows. They have been held from the first instruction on.
    signals.ignore()
    faulthandler.enable(2 if stacks is None else stacks)  # one that hangs gets SIGABRT
    # One that was stopped goes on when the supervisor is gone, sees that, and ends: it would hold
    # the port and the store for ever.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def settle() -> None:
    """Tune the garbage collector, when everything long-lived is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)
