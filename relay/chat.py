"""`python -m relay.chat`: the terminal chat (relay.client.chat)."""

import sys

from relay.client.chat import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
