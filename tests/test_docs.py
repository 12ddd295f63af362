"""The documents say what is so: numbers that are cited exist, and examples are what they claim."""

import ast
import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from relay.errors import Refusal
from relay.protocol import closecodes, frames, queueframe
from relay.protocol.codec import Codec
from relay.protocol.sheet import to_json
from relay.protocol.stanza import Action, Send
from relay.settings.tables import Settings

from .documents import (
    ROOT,
    SOURCES,
    Block,
    amount,
    blocks_in,
    read,
    rows_of,
    texts_of,
    without_blocks,
)

PROTOCOL: Final = read("docs/protocol.md")
ARCHITECTURE: Final = read("ARCHITECTURE.md")

# --- citations --------------------------------------------------------------------------------

_NAMED: Final = re.compile(r"\b([REI]\d{1,2})\b")
_PART_OF_R19: Final = re.compile(r"\bR19 ([ab])\b(?: and ([ab])\b)?")
_RFC: Final = re.compile(r"\bRFC \d+,? (?:section )?\d+(?:\.\d+)*")
_RULE: Final = re.compile(r"(?<![\d.])(\d\.\d),? rule (\d)\b")
_THREE_NUMBERS: Final = re.compile(r"(?<![\d.])([1-5]\.\d\.\d{1,2})(?!\.?\d)")
# Two numbers may be any decimal, so they must stand where a citation does. The lookahead lets a
# citation be what the next one follows.
_TWO_NUMBERS: Final = re.compile(
    r"(?=(?:PROTOCOL |\(|^[-# ]*|\b[REI]\d{1,2}, |\b2\.\d(?:\.\d)?(?:,| and) )(2\.\d)(?!\.?\d))"
)
_SECTION: Final = re.compile(r"\bsection (\d)\b")
_TEST_NAME: Final = re.compile(
    r"\bdef test_(?:([rei])0?(\d{1,2})([ab])?|(\d)_(\d)(?:_(\d))?)_", re.ASCII
)


class Citation(NamedTuple):
    number: str
    place: str


def numbers_in(text: str) -> set[str]:
    """Return the numbers of the protocol that a comment or docstring cites."""
    text = _RFC.sub("", " ".join(text.split()))
    found = {match[1] for match in _NAMED.finditer(text)}
    for match in _PART_OF_R19.finditer(text):
        found |= {f"R19 {part}" for part in match.groups() if part}
    found |= {f"{match[1]}.{match[2]}" for match in _RULE.finditer(text)}
    for pattern in (_THREE_NUMBERS, _TWO_NUMBERS, _SECTION):
        found |= {match[1] for match in pattern.finditer(text)}
    return found


def numbers_in_names(source: str) -> set[str]:
    """Return the numbers that tests are named after."""
    found = set()
    for kind, number, part, *section in _TEST_NAME.findall(source):
        if kind:
            found.add(f"{kind.upper()}{number}" + (f" {part}" if part else ""))
        else:
            found.add(".".join(filter(None, section)))
    return found


def citations_of(path: Path) -> list[Citation]:
    name = str(path.relative_to(ROOT))
    cited = [
        Citation(number, f"{name}:{line}")
        for line, text in texts_of(path)
        for number in sorted(numbers_in(text))
    ]
    return cited + [Citation(number, name) for number in sorted(numbers_in_names(path.read_text()))]


def all_citations() -> list[Citation]:
    return [
        citation
        for path in SOURCES
        if path.suffix in (".py", ".toml", ".service") and path != Path(__file__)
        for citation in citations_of(path)
    ]


_ANCHOR: Final = re.compile(
    r"^(?:#+ (E\d+|\d(?:\.\d)?) |- \*\*([RI]\d+|\d\.\d\.\d+)\*\* )(.*?)(?=\n\n|\n- |\n#|\Z)",
    re.MULTILINE | re.DOTALL,
)


