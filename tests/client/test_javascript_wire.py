"""The JavaScript client and its socket, in Node: what it writes and when it wakes.

The relay is a script, so that what a real one does rarely can be had at once.
"""

import json
import shutil
import subprocess
from typing import Any, Final

import pytest

from ..documents import ROOT

MODULE: Final = ROOT / "relay" / "web" / "client" / "relay-client.js"
NODE: Final = shutil.which("node")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NODE is None, reason="needs node")]

# `answer` is what the relay says to each text; `said` is what the client has written.
SCENE: Final = """
const { RelayClient } = await import(process.argv[1]);
const wait = (ms) => new Promise((resolve) => real(resolve, ms));
const real = setTimeout;
const said = [];
const IN = [["auth", { status: "success" }], ["q", { data: "[[]]" }]];
let answer = ([tag]) => (tag === "auth" ? IN : []);
class Wire {
  static latest;
  bufferedAmount = 0;
  readyState = 0;
  constructor() {
    Wire.latest = this;
    queueMicrotask(() => ((this.readyState = 1), this.onopen?.()));
  }
  send(text) {
    said.push(text);
    const frames = text === "?,," ? [] : answer(JSON.parse(text));
    for (const frame of frames) queueMicrotask(() => this.hear(frame));
  }
  hear(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  end(code) {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
  close() {}
}
const events = [];
const make = (options = {}) => {
  const client = new RelayClient("ws://relay.example/", "1001", { WebSocket: Wire, ...options });
  for (const type of ["connected", "disconnected", "delayed", "trouble"])
    client.on(type, (event) => events.push(event.type));
  return client;
};
const done = (found) => console.log(JSON.stringify(found)) || process.exit(0);
"""


def play(script: str) -> Any:
    """Run a scene; return what it was `done` with, and what went to the console as an error."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", SCENE + script, MODULE.as_uri()],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_chat_that_waits_wakes_nobody_while_a_login_is_being_answered() -> None:
    """What is due cannot be written then; to look every 10 ms would cost a battery."""
    found, _ = play("""
        const client = make({ limits: { reconnectMinS: 0 } }).connect();
        await wait(20);
        answer = ([tag, , elements]) => tag !== "action" ? []
          : [["error", { code: 429, reason: "later", id: elements[0].key.id, retryAfter: 0.1 }]];
        client.send("1002", "held");
        await wait(20);
        client.protocol.loginAgain();
        client.send("1003", "has it look");
        let looks = 0;
        const { nextFrame } = client.protocol;
        client.protocol.nextFrame = (...each) => (looks++, nextFrame.apply(client.protocol, each));
        await wait(600);
        const while_asked = looks;
        answer = () => [];
        Wire.latest.hear(["auth", { status: "success" }]);
        await wait(100);
        done([while_asked, events.includes("delayed"), said.filter((x) => /held/.test(x)).length]);
    """)

    looks, was_held, times = found
    assert was_held
    assert looks <= 2
    assert times == 2, "once it is in again, it is sent again"


def test_a_dead_connection_is_noticed_where_each_timer_is_late() -> None:
    """Timers of a hidden tab go once a minute at most, so that each looks as if it stood still."""
    found, _ = play("""
        const limits = { keepaliveS: 0.05, answerS: 0.05 };
        globalThis.setTimeout = (act, ms, ...more) => real(act, Math.max(ms, 200), ...more);
        make({ limits }).connect();
        await wait(1000);
        done(events);
    """)

    assert "disconnected" in found


def test_a_page_that_stood_still_once_asks_once_more() -> None:
    found, _ = play("""
        const limits = { keepaliveS: 0.05, answerS: 0.2 };
        make({ limits }).connect();
        await wait(100);
        for (const end = Date.now() + 600; Date.now() < end; );
        await wait(50);
        const asked = said.filter((each) => each === "?,,").length;
        Wire.latest.hear(["unknown"]);
        await wait(20);
        done([asked, events]);
    """)

    assert found == [2, ["connected"]]


def test_what_ends_a_client_is_not_silent_where_nobody_listens() -> None:
    found, errors = play("""
        answer = () => [["auth", { status: "failure", code: 401, reason: "invalid token" }]];
        const client = make().connect();
        await wait(50);
        done(client.error.name);
    """)

    assert found == "LoginRefused"
    assert "invalid token" in errors

    _, errors = play("""
        answer = () => [["auth", { status: "failure", code: 401, reason: "invalid token" }]];
        make().connect().on("end", () => done(null));
    """)
    assert errors == ""


def test_what_is_sent_is_as_it_was_when_it_was_sent() -> None:
    found, _ = play("""
        const client = make();
        const body = { conversation: "as it was", act() {}, at: new Date(0) };
        client.send("1002", body);
        body.conversation = "changed";
        done(client.waiting[0].message);
    """)

    assert found == {"conversation": "as it was", "at": "1970-01-01T00:00:00.000Z"}


@pytest.mark.parametrize("code", [None, 1001, 1006, 1011, 1012, 1013, 4429])
def test_a_read_receipt_that_the_connection_may_have_lost_is_written_again(
    code: int | None,
) -> None:
    found, _ = play(f"""
        const client = make({{ limits: {{ reconnectMaxS: 0.01 }} }});
        client.on("message", () => {{}});
        client.connect();
        await wait(20);
        const key = {{ remoteJid: "1002@s.whatsapp.com", id: "M", fromMe: false }};
        const element = {{ key, message: {{ conversation: "hi" }}, messageTimestamp: "1" }};
        Wire.latest.hear(["action", {{ add: "relay" }}, [element]]);
        await wait(20);
        client.markRead({{ chat: "1002", sender: "1002", id: "M" }});
        Wire.latest.end({json.dumps(code if code is not None else 1005)});
        await wait(150);
        const acks = said.map((each) => JSON.parse(each)).filter(([tag]) => tag === "Msg");
        done(acks.map(([, ack]) => ack.ack));
    """)

    assert found == [2, 3, 3]
