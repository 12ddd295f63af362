"""What workers say, handed to the sessions that it is for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import assert_never

from relay import clock
from relay.bus.envelopes import (
    Deliver,
    DeliverReceipts,
    DeliverToMany,
    EndSession,
    Page,
    Refused,
    SessionOpened,
    SessionRefused,
    Stored,
    Tell,
)
from relay.front.desk import Extensions
from relay.front.hub import Endpoint, Hub
from relay.front.links import DeliverToSome, FromWorker, WorkDone, WorkerLink

_Told = WorkDone | Page | Refused | SessionOpened | SessionRefused | EndSession | Tell


class Dispatch:
    """The receiving end of a front's links. Envelopes of sessions that are gone mean nothing."""

    def __init__(self, hub: Hub, extensions: Extensions) -> None:
        self._hub = hub
        self._extensions = extensions
        self.direct_messages = 0  # 1-1 messages that were for clients
        self.group_messages = 0  # the same of groups
        self.receipts = 0
        self.acks = 0  # ack 1, of what was stored

    def announce(self, link: WorkerLink) -> None:
        """Tell a new incarnation of a worker which sessions it serves."""
        for client in self._hub.clients.values():
            login = client.session.login
            if login.has_worker and self._hub.links.link_of(login.slot) is link:
                client.session.announce()
                client.take()

    def receive(self, items: Iterator[FromWorker], ends_s: float) -> bool:
        """Hand out envelopes until `time.perf_counter()` is past `ends_s`, but at least one.

        Return whether none is left.
        """
        clients = self._hub.clients
        clock_s = time.perf_counter
        for item in items:
            if type(item) is Deliver:
                client = clients.get(item.session)
                if client is not None:
                    if not item.receipt_for:
                        self.direct_messages += 1
                    else:
                        self.receipts += 1
                    client.deliver(item.seq, item.receipt_for, item.frame)
            elif type(item) is Stored:
                self.acks += 1
                client = clients.get(item.request >> 32)
                if client is not None:
                    try:
                        client.session.stored(item.request, item.time_s)
                        client.take()
                    except Exception:
                        client.fail()  # frames of its client may have waited for this
            elif type(item) is DeliverReceipts:
                self.receipts += len(item.frames)
                client = clients.get(item.session)
                if client is not None:
                    client.deliver_receipts(item.seq, item.receipt_for, item.frames)
            elif type(item) is DeliverToMany:
                self.group_messages += len(item.sessions)
                for number in item.sessions:
                    client = clients.get(number)
                    if client is not None:
                        client.deliver(item.seq, "", item.frame)
            elif type(item) is DeliverToSome:
                self.group_messages += len(item.sessions)
                for number in item.sessions:
                    client = clients.get(number)
                    if client is not None:
                        client.deliver_spread(item.seq, item.frame)
            else:
                self._tell(item)
            if clock_s() >= ends_s:
                return False
        return True

    def _tell(self, item: _Told) -> None:
        number = item.request >> 32 if isinstance(item, Refused) else item.session
        client = self._hub.clients.get(number)
        if client is None:
            return
        try:
            self._tell_client(client, item)
            client.take()
        except Exception:
            client.fail()  # frames of its client may have been held until now

    def _tell_client(self, client: Endpoint, item: _Told) -> None:
        session = client.session
        match item:
            case WorkDone():
                session.work_done(item.units, now_ms=clock.now_ms())
            case Page():
                session.page(item, now_ms=clock.now_ms())
            case Refused():
                session.send_refused(item.request, item.code, item.reason)
            case SessionOpened():
                session.opened(now_ms=clock.now_ms())
            case SessionRefused():
                session.refused(item.code, item.reason, item.retry_after_s, now_ms=clock.now_ms())
            case EndSession():
                session.ended_elsewhere()
            case Tell(extension=""):
                session.deliveries.answer(item.body)
            case Tell():
                self._extensions.told(item.extension, item.session, item.body)
            case _:
                assert_never(item)
