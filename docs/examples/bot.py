"""A bot that answers each message once, whatever is killed in between.

python bot.py ws://127.0.0.1:9011/ 919428284313

A message is acked behind its answer, so that none is forgotten. The answer's id is made of the
message's: a bot that was killed between the two gives the same answer under the same id again, and
the relay takes it once (R20). So nothing need be kept on a disk.
"""

import asyncio
import hashlib
import sys

from relay.client import ClientError, Message, RelayClient, SendRefused

ANSWERED_BEFORE = 409  # an earlier life has answered, in other words: its answer counts


def answer_to(message: Message) -> str:
    """Return what the bot says; put your own here."""
    return f"You said: {message.text}"


def id_for(message: Message) -> str:
    """Return the id of the answer to a message, the same in every life of the bot."""
    return "bot-" + hashlib.sha256("\0".join(message.key).encode()).hexdigest()[:32]


async def answer(client: RelayClient, message: Message) -> None:
    """Answer a message; return when the answer is stored."""
    try:
        await client.send(message.chat, answer_to(message), id=id_for(message)).sent
    except SendRefused as refused:
        if refused.code != ANSWERED_BEFORE:
            print(f"{message.sender} has no answer: {refused}", file=sys.stderr)


async def main(url: str, me: str) -> None:
    """Answer until the program is stopped."""
    async with RelayClient(url, me) as client:
        async for message in client.messages():
            if not message.is_group:  # two bots in a group would never stop
                await answer(client, message)
            client.mark_read(message)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except ClientError as error:
        sys.exit(f"the bot has stopped: {error}")
    except KeyboardInterrupt:
        pass
