"""What users of the JavaScript client have told, as evidence for the load generator's verifier.

The verifier judges frames. Here it is given what the client made of them, put back into frames: so
it judges relay and client together, as an application sees them. It lets a relay repeat itself at a
new login; the client must not, so a repeat is a fault here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from relay.loadgen.verify import tally
from relay.loadgen.verify.clientframes import AckBody, Delivered, Key, Refusal
from relay.loadgen.verify.faults import DUPLICATED, WRONG, Faults
from relay.loadgen.verify.ledger import Ledger
from relay.loadgen.verify.streams import Stream

STORED: Final = 1
PHASES: Final = ("calm", "last")  # what the driver says of itself, once it has done that
_RUN: Final = "c4a05e"
_END_OF_STREAM: Final = 12  # digits of an id


class Record:
    """All that the users of a run have told, in the order in which they did.

    `chats` says whom each user writes to: a user, or one of `groups`, by its jid.
    """

    def __init__(
        self, chats: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]
    ) -> None:
        self._tally = tally.Tally()
        self._ledger = Ledger(_RUN, self._tally)
        self._streams: dict[str, Stream] = {}
        self.told: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()
        self.ended: list[str] = []
        self.prefixes: dict[tuple[str, str], str] = {}
        for user, theirs in chats.items():
            for chat in theirs:
                if chat in groups:
                    bare = chat.removesuffix("@g.us")
                    stream = self._ledger.open_group(user, bare, tuple(groups[chat]))
                else:
                    stream = self._ledger.open_chat(user, chat)
                self._streams[stream.prefix] = stream
                self.prefixes[user, chat] = stream.prefix

    @property
    def counts(self) -> tally.Counts:
        """Counts of the whole run."""
        return self._tally.counts

    @property
    def unfinished(self) -> int:
        """Messages that lack ack 1 or a receipt."""
        return self._ledger.unfinished

    def take(self, line: bytes, now_ns: int) -> None:
        """Enter one line of the driver."""
        kind, user, *more = json.loads(line)
        self.told[kind] += 1
        if kind in PHASES:
            return
        body: dict[str, Any] = more[0] if more else {}
        party = self._ledger.party(user)
        match kind:
            case "connected":
                self._ledger.login_begins(user, now_ns)
            case "send":
                self._send(body, now_ns)
            case "sent":
                stream = self._streams[body["id"][:_END_OF_STREAM]]
                to, author = _address(body["chat"]), user if stream.group else f"{user}@c.us"
                ack = AckBody(body["id"], STORED, "ack", to, body["t"], author)
                self._ledger.stored(party, ack, now_ns)
            case "receipt":
                by = f"{body['by']}@c.us" if body["chat"].endswith("@g.us") else ""
                to = _address(body["chat"])
                whole = (body["id"], body["level"], "ack", to, body["t"], f"{user}@c.us", by)
                self._ledger.receipt(party, AckBody(*whole), now_ns)
            case "message":
                self._ledger.delivered(party, _element(body), now_ns)
            case "failed":
                self._ledger.refused(
                    party, Refusal(body["code"], body["reason"], "action", body["id"])
                )
            case "disconnected":
                self.closes[str(body["code"])] += 1
            case "trouble" | "end":
                self.ended.append(f"{user}: {kind}: {body['reason']}")

    def _send(self, body: dict[str, Any], now_ns: int) -> None:
        stream = self._streams[body["id"][:_END_OF_STREAM]]
        message = msgspec.json.encode({"conversation": body["text"]})
        sent = self._ledger.send(
            stream,
            lambda *_: message,
            time_s=body["t"],
            intended_ns=now_ns,
            is_measured=True,
        )
        assert sent.id == body["id"]

    def faults(self) -> Faults:
        """Return what was wrong, now that nothing more will come."""
        found = self._ledger.close()
        counts = self.counts
        if counts.redelivered:
            found.add(DUPLICATED, "messages that were told before", counts.redelivered)
        if counts.repeated:
            found.add(DUPLICATED, "acks and receipts that were told before", counts.repeated)
        if counts.foreign:
            found.add(WRONG, "messages that nobody here has sent", counts.foreign)
        for each in self.ended:
            found.add(WRONG, each)
        return found


def _address(chat: str) -> str:
    return chat if chat.endswith("@g.us") else f"{chat}@c.us"


def _element(body: dict[str, Any]) -> Delivered:
    chat = body["chat"]
    is_group = chat.endswith("@g.us")
    return Delivered(
        Key(body["id"], chat if is_group else f"{chat}@s.whatsapp.com", False),
        msgspec.Raw(msgspec.json.encode(body["body"])),
        str(body["t"]),
        f"{body['sender']}@s.whatsapp.net" if is_group else "",
    )
