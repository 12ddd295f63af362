"""A worker that breaks a promise, if it is one of a worker's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from relay.bus.envelopes import Content, Durable, GroupCopy, SendToGroup, SendToUser, Seq, ToWorker
from relay.process.place import Place
from relay.process.run import run
from workers.entry import main as serve
from workers.loop import Worker
from workers.shard.effects import Effects, Identity
from workers.shard.groups import Copies
from workers.shard.outbox import Outbox
from workers.shard.shard import Shard
from workers.shard.turn import Turn
from workers.store.batch import Batch
from workers.store.keys import message_key

from . import Patch, owner, serve_sabotaged

# What a disk with moving heads takes for a commit. On a fast one few kills would strike between the
# effects and their commit.
COMMIT_S = 0.02


def early_ack(patch: Patch) -> None:
    """Send the effects of a batch first and commit it then."""
    run_in_order = Worker.run

    def run_early(worker: Worker) -> None:
        end = worker._shard.end

        def end_and_send() -> Effects:
            worker._send(end())
            time.sleep(COMMIT_S)
            return Effects()

        patch(worker._shard, "end", end_and_send)
        run_in_order(worker)

    patch(Worker, "run", run_early)


def no_dedupe(patch: Patch) -> None:
    """Take every send and every copy of a group message for a new one."""
    handle, apply_copy = Shard.handle, Copies.apply

    def handle_as_new(shard: Shard, origin: Identity, envelope: ToWorker) -> None:
        match envelope:
            case SendToUser():
                _forget(shard.turn, envelope.message_id, envelope.author, envelope.chat, "")
            case SendToGroup():
                _forget(shard.turn, envelope.message_id, envelope.author, "", envelope.chat)
        handle(shard, origin, envelope)

    def apply_as_new(copies: Copies, copy: GroupCopy) -> None:
        for member in copy.members:
            _forget(copies._turn, copy.message_id, copy.author, member, copy.group)
        apply_copy(copies, copy)

    patch(Shard, "handle", handle_as_new)
    patch(Copies, "apply", apply_as_new)


def _forget(turn: Turn, message_id: str, author: str, recipient: str, group: str) -> None:
    turn.batch._messages.pop(message_key(message_id, author, recipient, group))


def no_outbox(patch: Patch) -> None:
    """Send what is for a peer, if it is there, and keep nothing of it."""
    put = Outbox.put

    def put_and_forget(
        outbox: Outbox,
        batch: Batch,
        seq: Seq,
        content: Content,
        send: Callable[[Durable], None],
    ) -> None:
        put(outbox, batch, seq, content, send)
        batch.delete_outgoing(outbox._key, seq)

    patch(Outbox, "put", put_and_forget)


SABOTAGES = {"early-ack": early_ack, "no-dedupe": no_dedupe, "no-outbox": no_outbox}


def main(place: Place) -> None:
    """Serve as a worker does, but for the sabotage."""
    several = owner.SABOTAGES if place.settings.cluster.is_on else {}
    serve_sabotaged(place, serve, {**SABOTAGES, **several})


if __name__ == "__main__":
    sys.exit(run("worker", main))
