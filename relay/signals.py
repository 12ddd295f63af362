"""The signals that must not end a process just because it has begun, or is a child.

Python needs a moment until anything handles a signal, and the default is death. So they are held
from the first instruction on, and come when whoever handles them is there.

Like `relay.interpreter`, and for its reason: standard library only, in old syntax.
"""

import signal

HELD = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def hold() -> None:
    """Keep all of them for later; a program that is executed inherits that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def release() -> None:
    """Take what has been held, and hold no more."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def ignore() -> None:
    """Overlook all of them, those that were held too."""
    for number in HELD:
        signal.signal(number, signal.SIG_IGN)
    release()