def anchors_in(document: str) -> list[str]:
    """Return the numbers that a document defines; a part such as (a) is `R19 a`."""
    found = []
    for heading, item, text in _ANCHOR.findall(without_blocks(document)):
        found.append(heading or item)
        found += [f"{heading or item} {part}" for part in re.findall(r"(?<=\()([a-z])\)", text)]
    return found


def uncovered(citations: list[Citation], protocol: str, architecture: str) -> list[Citation]:
    """Return the citations of what is in neither document; invariants are in `architecture`."""
    known = {*anchors_in(protocol), *anchors_in(architecture)}
    return [citation for citation in citations if citation.number not in known]


@pytest.mark.slow
@pytest.mark.timeout(300)  # it reads the whole tree, beside others
def test_every_number_that_is_cited_is_in_the_documents() -> None:
    assert uncovered(all_citations(), PROTOCOL, ARCHITECTURE) == []


@pytest.mark.slow
@pytest.mark.timeout(300)  # it reads the whole tree, beside others
def test_citations_of_every_kind_are_found_in_the_sources() -> None:
    numbers = [citation.number for citation in all_citations()]

    assert len(numbers) > 200
    assert {f"R{number}" for number in range(1, 34)} <= set(numbers)
    assert {"R19 a", "R19 b", "E13", "I7", "5", "2", "2.1", "2.7", "2.8"} <= set(numbers)
    assert {"2.2.3", "2.2.8", "2.3.2", "2.4.5", "2.5.4"} <= set(numbers)


def test_the_protocol_defines_each_number_once() -> None:
    anchors = [anchor for anchor in anchors_in(PROTOCOL) if " " not in anchor]

    assert len(anchors) == len(set(anchors))
    assert {f"R{number}" for number in range(1, 34)} <= set(anchors)
    assert {f"E{number}" for number in range(1, 18)} <= set(anchors)
    assert {*"12345", *(f"2.{number}" for number in range(1, 9))} <= set(anchors)
    rules = {"2.2": 8, "2.3": 6, "2.4": 6, "2.5": 4}
    assert {f"{section}.{n}" for section, most in rules.items() for n in range(1, most + 1)} <= {
        *anchors
    }


def test_the_architecture_defines_each_invariant_once_and_nothing_else() -> None:
    assert anchors_in(ARCHITECTURE) == [f"I{number}" for number in range(1, 10)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Sheet notation (PROTOCOL R1), parsed.", {"R1"}),
        ("packed (PROTOCOL R3 to R5, 2.2 rule 3).", {"R3", "R5", "2.2.3"}),
        ("one order (PROTOCOL 2.5, rule 3), in memory", {"2.5", "2.5.3"}),
        ("grows (PROTOCOL 2.2 rule\n    3): 8 leaves room", {"2.2", "2.2.3"}),
        ("what one client may send (PROTOCOL 2.1 and section 5).", {"2.1", "5"}),
        ("Bad input: PROTOCOL 2.1, 2.8, R28 and section 5.", {"2.1", "2.8", "R28", "5"}),
        ("live frames (2.2.2); acks 1", {"2.2.2"}),
        ("the other members (2.4.1, R17).", {"2.4.1", "R17"}),
        ("R16, 2.6: as MsgInfo", {"R16", "2.6"}),
        ("2.7: an entry that was never sent", {"2.7"}),
        ("2.7 (a): what was sent", {"2.7"}),
        ("------------------- 2.4, 2.6", {"2.4", "2.6"}),
        ("against the ack (R19 a and b).", {"R19", "R19 a", "R19 b"}),
        ("2.5.3, I4: whether", {"2.5.3", "I4"}),
        ("asked to resume (E3)", {"E3"}),
        ("pings before (RFC 6455, 5.5.3). noqa: E402", set()),
        ("some 2.5 ms, 0.25 s, 3.13 on, 127.0.0.1, 1E5", set()),
    ],
)
def test_each_form_of_a_citation_is_read(text: str, numbers: set[str]) -> None:
    assert numbers_in(text) - {"2.2"} == numbers - {"2.2"}


