"""`python -m relay.chat`: the terminal chat (relay.client.chat)."""

from relay.client.chat import command

if __name__ == "__main__":
    command(prog_name="python -m relay.chat")
