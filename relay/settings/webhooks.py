"""What an endpoint of the operator's is told: [webhooks]."""

from typing import Annotated, Literal

from msgspec import Meta

from relay.settings.rows import Row, Table
from relay.settings.sizes import GIB, KIB, MIB

_FILE = r"^[^\x00\ud800-\udfff]*\Z"

EventName = Literal[
    "message.queued", "user.online", "user.offline", "group.changed", "mailbox.full"
]


class WebhookSettings(Table, frozen=True):
    """[webhooks]: events that are posted to an endpoint, signed as Standard Webhooks has it."""

    url: Annotated[
        str,
        Meta(max_length=4096, description="a URL"),
        Row(
            'Where events are posted, https://, or http:// to a loopback address. "": nowhere, and'
            " none are noted. Needs secret_file, and the admin process.",
            restart=True,
        ),
    ] = ""
    secret_file: Annotated[
        str,
        Meta(pattern=_FILE, description="a path to a file, or empty for none"),
        Row(
            "Secrets that sign what is posted, a line each: whsec_ and base64 of 24 to 64 bytes."
            " Each signs, so that a new one can stand beside the old. It is read again when it"
            " changes, and others than its owner and group must not read it.",
            restart=True,
            content=True,
        ),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(pattern=_FILE, description="a path to a file, or empty for none"),
        Row(
            'Certificates in PEM of those who may have signed the endpoint\'s. "": what the system'
            " trusts.",
            restart=True,
        ),
    ] = ""
    events: Annotated[
        tuple[EventName, ...],
        Meta(
            max_length=5,
            description="a list of message.queued, user.online, user.offline, group.changed and"
            " mailbox.full",
        ),
        Row(
            "Which events are told. These two are what a push service needs. user.online and"
            " user.offline cost each login and each end of a session an entry of the store."
        ),
    ] = ("message.queued", "user.offline")
    texts: Annotated[
        bool,
        Row(
            "Whether message.queued tells what people have written, too. false: who, to whom, which"
            " id and how long."
        ),
    ] = False
    # The specification has one event a request.
    batch: Annotated[
        int,
        Meta(ge=1, le=1000),
        Row(
            "Events of one request at most. {default}: each has its own, as receivers expect. More"
            " of them take less time where the endpoint is far: as a list, each with its id."
        ),
    ] = 1
    parallel: Annotated[
        int,
        Meta(ge=1, le=64),
        Row(
            "Requests under way at a time. {default} at 20 ms each are 200 events a second, with a"
            " batch of 1. One user's events are not under way at the same time."
        ),
    ] = 4
    timeout_s: Annotated[
        float,
        Meta(ge=0.1, le=60),
        Row(
            "Seconds in which a request must be answered, or it has failed. {default}: what the"
            " specification asks for.",
            unit="s",
        ),
    ] = 15.0
    retry_min_s: Annotated[
        float,
        Meta(ge=0.05, le=3600),
        Row(
            "Seconds until a failed request is made again, the first time. It doubles from failure"
            " to failure, less a random part of up to a half.",
            unit="s",
        ),
    ] = 2.0
    retry_max_s: Annotated[
        float,
        Meta(ge=0.05, le=86_400),
        Row(
            "The same at most. What Retry-After asks for may be longer, up to a day. {default}: an"
            " endpoint that is back hears of it within ten minutes.",
            unit="s",
        ),
    ] = 600.0
    # 0.00001 is about a second, for trials.
    give_up_days: Annotated[
        float,
        Meta(ge=0.00001, le=365),
        Row(
            "Days after which an event that still fails becomes a dead letter. {default}: a"
            " weekend without the endpoint.",
            unit="days",
        ),
    ] = 3.0
    max_events: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        Row(
            "Events that wait at each worker, 250 bytes of its memory each. At the limit the oldest"
            " becomes a dead letter. {default}: a bot that writes to each of 20,000 customers, all"
            " away, while the endpoint is."
        ),
    ] = 20_000
    max_event_bytes: Annotated[
        int,
        Meta(ge=256 * KIB, le=16 * GIB),
        Row("Bytes of those events; the same happens. {default}.", unit="bytes"),
    ] = 32 * MIB
    max_dead_letters: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        Row(
            "Dead letters that each worker keeps, of up to max_event_bytes. At the limit the oldest"
            " is dropped and counted."
        ),
    ] = 5_000
    full_again_s: Annotated[
        float,
        Meta(ge=0, le=86_400 * 30),
        Row(
            "Seconds until mailbox.full is told again of the same mailbox. {default}: once an hour,"
            " however many messages it has no room for.",
            unit="s",
        ),
    ] = 3600.0