def test_the_names_of_tests_are_citations() -> None:
    source = "def test_r07_x(): ...\ndef test_2_2_8_x(): ...\ndef test_r19a_x(): ...\n"
    source += "    async def test_2_7_x(): ...\ndef test_e2e_x(): ...\ndef test_13_x(): ...\n"

    assert numbers_in_names(source) == {"R7", "2.2.8", "R19 a", "2.7"}


@pytest.mark.parametrize(
    "text",
    ["R34", "E18", "R19 b", "(2.2.9)", "PROTOCOL 2.9", "2.9: x", "2.2 rule 9", "section 6", "I0"],
)
def test_a_number_that_is_nowhere_would_be_found(text: str) -> None:
    document = PROTOCOL.replace("(b)", "b")
    citations = [Citation(number, "here") for number in numbers_in(text)]

    assert uncovered(citations, document, ARCHITECTURE)


# --- examples ---------------------------------------------------------------------------------

# What the sheet leaves to fill in.
LOGIN_VARIABLE: Final = '"remoteJid":remoteJid'
BLOCKS: Final = blocks_in(PROTOCOL)
CLIENT_ROLES: Final = ("client=Auth", "client=Action", "client=Ack")
ROLES: Final = frozenset(
    ("server", "server verbatim", "planned", "element", "file", "client=request", *CLIENT_ROLES)
)


def parsed(block: Block) -> Any:
    """Return the frame of a block as a value, whichever notation it is in."""
    text = block.text.replace(LOGIN_VARIABLE, '"remoteJid": "917069852821@s.whatsapp.com"')
    strict = to_json(text, max_depth=32) if block.language == "sheet" else text
    return json.loads(strict, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def title(block: Block) -> str:
    return f"{block.language} {block.role} {block.text[:24]}"


def parsable() -> list[Block]:
    return [block for block in BLOCKS if block.language != "text"]


@pytest.mark.parametrize("block", parsable(), ids=title)
def test_every_example_of_the_protocol_parses(block: Block) -> None:
    frame = parsed(block)

    assert block.role in ROLES
    if block.role in ("file", "element"):
        assert isinstance(frame, dict)
    else:
        assert isinstance(frame[0], str)


def stanza_of(text: str) -> object:
    text = text.strip().replace(LOGIN_VARIABLE, '"remoteJid":"917069852821@c.us"')
    codec = Codec(Settings().limits)
    return codec.decode(text.encode(), user="917069852821", now_s=1566970629)


def client_blocks() -> list[Block]:
    return [block for block in BLOCKS if block.role in CLIENT_ROLES]


@pytest.mark.parametrize("block", client_blocks(), ids=title)
def test_the_codec_takes_what_a_client_sends_as_what_it_is_said_to_be(block: Block) -> None:
    stanza = stanza_of(block.text)

    assert f"client={type(stanza).__name__}" == block.role
    if isinstance(stanza, Action):
        assert all(isinstance(element, Send) for element in stanza.elements)


def test_there_is_an_example_of_each_thing_that_a_client_sends() -> None:
    sent = [(block.language, block.role) for block in client_blocks()]

    for role, in_sheet in (("Auth", 1), ("Action", 2), ("Ack", 2)):
        assert sent.count(("sheet", f"client={role}")) == in_sheet
        assert ("json", f"client={role}") in sent


ALICE, BOB = "917069852821", "919428284313"
GROUP = "917069852821-1566557065"
DIRECT, TO_GROUP = "3EB0A1ED1B05362823BC", "3EB09ACC2D709AB09850"


def sent_by_the_relay() -> dict[str, bytes]:
    """The frames of the core as the relay makes them, by what they are."""
    waiting = frames.delivered_to_user(
        author=ALICE,
        message_id="3EB09E5B1E31CE48730C",
        message=b'{"conversation": "Test msg"}',
        time_s=1566970464,
        key_extra=b"",
        extra=b"",
    )
    return {
        "q": queueframe.pack([waiting], max_bytes=10_000)[0],
        "empty q": queueframe.pack([], max_bytes=10_000)[0],
        "ack 1": frames.stored_for_user(
            message_id=DIRECT, author=ALICE, recipient=BOB, time_s=1566970629
        ),
        "ack 1 of a group": frames.stored_for_group(
            message_id=TO_GROUP, author=ALICE, group=GROUP, time_s=1566971560
        ),
        "delivery": frames.delivered_to_user(
            author=ALICE,
            message_id=DIRECT,
            message=b'{"conversation": "Test msg"}',
            time_s=1566970629,
            key_extra=b"",
            extra=b"",
        ),
        "delivery in a group": frames.delivered_to_group(
            author=ALICE,
            group=GROUP,
            message_id=TO_GROUP,
            message=b'{"conversation": "Test msg Group"}',
            time_s=1566971560,
            key_extra=b"",
            extra=b"",
        ),
        "receipt": frames.receipt(
            message_id=DIRECT, level=2, author=ALICE, acker=BOB, group="", time_s=1566971275
        ),
        "receipt in a group": frames.receipt(
            message_id=TO_GROUP, level=2, author=ALICE, acker=BOB, group=GROUP, time_s=1566971560
        ),
        "error": frames.refusal(Refusal(404, "unknown group", tag="action", message_id=TO_GROUP)),
        "failure": frames.auth_failure(
            code=429, reason="more than 5 takeovers of this session", retry_after_s=7
        ),
        "replaced": frames.DISCONNECT_REPLACED,
        "shutdown": frames.DISCONNECT_SHUTDOWN,
    }


@pytest.mark.parametrize(("what", "frame"), sent_by_the_relay().items())
def test_what_the_relay_sends_is_among_the_examples(what: str, frame: bytes) -> None:
    examples = [parsed(block) for block in BLOCKS if block.role.startswith("server")]

    assert json.loads(frame) in examples


def test_a_q_is_shown_to_the_byte() -> None:
    [shown] = [block.text.strip() for block in BLOCKS if block.role == "server verbatim"]

    assert shown.encode() == sent_by_the_relay()["q"]


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "default", "setting"), rows_of(PROTOCOL, "Limits"))
def test_a_limit_is_the_default_of_its_setting(what: str, default: str, setting: str) -> None:
    table, key = setting.strip("`").split(".")

    assert amount(default) == getattr(getattr(Settings(), table), key), what


