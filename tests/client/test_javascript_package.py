"""The JavaScript client as a package: types, style, size, and what is in it.

`make web` installs the tools; what needs one that is not there is skipped.
"""

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from relay import __version__

from ..documents import ROOT

CLIENT: Final = ROOT / "relay" / "web" / "client"
SETTINGS: Final = ROOT / "tests" / "web"
TOOLS: Final = ROOT / "build" / "web" / "node_modules"
NPM: Final = shutil.which("npm")
NODE: Final = shutil.which("node")
MOST_BYTES: Final = 10_000  # of what a page loads: minified and gzipped

needs_tools = pytest.mark.skipif(not TOOLS.is_dir(), reason="needs the tools of `make web`")
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


@needs_tools
def test_a_page_loads_few_bytes(tmp_path: Path) -> None:
    made = tmp_path / "min.js"
    options = ("--minify", "--format=esm", "--target=es2022", f"--outfile={made}")
    run(TOOLS / ".bin" / "esbuild", CLIENT / "relay-client.js", *options)

    size = len(gzip.compress(made.read_bytes(), 9))
    assert size < MOST_BYTES, f"{size} bytes"


@pytest.mark.skipif(NPM is None, reason="needs npm")
def test_npm_packs_the_module_and_its_types() -> None:
    [packed] = json.loads(run(NPM, "pack", "--dry-run", "--json", "--offline", cwd=CLIENT))

    names = {each["path"] for each in packed["files"]}
    assert names == {"package.json", "relay-client.js", "relay-client.d.ts"}
    assert packed["version"] == __version__.replace(".dev", "-dev.")


@needs_tools
@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_module_takes_the_websocket_of_npms_ws(tmp_path: Path) -> None:
    script = f"""
import {{ RelayClient }} from "{CLIENT / "relay-client.js"}";
import WebSocket, {{ WebSocketServer }} from "{TOOLS / "ws" / "wrapper.mjs"}";
const server = new WebSocketServer({{ host: "127.0.0.1", port: 0 }}, () => {{
  const url = `ws://127.0.0.1:${{server.address().port}}/`;
  const client = new RelayClient(url, "1", {{ WebSocket }});
  client.on("connected", () => {{ console.log("in"); client.close(); server.close(); }});
  client.connect();
}});
server.on("connection", (socket) => socket.on("message", (text) => {{
  const [tag] = JSON.parse(text);
  if (tag === "auth") socket.send('["auth",{{"from":"backend","status":"success"}}]');
}}));
"""
    path = tmp_path / "script.mjs"
    path.write_text(script)

    assert run(NODE, path) == "in\n"
