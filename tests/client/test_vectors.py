"""The vectors that any client can run, on the pure parts of this project's two clients."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from relay.client.events import (
    Disconnected,
    Event,
    Level,
    Message,
)
from relay.client.limits import Limits
from relay.client.login import Ending
from relay.client.moment import Moment
from relay.client.protocol import ClientProtocol
from relay.errors import JidError

from ..documents import ROOT

VECTORS: Final = ROOT / "tests" / "vectors" / "client.json"
MODULE: Final = ROOT / "relay" / "web" / "client" / "relay-client.js"
RUNNER: Final = ROOT / "tests" / "vectors" / "run.mjs"
NODE: Final = shutil.which("node")

_ALL: Final[list[dict[str, Any]]] = json.loads(VECTORS.read_text())["vectors"]


class Runner:
    """One vector, as the Python client plays it."""

    def __init__(self, vector: dict[str, Any]) -> None:
        limits = {_snake(name): value for name, value in vector.get("limits", {}).items()}
        self.protocol = ClientProtocol(vector.get("user", "917069852821"), limits=Limits(**limits))
        self.protocol.login.can_renew = vector.get("canRenew", False)
        if "token" in vector:
            self.protocol.login.show(vector["token"])
        self.now = Moment(vector.get("now", 1_566_970_700), 0.0, vector.get("chance", 0.5))
        self.happened: list[Event] = []

    def step(self, step: dict[str, Any]) -> None:
        up = step.get("up", step.get("open", self.now.up))
        self.now = self.now._replace(up=up, chance=step.get("chance", self.now.chance))
        match step:
            case {"open": _}:
                self.protocol.connection_opened(self.now)
            case {"lost": code}:
                self.happened += self.protocol.connection_lost(Ending(code, ""), self.now)
            case {"token": token}:
                self.protocol.login.show(token)
            case {"in": frame}:
                text = frame if isinstance(frame, str) else json.dumps(frame)
                self.happened += self.protocol.receive(text, self.now)
            case {"send": send}:
                assert self.is_refused(send) == step.get("error", False)
            case {"mark": key, "level": level}:
                message = Message(key["id"], key["chat"], key["sender"], {}, 0)
                self.protocol.acknowledge(message, Level(level), self.now)
            case {"take": ids}:
                assert self.taken() == ids
            case {"out": frames}:
                assert self.written() == frames
            case {"events": events}:
                assert [_shown(event) for event in self.happened] == events
                self.happened.clear()
            case {"state": state}:
                failure = self.protocol.failure
                found = {
                    "online": self.protocol.online,
                    "unacked": self.protocol.unacked,
                    "end": type(failure).__name__ if failure else None,
                }
                assert {name: found[name] for name in state} == state
            case {"up": _}:
                pass
            case _:
                raise AssertionError(f"no such step: {step}")

    def is_refused(self, send: dict[str, Any]) -> bool:
        try:
            self.protocol.submit(send["to"], send["message"], send["id"], self.now)
        except (JidError, ValueError):
            return True
        return False

    def taken(self) -> list[str]:
        ids = []
        while (event := self.protocol.next_event()) is not None:
            if isinstance(event, Message):
                ids.append(event.id)
                self.protocol.acknowledge(event, Level.DELIVERED, self.now)
        return ids

    def written(self) -> list[Any]:
        frames = []
        while (frame := self.protocol.next_frame(self.now)) is not None:
            self.protocol.frame_sent()
            frames.append(json.loads(frame))
        return frames


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _shown(event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": type(event).__name__.lower()}
    match event:
        case Disconnected():
            return shown | {"code": event.code, "retryIn": event.retry_in}
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return shown | {_camel(name): value for name, value in fields.items()}


@pytest.mark.parametrize("vector", _ALL, ids=lambda vector: vector["name"])
def test_the_python_client_does_what_the_vector_says(vector: dict[str, Any]) -> None:
    if "python" not in vector.get("only", ["python"]):
        pytest.skip(vector["because"])
    runner = Runner(vector)
    for step in vector["steps"]:
        runner.step(step)


def run_with_node(module: Path) -> dict[str, str | None]:
    """Return what was wrong with each vector on the client in `module`."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, RUNNER, module],
        input=VECTORS.read_text(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return {each["name"]: each["wrong"] for each in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_javascript_client_does_what_the_vectors_say() -> None:
    results = run_with_node(MODULE)

    assert {name: wrong for name, wrong in results.items() if wrong} == {}
    assert set(results) == {
        each["name"] for each in _ALL if "javascript" in each.get("only", ["javascript"])
    }


# A client with each of these faults fails some vector.
FAULTS: Final = {
    "chance * Math.min(": "1 * Math.min(",
    "if (isAgain) return [];": "",
    "if (full) this.leftBehind = true;": "",
    "this.#holds.set(": "void (",
    'notice?.kind === "replaced"': "false",
    "this.outbox.startAgain();": "",
    "    this.acks.startAgain();": "",
    "if (this.online) this.acks.heard(now.up);": "this.acks.heard(now.up);",
    "if (up - at < SETTLED_S) break;": "break;",
    "level <= (this.receipts.get(key) ?? 0)": "false",
}


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_client_with_a_fault_fails_a_vector(fault: str, tmp_path: Path) -> None:
    text = MODULE.read_text()
    assert text.count(fault) == 1
    faulty = tmp_path / "faulty.mjs"
    faulty.write_text(text.replace(fault, FAULTS[fault]))

    assert any(run_with_node(faulty).values())


FLOOD: Final = """
const { ClientProtocol } = await import(process.argv[1]);
const protocol = new ClientProtocol("917069852821");
const now = { wall: 1, up: 0, chance: 0 };
const receive = (frame) => protocol.receive(JSON.stringify(frame), now);
protocol.connectionOpened(now);
receive(["auth", { status: "success" }]);
const ids = Array.from({ length: 10000 }, (_, number) => `M${number}`);
const write = () => {
  const written = [];
  for (let frame; (frame = protocol.nextFrame(now)) !== null; protocol.frameSent())
    written.push(JSON.parse(frame)[2]?.[0]?.key.id);
  return written.filter(Boolean);
};
const to = process.argv[2] === "one chat" ? () => "919428284313" : (id) => id;
for (const id of ids) protocol.submit(to(id), { conversation: "hi" }, id, now);
write();
const began = process.cpuUsage().user;
for (const id of ids) {
  receive(["error", { code: 429, reason: "too fast", tag: "action", id, retryAfter: 5 }]);
  write();
  protocol.outbox.dueIn(now.up);
}
const took = process.cpuUsage(undefined).user - began;
now.up = 5;
console.log(JSON.stringify({ seconds: took / 1e6, kept: write().join() === ids.join() }));
"""


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("to", ["one chat", "many chats"])
def test_a_flood_that_is_refused_does_not_freeze_a_page(to: str) -> None:
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", FLOOD, MODULE.as_uri(), to],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    assert found["kept"]
    assert found["seconds"] < 0.8, "much more where all are sorted, or looked at, at each refusal"


def test_the_names_of_the_vectors_are_their_own() -> None:
    names = [each["name"] for each in _ALL]

    assert len(names) == len(set(names))
