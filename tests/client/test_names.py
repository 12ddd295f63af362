"""Both clients here call the same thing by the same name; only the case of letters differs."""

import inspect
import re
from typing import Final, get_args

import msgspec

import relay.client
from relay.client import ClientError, Event, Limits, RelayClient, Sending
from relay.client.sync import SyncClient

from ..documents import ROOT

TYPES: Final = (ROOT / "relay/web/client/relay-client.d.ts").read_text()
MODULE: Final = (ROOT / "relay/web/client/relay-client.js").read_text()

# What one of the two has alone, and why.
ONLY_JAVASCRIPT: Final = {
    "on": "Python's loop over events() may look at each, and stands where the program is",
    "options": "the constructor's arguments, kept",
    "outbox": "IndexedDB",
    "tabs": "of a browser",
    "websocket": "there is one in Python",
    "forget": "it has nothing on a disk to delete",
}
ONLY_PYTHON: Final = {
    "events": "in place of on()",
    "confirm": "for who is logged in for moments; pages are not",
    "unconfirmed": "for the same",
    "lost": "where no event is looked at, it says why nothing is sent",
    "limits": "an option in both",
    "tls": "a browser has its own",
}


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda letter: f"_{letter[0]}", name).lower()


def members_of(name: str) -> set[str]:
    """Return the public members of a class in the types of the JavaScript client."""
    _, _, behind = TYPES.partition(f"export declare class {name} {{\n")
    body = behind.partition("\n}\n")[0]
    found = re.findall(r"^    (?:get )?(\w+)[?(<:]", body, re.MULTILINE)
    return {snake(each) for each in found} - {"constructor", "private"}


def public(kind: type) -> set[str]:
    fields = re.findall(r"self\.([a-z]\w*): Final", inspect.getsource(kind))
    return {name for name in dir(kind) if not name.startswith("_")} | set(fields)


def test_the_client_has_the_same_methods() -> None:
    theirs = members_of("RelayClient")
    assert {"send", "mark_read", "waiting", "connect", "online"} <= theirs, "they were found"

    assert public(RelayClient) - ONLY_PYTHON.keys() == theirs - ONLY_JAVASCRIPT.keys()


def test_the_client_has_the_same_options() -> None:
    [options] = re.findall(r"export type Options = \{(.*?)^\};", TYPES, re.DOTALL | re.MULTILINE)
    theirs = {snake(each) for each in re.findall(r"^    (\w+)\?:", options, re.MULTILINE)}
    theirs = {"websocket" if each == "web_socket" else each for each in theirs}
    ours = set(inspect.signature(RelayClient).parameters)

    assert ours - {"url", "user"} - {"tls"} == theirs - ONLY_JAVASCRIPT.keys()


def test_a_sending_has_the_same_promises() -> None:
    ours = public(Sending) | {"id"}

    assert ours - {"happened", "end", "is_stored"} == members_of("Sending")


def test_events_have_the_same_names_and_fields() -> None:
    union = re.search(r"@typedef \{(Message \|.*?)\} ProtocolEvent", MODULE, re.DOTALL)
    assert union is not None
    theirs = set(re.findall(r"\b[A-Z]\w+", union[1]))

    assert {each.__name__ for each in get_args(Event)} == theirs
    for kind in get_args(Event):
        found = re.search(
            rf'@typedef \{{\{{type: "{kind.__name__.lower()}"(.*?)\}}\s', MODULE, re.S
        )
        assert found is not None, kind
        fields = {snake(each) for each in re.findall(r"(\w+):", found[1])}
        ours = {field.name for field in msgspec.structs.fields(kind)}
        # In Python these two are properties; `answered` is for the chat.
        assert ours - {"answered"} == fields - {"text", "is_group"}, kind


def test_limits_have_the_same_names_and_values() -> None:
    [table] = re.findall(r"export const LIMITS = Object\.freeze\(\{(.*?)\}\)", MODULE, re.DOTALL)
    theirs = {}
    for name, value in re.findall(r"^  (\w+): ([\d_* .]+),", table, re.MULTILINE):
        theirs[snake(name)] = eval_product(value)
    ours = {field.name: field.default for field in msgspec.structs.fields(Limits)}

    assert len(theirs) == 11
    assert {name: ours.get(name) for name in theirs} == theirs
    assert ours.keys() - theirs.keys() == {"held_notices"}, "events that nobody looks at"


def eval_product(text: str) -> float:
    product = 1.0
    for factor in text.replace("_", "").split("*"):
        product *= float(factor)
    return product


def test_errors_have_the_same_names() -> None:
    found = re.search(r'/\*\* ("LoginRefused".*?) \*/', MODULE)
    assert found is not None
    for name in re.findall(r'"(\w+)"', found[1]):
        assert issubclass(getattr(relay.client, name), ClientError)


def test_functions_have_the_same_names() -> None:
    theirs = {snake(each) for each in re.findall(r"^export function (\w+)", MODULE, re.MULTILINE)}

    assert theirs
    assert theirs <= set(relay.client.__all__)


def test_the_sync_client_has_what_makes_sense_without_a_loop() -> None:
    missing = public(RelayClient) - public(SyncClient)

    # `with` connects, `receive` and `notice` are for events, and a send waits for its fate.
    assert missing == {"connect", "events", "lost", "waiting"}
