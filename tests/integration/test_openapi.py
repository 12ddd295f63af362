"""The admin's API is asked all that its document allows, and what it does not.

What is asked is made by schemathesis from the document, the same in each run. So an endpoint that
is new is asked as well; one that acts needs a row in KNOWN with what it does something to.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, CAROL, GROUP, queued_in
from tests.outside.operator import Answer, Operator
from tests.outside.ports import free_port
from tests.outside.receiver import SECRET, Receiver
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .test_tokens import auth, token_of
from .test_tokens import config as of_tokens

pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(180)]

ALL, READS = "a" * 40, "r" * 40
# Of each endpoint: of what is as the document says, and of what is not.
EXAMPLES: Final = 5
# Of the settings of the relay: in no answer, and in no line of the log.
SECRETS: Final = (ALL, READS, SECRET.removeprefix("whsec_"), "key=hidden")
JSON: Final = "application/json"
MADE: Final = "1-2@g.us"
CONTENT: Final = {"subject": "made", "participants": [ALICE + "@c.us", BOB + "@c.us"]}


class Known(NamedTuple):
    """What an endpoint has an answer for, other than a problem."""

    path: Mapping[str, Any] = {}
    query: Mapping[str, Any] = {}
    body: Any = None


# By the endpoint. Whatever is not here takes no body, and as parameters what PATH has.
KNOWN: Final = {
    "GET /api/v1/groups/{jid}": Known({"jid": GROUP}),
    "PUT /api/v1/groups/{jid}": Known({"jid": MADE}, body=CONTENT),
    "DELETE /api/v1/groups/{jid}": Known({"jid": MADE}),
    "PUT /api/v1/groups-file": Known(body={MADE: CONTENT}),
    "POST /api/v1/purge": Known(body={"user": BOB, "dry_run": False}),
    "POST /api/v1/backups": Known(body={"name": "monday"}),
    "POST /api/v1/check": Known(body={}),
    "PUT /api/v1/users/{jid}/ban": Known({"jid": CAROL}, body={"reason": "spam"}),
    "DELETE /api/v1/users/{jid}/ban": Known({"jid": CAROL}),
    "POST /api/v1/tokens/revoke": Known(body={"user": CAROL}),
    "POST /api/v1/tokens/restore": Known(body={"user": CAROL}),
    "GET /api/v1/message": Known(query={"id": "M0"}),
    "POST /api/v1/messages": Known(
        body={"to": BOB + "@c.us", "message": {"conversation": "x"}, "id": "K1"}
    ),
    "PUT /api/v1/workers": Known(body={"workers": 2}),
    "POST /api/v1/webhooks/dead-letters/retry": Known(body={}),
    "POST /api/v1/webhooks/dead-letters/drop": Known(body={}),
}
PATH: Final = {"jid": BOB, "role": "front", "index": 0}
# Those that ask neither fronts nor workers: of files, of the supervisor, of the kernel.
ASKS_NOBODY: Final = {
    "GET /api/v1/groups",
    "GET /api/v1/groups/{jid}",
    "GET /api/v1/groups-file",
    "GET /api/v1/backups",
    "GET /api/v1/bans",
    "GET /api/v1/tokens/revoked",
    "GET /api/v1/operations/{operation}",
}
# Those that ask the ones alone; of the others each asks both.
ROLES: Final = {
    "GET /api/v1/senders": ("front",),
    "GET /api/v1/users": ("front",),
    "GET /api/v1/mailboxes": ("worker",),
    "GET /api/v1/message": ("worker",),
    "GET /api/v1/users/{jid}/queue": ("worker",),
    "GET /api/v1/webhooks": ("worker",),
    "GET /api/v1/webhooks/dead-letters": ("worker",),
}
# Of an answer; an operator's patience, and far more than the deadline of an inquiry.
SOON_S: Final = 1.0
# In this order, behind all others: each is waited for.
LAST: Final = ("POST /api/v1/processes/{role}/{index}/drain", "POST /api/v1/roll")
TOOLS: Final = ("POST /api/v1/purge", "POST /api/v1/backups", "POST /api/v1/check")


# What shows that all is done, by the endpoint that does it.
COMPLETE: Final[Mapping[str, tuple[str, Callable[[Answer], bool]]]] = {
    "PUT /api/v1/groups/{jid}": (f"/api/v1/groups/{MADE}", lambda a: a.json["subject"] == "made"),
    "DELETE /api/v1/groups/{jid}": (f"/api/v1/groups/{MADE}", lambda a: a.status == 404),
    "PUT /api/v1/groups-file": (f"/api/v1/groups/{MADE}", lambda a: a.status == 200),
    "POST /api/v1/purge": (f"/api/v1/users/{BOB}", lambda a: a.json["waiting_messages"] == 0),
    "POST /api/v1/backups": (
        "/api/v1/backups",
        # Beside those whose names were made up.
        lambda a: "monday" in [each["name"] for each in a.json["backups"]],
    ),
    "PUT /api/v1/users/{jid}/ban": ("/api/v1/bans", lambda a: CAROL in a.body.decode()),
    "DELETE /api/v1/users/{jid}/ban": ("/api/v1/bans", lambda a: CAROL not in a.body.decode()),
    "POST /api/v1/tokens/revoke": (
        "/api/v1/tokens/revoked?limit=1000",
        lambda a: CAROL in a.body.decode(),
    ),
    "POST /api/v1/tokens/restore": (
        "/api/v1/tokens/revoked?limit=1000",
        lambda a: CAROL not in a.body.decode(),
    ),
    "POST /api/v1/messages": (
        f"/api/v1/users/{BOB}/queue",
        lambda a: [each["id"] for each in a.json["entries"]] == ["K1"],
    ),
}


class Served(NamedTuple):
    relay: Relay
    url: str
    backups: Path

    @property
    def operator(self) -> Operator:
        return Operator(self.relay)


class RelayOfTokens(Relay):
    """One whose users log in with tokens."""

    def login(self, user: str, *, answer_pings: bool = True) -> SheetClient:
        client = self.connect(answer_pings=answer_pings)
        client.user = user
        client.send(auth(user, token_of(user)))
        client.expect(AUTH_SUCCESS)
        client.queued = queued_in(client.recv())
        return client


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A relay with all that can be asked for: users, groups, what waits, and webhooks."""
    place, port = tmp_path_factory.mktemp("served"), free_port()
    tokens = _private(place / "tokens", f"{ALL} read act texts\n{READS} read\n")
    secret = _private(place / "secret", SECRET)
    (place / "logins").mkdir()
    with Receiver(place / "receiver") as receiver:
        config = f"""
[admin]
port = {port}
token_file = "{tokens}"
backup_directory = "{place / "backups"}"
jid = "operator"
[supervisor]
hung_after_s = 60.0
restart_min_s = 0.02
restart_max_s = 0.05
[webhooks]
url = "{receiver.url}"
secret_file = "{secret}"
events = ["message.queued", "user.online", "user.offline", "group.changed"]
{of_tokens(place / "logins")}
"""
        groups = {GROUP: [ALICE, BOB, CAROL]}
        with RelayOfTokens(admin=True, fronts=2, config=config, groups=groups) as relay:
            author = relay.login(ALICE)
            for n in range(5):
                author.send_message(BOB, f"M{n}")
                author.recv()
            poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
            yield Served(relay, f"http://127.0.0.1:{port}", place / "backups")


