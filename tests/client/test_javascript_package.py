"""The JavaScript client as a package: types, style, size, and what is in it.

`make web` installs the tools; what needs one that is not there is skipped.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from relay import __version__

from ..documents import ROOT
from .test_vectors import run_with_node

CLIENT: Final = ROOT / "relay" / "web" / "client"
SETTINGS: Final = ROOT / "tests" / "web"
TOOLS: Final = ROOT / "build" / "web" / "node_modules"
NPM: Final = shutil.which("npm")
NODE: Final = shutil.which("node")
MOST_BYTES: Final = 10_000  # of what npm packs; a page loads less

needs_tools = pytest.mark.skipif(not TOOLS.is_dir(), reason="needs the tools of `make web`")
packs = pytest.mark.skipif(
    not TOOLS.is_dir() or NPM is None, reason="needs npm, and the tools of `make web`"
)
needs_node = pytest.mark.skipif(NODE is None, reason="needs node")
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_tools
def test_the_types_are_strict_and_those_that_are_shipped_are_the_modules(tmp_path: Path) -> None:
    run(TOOLS / ".bin" / "tsc", "-p", SETTINGS, "--outDir", tmp_path)

    made = (tmp_path / "relay-client.d.ts").read_text()
    assert (CLIENT / "relay-client.d.ts").read_text() == made, "`make web` writes it"


@needs_tools
def test_a_type_that_is_wrong_is_found(tmp_path: Path) -> None:
    text = (CLIENT / "relay-client.js").read_text()
    (tmp_path / "relay-client.js").write_text(text + "userName(5).length.length;\n")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    settings = json.loads((SETTINGS / "tsconfig.json").read_text())
    settings["files"] = ["relay-client.js"]
    settings["compilerOptions"]["rootDir"] = "."
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))

    with pytest.raises(AssertionError, match="Property 'length' does not exist"):
        run(TOOLS / ".bin" / "tsc", "-p", tmp_path)


@needs_tools
def test_the_types_of_the_chat_page_are_strict() -> None:
    run(TOOLS / ".bin" / "tsc", "-p", SETTINGS / "tsconfig.chat.json")


@needs_tools
def test_the_scripts_have_none_of_the_faults_that_are_looked_for() -> None:
    lint = (TOOLS / ".bin" / "eslint", "--no-config-lookup", "-c", SETTINGS / "eslint.config.mjs")
    tests = (ROOT / "tests" / "vectors", ROOT / "tests" / "chaos")
    run(*lint, CLIENT.parent, SETTINGS, *tests)


class Package(NamedTuple):
    """What npm has packed, by its own report, and where it is installed."""

    report: dict[str, Any]
    project: Path

    @property
    def module(self) -> Path:
        return self.project / "node_modules" / "relay-client" / "dist" / "relay-client.js"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The client as npm packs a copy of it, installed in a folder where nothing else is."""
    directory = tmp_path_factory.mktemp("package")
    checkout, project = directory / "checkout", directory / "project"
    client = checkout / CLIENT.relative_to(ROOT)
    shutil.copytree(CLIENT, client, ignore=shutil.ignore_patterns("dist"))
    (checkout / "build").symlink_to(ROOT / "build")
    [report] = json.loads(npm("pack", "--json", "--foreground-scripts=false", cwd=client))
    project.mkdir()
    (project / "package.json").write_text('{"type": "module"}')
    npm("install", client / report["filename"], "--no-audit", "--no-fund", cwd=project)
    return Package(report, project)


def npm(*arguments: object, cwd: Path) -> str:
    return run(NPM, *arguments, "--offline", cwd=cwd)


@packs
def test_npm_packs_the_module_and_its_types_and_little_else(package: Package) -> None:
    names = {each["path"] for each in package.report["files"]}
    assert names == {
        *("package.json", "README.md"),
        *("dist/relay-client.js", "dist/relay-client.d.ts"),
    }
    assert package.report["version"] == __version__.replace(".dev", "-dev.")
    assert package.report["size"] < MOST_BYTES, f"{package.report['size']} bytes"


