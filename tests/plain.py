"""Envelopes made of plain numbers, as tests write them: mypy need not be told each time of what."""

from relay.bus import envelopes
from relay.bus.envelopes import RequestNumber, Seq


def open_session(
    session: int, user: str, phase: int, cursor: int, asked_ms: int = 0
) -> envelopes.OpenSession:
    return envelopes.OpenSession(session, user, phase, Seq(cursor), asked_ms)


def ready(session: int, cursor: int, pages: int) -> envelopes.Ready:
    return envelopes.Ready(session, Seq(cursor), pages)


def pause(session: int, cursor: int) -> envelopes.Pause:
    return envelopes.Pause(session, Seq(cursor))


def confirmed(session: int, seq: int) -> envelopes.Confirmed:
    return envelopes.Confirmed(session, Seq(seq))


def entry(seq: int, receipt_for: str, frame: bytes) -> envelopes.Entry:
    return envelopes.Entry(Seq(seq), receipt_for, frame)


def deliver(session: int, seq: int, receipt_for: str, frame: bytes) -> envelopes.Deliver:
    return envelopes.Deliver(session, Seq(seq), receipt_for, frame)


def deliver_to_many(sessions: list[int], seq: int, frame: bytes) -> envelopes.DeliverToMany:
    return envelopes.DeliverToMany(sessions, Seq(seq), frame)


def stored(request: int, time_s: int) -> envelopes.Stored:
    return envelopes.Stored(RequestNumber(request), time_s)


def refused(request: int, code: int, reason: str) -> envelopes.Refused:
    return envelopes.Refused(RequestNumber(request), code, reason)


def durable(seq: int, content: envelopes.Content) -> envelopes.Durable:
    return envelopes.Durable(Seq(seq), content)


def applied(seq: int) -> envelopes.Applied:
    return envelopes.Applied(Seq(seq))
