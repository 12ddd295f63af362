"""`python -m relay.chat`: the terminal chat (relay.client.chat)."""

import sys

from relay.interpreter import check_interpreter

if __name__ == "__main__":
    check_interpreter()
    from relay.client.chat import command
    from relay.invocation import invoke

    sys.exit(invoke(command, sys.argv[1:], name="python -m relay.chat"))