USE: Final = """
import { LIMITS, RelayClient, RelayError, chatName, newMessageId, userName } from "relay-client";
import type { ClientEvent, Message, Receipt, Sending, Token, TokenRequest } from "relay-client";

const token: Token = async ({ renew }: TokenRequest) => (renew ? "newer" : "first");
const client = new RelayClient("ws://127.0.0.1:9011/", userName("1"), {
  token, ack: "manual", outbox: true, tabs: false, limits: { keepaliveS: LIMITS.keepaliveS / 2 },
});
const off: () => void = client.on("message", async (message) => {
  const { id, chat, sender, text, isGroup, t }: Message = message;
  client.markDelivered(message);
  const sending: Sending = client.send(chatName(chat), `${sender} ${text} ${isGroup} ${t + 1}`);
  const receipt: Receipt = await sending.read;
  console.log(id, receipt.level + 1, (await sending.sent).t);
});
client.on("failed", ({ code, retryAfter }) => console.log(code + (retryAfter ?? 0)));
client.on("end", ({ error }) => error instanceof RelayError && console.log(error.retryable));
const listened: ClientEvent["type"] = "trouble";
client.connect().on(listened, console.error);
for await (const message of client.messages()) client.markRead(message);
client.send("2", { conversation: "hi" }, { id: newMessageId() });
console.log(client.online, client.waiting[0]?.chat, client.error?.message);
off();
await client.forget();
// @ts-expect-error
client.on("massage", console.log);
// @ts-expect-error
client.send(5, "hi");
// @ts-expect-error
new RelayClient("ws://127.0.0.1:9011/", "1", { outbocks: true });
// @ts-expect-error
client.on("message", ({ texts }) => console.log(texts));
"""


@packs
def test_the_types_in_the_package_are_those_of_the_client(package: Package) -> None:
    options = {"strict": True, "noEmit": True, "skipLibCheck": False, "types": []}
    options |= {"target": "es2022", "module": "nodenext", "lib": ["es2022", "dom"]}
    settings = {"compilerOptions": options, "files": ["use.ts"]}
    (package.project / "tsconfig.json").write_text(json.dumps(settings))
    (package.project / "use.ts").write_text(USE)

    run(TOOLS / ".bin" / "tsc", "-p", package.project)


CHAT: Final = f"""
import {{ RelayClient }} from "relay-client";
import WebSocket, {{ WebSocketServer }} from "{TOOLS / "ws" / "wrapper.mjs"}";
const server = new WebSocketServer({{ host: "127.0.0.1", port: 0 }}, () => {{
  const url = `ws://127.0.0.1:${{server.address().port}}/`;
  const client = new RelayClient(url, "1", {{ WebSocket }});
  client.on("connected", async () => {{
    console.log("in");
    const {{ t }} = await client.send("2", "hi").sent;
    console.log(t);
    client.close();
    server.close();
  }});
  client.connect();
}});
server.on("connection", (socket) => socket.on("message", (text) => {{
  const [tag, , elements] = JSON.parse(text);
  if (tag === "auth") socket.send('["auth",{{"from":"backend","status":"success"}}]');
  if (tag !== "action") return;
  const [{{ key }}] = elements;
  const ack = {{ id: key.id, ack: 1, cmd: "ack", to: "2@c.us", t: 5, from: "1@c.us" }};
  socket.send(JSON.stringify(["Msg", ack]));
}}));
"""


@packs
@needs_node
def test_the_package_logs_in_and_sends_with_the_websocket_of_npms_ws(package: Package) -> None:
    (package.project / "chat.mjs").write_text(CHAT)

    assert run(NODE, "chat.mjs", cwd=package.project) == "in\n5\n"


@packs
@needs_node
def test_the_module_in_the_package_does_what_the_vectors_say(package: Package) -> None:
    assert set(run_with_node(package.module).values()) == {None}


@needs_node
def test_what_packs_says_what_it_needs(tmp_path: Path) -> None:
    shutil.copytree(CLIENT, tmp_path / "client")

    done = subprocess.run(
        [NODE or "node", tmp_path / "client" / "prepack.mjs"], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (
        1,
        "terser is not there: in the checkout, `make web` installs it\n",
    )
