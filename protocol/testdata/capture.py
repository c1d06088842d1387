"""Captures the golden messages: what jupyter_client and ipykernel really send.

    python3 protocol/testdata/capture.py

needs jupyter_client and ipykernel. It runs one kernel, has it send every usual
type of message and writes the first of each, named CHANNEL.MSG_TYPE[.N].json,
to golden/ beside this file. Parts are kept as the strings that were on the
wire. What tells of the machine is replaced, and the message is then signed
again, by jupyter_client, with the key "golden".
"""

import base64
import getpass
import json
import pathlib
import re
import socket
import time

import zmq
from jupyter_client import KernelManager
from jupyter_client.session import Session

OUT = pathlib.Path(__file__).parent / "golden"
KEY = b"golden"
DELIMITER = b"<IDS|MSG>"

PRIVATE = [
    (json.dumps(socket.gethostname()).encode(), b'"host"'),
    (json.dumps(getpass.getuser()).encode(), b'"user"'),
]
PATH = re.compile(rb'(?<![\w:/.])(?:/[A-Za-z0-9_.~-]+)+/([A-Za-z0-9_.-]+)')

CELLS = [
    "1+1",
    "print('h\u00e9llo'); import sys; print('bad', file=sys.stderr)",
    "1/0",
    "from IPython.display import *; h = display(HTML('<b>x</b>'), display_id='d1'); h.update(JSON({'a': [1.50, None]}))",
    "clear_output(wait=True)",
    "raise KeyboardInterrupt",
    "name = input('name? ')",
    "from getpass import getpass; word = getpass('word? ')",
    "import math; display({'application/json': {'v': 1e300}, 'text/plain': 'v'}, raw=True)",
    "from ipykernel.comm import Comm; c = Comm(target_name='t', data={'a': 1}, buffers=[b'\\x00\\x01', b'']);"
    " c.send({'b': 2}, metadata={'m': 3}, buffers=[b'xyz']); c.close({'d': 4})",
    "%load_ext autoreload\nprint?",
]


def main():
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        capture(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def capture(client):
    session = Session(key=KEY)
    seen = {}
    variants = {}

    def save(channel, frames):
        at = frames.index(DELIMITER)
        parts = [clean(p) for p in frames[at + 2 : at + 6]]
        header = json.loads(parts[0])
        content = json.loads(parts[3])
        # One file for each status and set of fields, empty or not, of a type.
        fields = tuple((k, bool(content[k])) for k in sorted(content))
        shape = (channel, header["msg_type"], fields, content.get("status"))
        if shape in seen:
            return
        seen[shape] = True
        base = f"{channel}.{header['msg_type']}"
        variants[base] = n = variants.get(base, 0) + 1
        name = base if n == 1 else f"{base}.{n}"
        golden = {
            "channel": channel,
            "identities": [base64.b64encode(f).decode() for f in frames[:at]],
            "signature": session.sign(parts).decode(),
            "header": parts[0].decode(),
            "parent_header": parts[1].decode(),
            "metadata": parts[2].decode(),
            "content": parts[3].decode(),
            "buffers": [base64.b64encode(f).decode() for f in frames[at + 6 :]],
        }
        text = json.dumps(golden, indent=1, ensure_ascii=False)
        (OUT / f"{name}.json").write_text(text + "\n")

    def clean(part):
        for old, new in PRIVATE:
            part = part.replace(old, new)
        return PATH.sub(rb"/path/\1", part)

    def drain(seconds=1.0):
        """Saves what comes until it has been quiet for a while; answers prompts."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, sock in sockets.items():
                if not sock.poll(20):
                    continue
                frames = sock.recv_multipart()
                save(name, frames)
                end = time.monotonic() + seconds
                if name == "stdin":
                    send("stdin", "input_reply", {"value": "Ada"}, parent=frames)

    def send(channel, msg_type, content, parent=None, metadata=None, buffers=()):
        message = client.session.msg(msg_type, content)
        if parent:
            message["parent_header"] = json.loads(parent[parent.index(DELIMITER) + 2])
        if metadata:
            message["metadata"] = metadata
        frames = client.session.serialize(message) + list(buffers)
        save(channel, frames)
        sockets[channel].send_multipart(frames)

    def execute(code, **more):
        content = dict(code=code, silent=False, store_history=True, user_expressions={}, allow_stdin=True, stop_on_error=True)
        content.update(more)
        send("shell", "execute_request", content, metadata={"cellId": "c1"})

    client.wait_for_ready(timeout=60)
    # The client's sockets may be asyncio's: look at what is beneath them.
    sockets = {
        name: zmq.Socket.shadow(getattr(client, f"{name}_channel").socket.underlying)
        for name in ("shell", "iopub", "stdin", "control")
    }
    for cell in CELLS:
        execute(cell)
        drain()
    execute("0", user_expressions={"good": "1+1", "bad": "1/0"})
    drain()
    execute("import time; time.sleep(1); 1/0")
    execute("'never'")  # aborted
    drain(2)
    send("shell", "kernel_info_request", {})
    send("shell", "connect_request", {})
    send("shell", "complete_request", {"code": "import o", "cursor_pos": 8})
    send("shell", "inspect_request", {"code": "print", "cursor_pos": 5, "detail_level": 0})
    send("shell", "history_request", {"raw": True, "output": False, "hist_access_type": "tail", "n": 2})
    send("shell", "history_request", {"raw": True, "output": True, "hist_access_type": "range", "session": 0, "start": 1, "stop": 3})
    send("shell", "is_complete_request", {"code": "for x in y:"})
    send("shell", "is_complete_request", {"code": "1"})
    send("shell", "comm_info_request", {"target_name": "t"})
    send("shell", "comm_open", {"comm_id": "c1", "target_name": "nobody", "data": {}}, buffers=[b"ab"])
    send("shell", "comm_msg", {"comm_id": "c1", "data": {"method": "update"}})
    send("shell", "comm_close", {"comm_id": "c1", "data": {}})
    drain(2)
    send("control", "kernel_info_request", {})
    send("control", "usage_request", {})
    send("control", "debug_request", {"seq": 1, "type": "request", "command": "debugInfo"})
    send("control", "interrupt_request", {})
    drain(2)
    send("control", "shutdown_request", {"restart": False})
    drain(2)
    print(f"{len(seen)} messages in {OUT}")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    main()
