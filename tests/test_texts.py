"""The form of all texts, and that what they name is there: files, modules, settings, commands."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from relay.command import PROGRAMS
from relay.compiled import NATIVE
from relay.settings.tables import SETTINGS, Settings

from .documents import ROOT, SOURCES, TEXTS, amount, blocks_in, read, texts_of, without_blocks

MAX_COLUMNS: Final = 99
MAX_WORDS: Final = 30

_CODE: Final = re.compile(r"`[^`]*`")
# Written by relay.settings.explain.
_GENERATED: Final = re.compile(r"<!-- settings:.*?<!-- end of settings -->", re.DOTALL)


def prose_of(name: str) -> str:
    """Return a text without what is not written by hand or is not prose."""
    return _GENERATED.sub("", without_blocks(read(name)))


# --- columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_line_fits_its_columns(name: str) -> None:
    lines = prose_of(name).splitlines()
    if name == "BENCHMARKS.md":  # its tables compare many runs side by side
        lines = [line for line in lines if not line.startswith("|")]

    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_drawing_fits_its_columns(name: str) -> None:
    drawings = [block.text for block in blocks_in(read(name)) if not block.language]
    long = [line for text in drawings for line in text.splitlines() if len(line) > MAX_COLUMNS]

    assert long == []


# --- sentences --------------------------------------------------------------------------------


def sentences_of(text: str) -> Iterator[str]:
    """Yield the sentences of paragraphs and items; tables and headings have none."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        if not paragraph.lstrip().startswith(("|", "#", "<!--")):
            whole = " ".join(_CODE.sub("CODE", paragraph).split())
            yield from re.split(r"(?<=[.!?])[*)]*\s+", whole)


def words_of(sentence: str) -> int:
    return len(re.findall(r"\w[\w'’,./…-]*", sentence))


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "BENCHMARKS.md"])
def test_a_sentence_is_short(name: str) -> None:
    long = [each for each in sentences_of(prose_of(name)) if words_of(each) >= MAX_WORDS]

    assert long == []


def test_a_long_sentence_would_be_found() -> None:
    text = "Short.\n\n- An item. " + "word " * 30 + "end.\n- next `a b c` (d). E"

    assert [words_of(each) for each in sentences_of(text)] == [1, 2, 31, 3, 1]


# --- links ------------------------------------------------------------------------------------


def anchors_of(name: str) -> set[str]:
    """Return the anchors of a text's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(read(name)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(name: str) -> Iterator[str]:
    for path, anchor in re.findall(r"\]\(([^)#:]*)#?([^)]*)\)", read(name)):
        target = (ROOT / name).parent.joinpath(path) if path else ROOT / name
        if not target.exists():
            yield path
        elif anchor and anchor not in anchors_of(str(target.resolve().relative_to(ROOT))):
            yield f"{path}#{anchor}"


@pytest.mark.parametrize("name", TEXTS)
def test_a_link_leads_to_a_file_and_a_heading(name: str) -> None:
    assert list(broken_links(name)) == []


def test_each_page_is_linked_from_where_readers_begin() -> None:
    linked = {
        path
        for name in ("README.md", "ARCHITECTURE.md")
        for path in re.findall(r"\]\(([^)#:]+)", read(name))
    }

    assert {name for name in TEXTS if name != "README.md"} <= linked


# --- what is named ----------------------------------------------------------------------------

# Not behind a slash or a dot: those are paths elsewhere, and attributes.
_PATH: Final = re.compile(r"(?<![\w/.])(?:relay|workers|tests|config|docs)/[\w/.-]*\w")
_MODULE: Final = re.compile(r"(?<![\w/.])(?:relay|workers|tests)(?:\.[A-Za-z_]\w*)+")
_FILES: Final = ("toml", "service", "socket", "py", "json", "sock", "fish")


def is_there(dotted: str) -> bool:
    """Tell whether a dotted name is a package or module, or a name within one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if source.is_file():
            inner = parts[length : length + 1]
            return not inner or re.search(rf"\b{inner[0]}\b", source.read_text()) is not None
    return False


def missing_in(text: str) -> set[str]:
    """Return the paths and modules that a text names and that are not there."""
    named = {path for path in _PATH.findall(text) if not path.startswith(NATIVE)}  # that is built
    missing = {path for path in named if not (ROOT / path).exists()}
    for name in _MODULE.findall(text):
        if name.rpartition(".")[2] not in _FILES and not is_there(name):
            missing.add(name)
    return missing


def spoken(name: str) -> str:
    """Return the prose of a text and the commands that it shows."""
    commands = [block.text for block in blocks_in(read(name)) if block.language == "console"]
    return "\n".join([without_blocks(read(name)), *commands])


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_text_names_is_there(name: str) -> None:
    assert missing_in(spoken(name)) == set()