def test_every_setting_that_limits_what_clients_send_is_in_the_table() -> None:
    listed = {setting.strip("`") for _, _, setting in rows_of(PROTOCOL, "Limits")}

    assert {f"limits.{key}" for key in Settings().limits.__struct_fields__} <= listed


SERVING: Final = [
    path
    for path in SOURCES
    if path.suffix == ".py"
    and path.relative_to(ROOT).parts[0] in ("relay", "workers")
    and not re.match(r"relay/(client|chat|loadgen)", str(path.relative_to(ROOT)))
]


def codes_in(source: str) -> set[int]:
    """Return the codes with which a source refuses something."""
    return {
        argument.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and re.search(r"(?i)refus|FrameError|fail", ast.unparse(node.func))
        for argument in (*node.args, *(keyword.value for keyword in node.keywords))
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, int)
        and 400 <= argument.value < 600
    }


def test_the_table_of_errors_has_every_code_that_is_used_and_no_other() -> None:
    used = set().union(*(codes_in(path.read_text()) for path in SERVING))

    assert {int(code) for code, _, _ in rows_of(PROTOCOL, "Errors")} == used


def test_the_table_of_close_codes_has_every_code_that_is_used() -> None:
    listed = {
        int(code) for codes, _, _ in rows_of(PROTOCOL, "Close codes") for code in codes.split(", ")
    }
    used = {code for code in vars(closecodes).values() if isinstance(code, int)}

    assert {1008, 1012, 4409} <= used <= listed
