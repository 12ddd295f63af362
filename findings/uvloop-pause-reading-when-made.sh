#!/usr/bin/env bash
# A protocol that calls transport.pause_reading() inside connection_made should be told of no data
# until it resumes: asyncio's own loop does it so, and its documentation makes no exception. uvloop
# reads on. So a server that first looks something up (may this address come in? is a PROXY header
# due?) before it decides who reads, and pauses meanwhile, gets the client's first bytes all the
# same; what it then starts in place of itself, such as TLS by loop.start_tls, waits for bytes that
# are gone, until its timeout.
#
# What we do: keep what comes in data_received until we know who it is for.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "uvloop==0.23.0"
cat > "$work/show.py" <<'PY'
import asyncio
import sys

import uvloop


class Server(asyncio.Protocol):
    def __init__(self):
        self.came = b""

    def connection_made(self, transport):
        transport.pause_reading()
        self.is_reading = transport.is_reading()

    def data_received(self, data):
        self.came += data


async def bytes_that_came_while_paused():
    made = []

    def factory():
        made.append(Server())
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    for _ in range(50):
        await asyncio.sleep(0.02)
        if made and made[0].came:
            break
    writer.close()
    server.close()
    return made[0].is_reading, made[0].came


print("python", sys.version.split()[0], "uvloop", uvloop.__version__)
plain = asyncio.run(bytes_that_came_while_paused())
fast = uvloop.run(bytes_that_came_while_paused())
print("asyncio: is_reading, came =", plain)
print("uvloop:  is_reading, came =", fast)
sys.exit(0 if plain == (False, b"") and fast[1] == b"hello" else 1)
PY
timeout 60 "$work/venv/bin/python" "$work/show.py"
# Seen: asyncio: is_reading, came = (False, b'')
#       uvloop:  is_reading, came = (False, b'hello')