@pytest.mark.slow
@pytest.mark.timeout(300)  # it reads the whole tree, beside others
def test_what_a_comment_or_docstring_names_is_there() -> None:
    missing = {
        (str(path.relative_to(ROOT)), name)
        for path in SOURCES
        if path != Path(__file__)
        for _, text in texts_of(path)
        for name in missing_in(text)
    }

    assert missing == set()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see `relay/core/codec.py` and relay/protocol", {"relay/core/codec.py"}),
        ("(relay.core.codec), relay.protocol.codec.", {"relay.core.codec"}),
        ("relay.protocol.codec.Codec, relay.protocol.codec.Kodek", {"relay.protocol.codec.Kodek"}),
        ("`tests/workers/` and `tests/walkers/`", {"tests/walkers"}),
        ("/etc/relay/relay.toml, relay.toml, data/gen-3/worker-0/, self.relay.url", set()),
    ],
)
def test_a_name_of_nothing_would_be_found(text: str, missing: set[str]) -> None:
    assert missing_in(text) == missing


def code_in(name: str) -> Iterator[str]:
    for span in _CODE.findall(prose_of(name)):
        yield " ".join(span.strip("`").split())


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_that_is_named_is_one(name: str) -> None:
    tables = {key.partition(".")[0] for key in SETTINGS}
    named = {
        span
        for span in code_in(name)
        if re.fullmatch(r"[a-z]+\.[a-z_]+", span)
        and span.partition(".")[0] in tables
        and span.rpartition(".")[2] not in _FILES
    }
    events = {f"settings.{what}" for what in ("reloaded", "not_applied", "refused")}
    events |= {f"store.{what}" for what in ("refuses_sends", "takes_sends_again", "not_sealed")}
    events |= {"supervisor.few_descriptors"}
    events |= {f"supervisor.{what}" for what in ("starting", "renewed", "rolling", "rolled")}
    events |= {f"supervisor.{what}" for what in ("not_rolled", "roll_given_up", "stuck")}
    events |= {f"auth.{what}" for what in ("keys_read", "keys_unusable")}
    events |= {f"auth.keys_{what}" for what in ("fetched", "not_fetched", "not_kept")}
    events |= {f"auth.service_{what}" for what in ("failing", "answers_again")}
    events |= {
        "auth.bans_unusable",
        "auth.revocations_unusable",
        "supervisor.draining",
        "supervisor.drained",
    }
    events |= {f"auth.deny_list_{what}" for what in ("read", "unusable")}
    events |= {f"admin.{what}" for what in ("started", "exited", "counters", "stopped")}
    events |= {f"admin.{what}" for what in ("port_served", "port_not_served", "failed", "acted")}
    events |= {f"admin.tokens_{what}" for what in ("taken", "refused")}
    events |= {f"tls.{what}" for what in ("failed", "certificates_read", "certificates_unusable")}
    events |= {"log.lines_lost", "tls.certificate_warning", "supervisor.runs_as_root"}
    events |= {f"webhooks.{what}" for what in ("not_taken", "answered_again", "gone", "given_up")}
    events |= {f"webhooks.{what}" for what in ("secrets_taken", "secrets_refused")}
    events |= {"webhooks.unreadable", "webhooks.events_unstored"}
    events |= {"cluster.joining", "log.leader_moved", "supervisor.without_agent"}
    events |= {"store.waits_for_backup"}
    events |= {"mailbox.full"}  # an event of webhooks

    assert named - set(SETTINGS) - events == set()


@pytest.mark.parametrize("name", TEXTS)
def test_a_command_that_is_named_is_there(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    spans = list(code_in(name))
    made = {found[1] for span in spans if (found := re.match(r"make ([a-z-]+)", span))}
    run = {found[1] for span in spans if (found := re.match(r"relay ([a-z][a-z-]*)", span))}

    assert made <= targets
    assert run <= set(PROGRAMS)


# --- limits -----------------------------------------------------------------------------------

_BOUND: Final = re.compile(
    r"\| ((?:off|[\d,.]+)(?: (?:KiB|MiB|GiB|TiB|s|days))?)\b[^|]*, `(\w+)\.(\w+)` \|"
)


@pytest.mark.parametrize(("bound", "table", "key"), _BOUND.findall(read("docs/limits.md")))
def test_a_bound_is_the_default_of_its_setting(bound: str, table: str, key: str) -> None:
    assert amount(bound) == getattr(getattr(Settings(), table), key)


def test_every_limit_of_a_kind_has_a_row() -> None:
    listed = {f"{table}.{key}" for _, table, key in _BOUND.findall(read("docs/limits.md"))}
    bounds = {
        key
        for key in SETTINGS
        if key.startswith(("limits.", "admission.", "quota.", "flow.", "mailbox."))
        and key
        not in {
            "limits.malformed_window_s",
            "limits.frames_burst",
            "admission.exempt",
            "quota.messages_burst",
        }
    }

    assert bounds <= listed
