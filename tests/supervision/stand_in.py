"""A program that stands in for a child: it notes its arguments and waits for the end."""

import json
import socket
import sys
from pathlib import Path

if __name__ == "__main__":
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    note = Path(options["--run-dir"]) / "arguments.new"
    note.write_text(json.dumps(options))
    note.rename(note.with_name("arguments.json"))
    control = socket.socket(fileno=int(options["--control-fd"]))
    while control.recv(1000):
        pass
    sys.exit(9)
