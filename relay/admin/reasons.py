"""Why a user gets no messages, in words: what a look at him comes to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from relay.inquiries.people import MailboxSeen
from relay.protocol.jid import user_com
from relay.settings.tables import MailboxSettings
from relay.words import age, size


class Denial(Protocol):
    """A ban, or a revocation of tokens, as far as it is told."""

    @property
    def since_ms(self) -> int:
        """Of 1970."""

    @property
    def by(self) -> str:
        """Who did it."""

    @property
    def reason(self) -> str:
        """For operators; empty where none was given."""


# So long an ack may be under way.
PATIENCE_MS = 10_000


def reasons(
    box: MailboxSeen,
    ban: Denial | None,
    limits: MailboxSettings,
    *,
    revocation: Denial | None = None,
    since_ms: int,
    now_ms: int,
) -> list[str]:
    """Return what keeps messages from him, or that nothing does; the gravest first.

    He is connected since `since_ms`; 0: he is not, or nobody knows.
    """
    said = [] if ban is None else [_of_ban(ban, now_ms)]
    if revocation is not None and not box.state:
        said.append(_of_revocation(revocation, now_ms))
    is_full = (box.messages or 0) >= limits.max_entries or (box.size or 0) >= limits.max_bytes
    if is_full:
        said.append(
            f"the mailbox is full, with {box.messages} messages, {size(box.size)}: senders are"
            " refused (507), unless something that its client is known to have makes room"
        )
    is_banned = ban is not None
    said.append(_of_connection(box, is_banned=is_banned, since_ms=since_ms, now_ms=now_ms))
    if not is_full:
        said += _of_shares(box, limits)
    return said


def _of_ban(ban: Denial, now_ms: int) -> str:
    return f"thrown out {_whence(ban, now_ms)}: logins are refused until `relay unban`"


def _of_revocation(revocation: Denial, now_ms: int) -> str:
    return (
        f"its tokens were revoked {_whence(revocation, now_ms)}: it needs one that was issued"
        " since, or `relay tokens restore --user`"
    )


def _whence(denial: Denial, now_ms: int) -> str:
    why = f", {denial.reason}" if denial.reason else ""
    return f"{age(max(0, now_ms - denial.since_ms) / 1000)} ago by {denial.by}{why}"


def _of_connection(box: MailboxSeen, *, is_banned: bool, since_ms: int, now_ms: int) -> str:
    waited_ms = now_ms - box.oldest_message_ms if box.oldest_message_ms else 0
    waited = age(waited_ms / 1000)
    if box.messages and not waited_ms:
        where = "connected" if box.state else "not connected"
        return f"{where}: {box.messages} messages wait, behind so many receipts that none was seen"
    match box.state:
        case "" if waited_ms:
            return (
                f"not connected: so it was, or its client did not ack, for {waited}, which is how"
                " long the oldest message waits; it is sent when it logs in"
            )
        case "" if is_banned:
            return "not connected, and no message waits"
        case "":
            return (
                "not connected, and no message waits: it is away and has had all, or nobody has"
                " this name. Is it spelled right? Are its logins refused? The log tells"
            )
        case "PAUSED":
            return "connected, but its client does not read: it is sent no more until it does"
        case "STARVED":
            return "connected, but its front is busy and takes no more for it: see `relay top`"
        case "READING":
            return "connected, and being sent what waited"
        case _ if waited_ms and now_ms - max(since_ms, box.oldest_message_ms) <= PATIENCE_MS:
            return "connected, and was sent what waited just now"
        case _ if waited_ms:
            return (
                f"connected, but its client does not ack: a message that it was sent waits for"
                f" {waited}. It does not read, or sends no acks"
            )
        case _:
            return (
                "connected, and has acked what it was sent: of what is missing"
                " `relay message ID` knows more, or its sender was refused"
            )


def _of_shares(box: MailboxSeen, limits: MailboxSettings) -> Iterator[str]:
    messages = max(1, int(limits.max_entries * limits.author_share))
    held = max(1, int(limits.max_bytes * limits.author_share))
    for each in box.authors:
        if each.messages >= messages or each.size >= held:
            yield (
                f"{user_com(each.author)} has filled its share of the mailbox, with"
                f" {each.messages} messages, {size(each.size)}: it alone is refused (507)"
            )