def _private(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


class Asked:
    """What was asked of a relay, and what of the answers is not as the document has it."""

    def __init__(self, served: Served, *, all_are_there: bool = True) -> None:
        self._url = served.url
        # Not every string is a jid, and a schema cannot say which: 400 does.
        self._excluded = [positive_data_acceptance]
        if not all_are_there:
            self._excluded.append(not_a_server_error)
        self.wrong: dict[str, str] = {}
        self.answers: Counter[tuple[str, int]] = Counter()

    def took_s(self, case: Any) -> tuple[Any, float]:
        begun_s = time.monotonic()
        return self.ask(case), time.monotonic() - begun_s

    def ask(self, case: Any, token: str = ALL) -> Any:
        label = case.operation.label
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = case.call(base_url=self._url, headers=headers, timeout=15)
        self.answers[label, answer.status_code] += 1
        assert not [secret for secret in SECRETS if secret in answer.text], label
        try:
            case.validate_response(answer, excluded_checks=self._excluded)
        except FailureGroup as found:
            for each in found.exceptions:
                name = f"{label}: {answer.status_code}: {type(each).__name__}"
                self.wrong.setdefault(name, f"{each}\n{case.as_curl_command()}")
        return answer


def test_every_answer_is_one_that_the_document_has(served: Served) -> None:
    operations = _operations(served)
    asked = Asked(served)
    for operation in operations:
        if operation.label not in LAST:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _ask_made_up(operation, mode, asked.ask)
        _ask_what_is_there(served, operation, asked)

    assert not asked.wrong, "\n\n".join(f"{name}\n{text}" for name, text in asked.wrong.items())
    done = {label for label, status in asked.answers if status == 200}
    assert {each.label for each in operations} <= done
    assert served.operator.ask("/api/v1/status").json["not_asked"] == []
    log = served.relay.log.text()
    assert not [secret for secret in SECRETS if secret in log]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[" * (2 << 20), 413), (b"x" * (2 << 20), 413), (b'{"a": ' * 100_000, 400), (b"", 400)],
    ids=["large and deep", "large", "deep", "empty"],
)
def test_no_body_is_too_much_for_it(served: Served, body: bytes, status: int) -> None:
    document = served.operator.ask("/openapi.json").json
    for path, operations in document["paths"].items():
        jid = MADE if "/groups/" in path else BOB
        for method, operation in operations.items():
            if "requestBody" not in operation:
                continue
            answer = httpx.request(
                method.upper(),
                served.url + path.replace("{jid}", jid),
                content=body,
                headers={"Authorization": f"Bearer {ALL}", "Content-Type": JSON},
            )
            assert answer.status_code == status, (method, path)
            assert str(status) in operation["responses"]
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("role", ["worker", "front"])
def test_with_one_stopped_every_endpoint_answers_soon_and_says_so(
    served: Served, role: str
) -> None:
    served.relay.login(ALICE)
    seen = served.operator.ask(f"/api/v1/users/{ALICE}").json
    index = seen["worker"] if role == "worker" else seen["sessions"][0]["front"]
    operations = _operations(served)
    path = {"jid": ALICE, "role": role, "index": index}
    cases = {e.label: _case_of(served, e, path) for e in operations if e.label != LAST[-1]}
    asked = Asked(served, all_are_there=False)
    looks = [case for label, case in cases.items() if label.startswith("GET")]
    calm_s = max(asked.took_s(case)[1] for case in looks)
    (stopped,) = (each for each in served.relay.children(role) if each.index == index)
    begun: list[Any] = []
    stopped.process.suspend()
    try:
        for label, case in cases.items():
            answer, took_s = asked.took_s(case)
            assert took_s < SOON_S + 5 * calm_s, label  # what else this machine does
            if label.startswith("GET"):
                asks = label not in ASKS_NOBODY and role in ROLES.get(label, (role,))
                assert _is_named(answer, role, index) == asks, label
            elif answer.status_code == 200 and answer.json().get("state") == "running":
                begun.append(answer.json())
    finally:
        stopped.process.resume()
    for operation in begun:
        assert _ended(served, operation) == "done", operation
    assert not asked.wrong
    served.relay.drop_clients()


def test_whatever_the_admin_dies_amid_is_complete_once_it_is_asked_again(served: Served) -> None:
    operator = served.operator
    cases = {
        each.label: _case_of(served, each)
        for each in _operations(served)
        if not each.label.startswith("GET") and each.label not in LAST
    }
    for number, (label, case) in enumerate(cases.items()):
        admin = served.relay.child("admin")
        _begin(operator, case)
        time.sleep(0.002 * (number % 6))
        admin.process.kill()
        poll_for("the next admin", partial(_is_another, served, admin))

        answer = _asked_again(operator, case)

        is_complete = "is there already" in answer.body.decode()  # it was, when the admin died
        assert answer.status == 200 or is_complete, (label, answer.body)
        if label in TOOLS and not is_complete:
            assert _ended(served, answer.json) == "done", label
        if label in COMPLETE:
            path, holds = COMPLETE[label]
            assert holds(operator.ask(path)), label
    assert not list(served.backups.glob(".*.partial"))
    check = operator.ask("/api/v1/check", method="POST", body={"backup": "monday"})
    assert _ended(served, check.json) == "done"


def _begin(operator: Operator, case: Any) -> None:
    """Ask, and hear no answer."""
    body = json.dumps(case.body).encode() if case.media_type else b""
    head = f"{case.method} {case.formatted_path} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(operator.socket))
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def _is_another(served: Served, before: Any) -> bool:
    now = [each.process.pid for each in served.relay.children("admin")]
    if not now or now == [before.process.pid]:
        return False
    try:
        return served.operator.ask("/api/v1/status").status == 200
    except OSError:
        return False


def _asked_again(operator: Operator, case: Any) -> Answer:
    body = case.body if case.media_type else None
    return operator.ask(case.formatted_path, method=case.method, body=body)


def _operations(served: Served) -> list[Any]:
    document = served.operator.ask("/openapi.json").json
    found: list[Any] = [*schemathesis.openapi.from_dict(document).get_all_operations()]
    return sorted((each.ok() for each in found), key=_when)


def _when(operation: Any) -> int:
    """Return when to ask: who looks goes before who changes, and so finds what is there."""
    label: str = operation.label
    return 2 + LAST.index(label) if label in LAST else int(not label.startswith("GET"))


def _ask_made_up(operation: Any, mode: GenerationMode, ask: Callable[[Any], Any]) -> None:
    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        ask(case)

    try:
        run()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, operation.label  # it takes nothing


def _ask_what_is_there(served: Served, operation: Any, asked: Asked) -> None:
    label, case = operation.label, _case_of(served, operation)
    assert asked.ask(case, "").status_code == 401, label
    assert asked.ask(case, "x" * 40).status_code == 401, label
    if not label.startswith("GET"):
        assert asked.ask(case, READS).status_code == 403, label
    answer = asked.ask(case)
    if label in TOOLS:  # they go one by one, and one of before may still run
        deadline_s = time.monotonic() + 15
        while answer.status_code == 409 and time.monotonic() < deadline_s:
            time.sleep(0.05)
            answer = asked.ask(case)
    assert answer.status_code == 200, (label, answer.text)
    if label in LAST:
        assert _ended(served, answer.json()) == "done", label


def _is_named(answer: Any, role: str, index: int) -> bool:
    if f'relay_process_up{{index="{index}",role="{role}"}} 0.0' in answer.text:
        return True
    if answer.status_code in (503, 504):
        return f"{role} {index}" in answer.text
    found = answer.json() if answer.text.startswith("{") else {}
    return (role, index) in [(e["role"], e["index"]) for e in found.get("not_asked", ())]


def _case_of(
    served: Served, operation: Any, path: Mapping[str, Any] = MappingProxyType(PATH)
) -> Any:
    """Return what asks for something that is there."""
    label = operation.label
    known = KNOWN.get(label, Known())
    of_path = {name: value for name, value in path.items() if f"{{{name}}}" in label}
    if "{operation}" in label:
        reload = served.operator.ask("/api/v1/reload", method="POST").json
        of_path["operation"] = reload["id"]
    return operation.Case(
        path_parameters={**of_path, **known.path},
        query=dict(known.query),
        **({} if known.body is None else {"body": known.body, "media_type": JSON}),
    )


def _ended(served: Served, operation: Mapping[str, Any]) -> str:
    found = dict(operation)

    def has_ended() -> bool:
        if found["state"] == "running":
            try:
                answer = served.operator.ask(f"/api/v1/operations/{found['id']}")
            except OSError:
                return False  # the admin is being renewed
            if answer.status == 200:
                found.update(answer.json)
        return bool(found["state"] != "running")

    poll_for(f"the end of {found['what']}", has_ended, deadline_s=60)
    return str(found["state"])
