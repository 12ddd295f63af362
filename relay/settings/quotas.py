"""What one author may do, whatever connections it uses: [quota]."""

from typing import Annotated

from msgspec import Meta

from relay.settings.rows import Flag, Row, Table
from relay.settings.sizes import MIB, TIB


class QuotaSettings(Table, frozen=True):
    """[quota]: bounds that no person meets, so that one author cannot fill the disk."""

    # What 50/s come to: 1 GB of known ids a day, and 3 MiB/s of the largest messages.
    messages_per_s: Annotated[
        float,
        Meta(ge=0, le=1_000_000),
        Row(
            "Messages a second of one author, then 429. 0.0: no limit. Each costs room for as long"
            " as its id is known. 50: a bot that writes to a customer every 20 ms, day and"
            " night.",
            flag=Flag("data", "--messages-per-s", "N", "messages of one author; 0: any number"),
            readme="messages a second of one author",
            default_words="50",
        ),
    ] = 50.0
    messages_burst: Annotated[
        int,
        Meta(ge=1, le=100_000_000),
        Row(
            "Messages that an author may send at once before messages_per_s holds it back; an"
            " action that has more is taken when none of them are used. {default}: one to each of a"
            " company's customers, or all that it could not send while it was cut off."
        ),
    ] = 10_000
    waiting_messages: Annotated[
        int,
        Meta(ge=0, le=1_000_000_000),
        Row(
            "Messages of one author to users that have not acked them, at each worker; then 507."
            " 0: no limit. {default}: a bot that writes to 20,000 customers a day, of whom a third"
            " never come back."
        ),
    ] = 200_000
    waiting_bytes: Annotated[
        int,
        Meta(ge=0, le=TIB),
        Row(
            "Bytes of those messages, at each worker; the same happens. 0: no limit. {default}:"
            " as many as that of some 300 bytes each.",
            unit="bytes",
        ),
    ] = 64 * MIB
