"""Bad input, huge input and peers that misbehave: the kernel lives and others are served."""

import json
import os
import shutil
import socket
import struct
import tempfile
import time
import unittest.mock

import zmq

from e2e.harness import IS_GOKERNEL, Client, Kernel, KernelCase, only_gokernel, url

CHANNELS = ("shell", "control", "stdin", "iopub", "hb")
DELIMITER = b"<IDS|MSG>"


class Served(KernelCase):
    """After and during each misdeed another client works."""

    def served(self):
        self.assertEqual(self.ok("6 * 7").data(), "42")
        self.client.request("control", "kernel_info_request", timeout=10)

    def raw(self, channel):
        sock = socket.create_connection(("127.0.0.1", self.kernel.info[channel + "_port"]))
        sock.settimeout(10)
        self.addCleanup(sock.close)
        return sock

    def dealer(self, channel="shell"):
        sock = zmq.Context.instance().socket(zmq.DEALER)
        self.addCleanup(sock.close, 0)
        sock.connect(url(self.kernel.info, channel))
        return sock


class Bytes(Served):
    GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL" + bytes(16) + b"\x00" + bytes(31)

    def test_garbage(self):
        garbage = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            os.urandom(4096),
            b"\x00" * 100_000,
            b"\xff" * 64,
            self.GREETING + os.urandom(512),
            self.GREETING + b"\x06" + b"\xff" * 8,  # a command of 2^64 - 1 bytes
            self.GREETING + b"\x06" + struct.pack(">Q", 1 << 40) + b"x",
            self.GREETING + b"\x04\x05\x05REA",  # a command cut short
            self.GREETING + b"\x04\x00",
        ]
        # ipykernel's control thread does not survive it.
        for channel in CHANNELS if IS_GOKERNEL else ("shell", "iopub", "hb"):
            for data in garbage:
                sock = self.raw(channel)
                try:
                    sock.sendall(data)
                except OSError:
                    pass  # cut off already, which is fine
            with self.subTest(channel):
                self.served()

    def test_half_open(self):
        """Connections that say nothing, or stop in the middle of the greeting."""
        for channel in CHANNELS:
            for part in (b"", self.GREETING[:1], self.GREETING[:11], self.GREETING):
                sock = self.raw(channel)
                sock.sendall(part)
            with self.subTest(channel):
                self.served()
        late = self.kernel.client()
        self.assertEqual(late.run("1").data(), "1")
        late.close()

    def test_vanishing(self):
        """Clients that go away by reset while they are served."""
        for _ in range(20):
            sock = self.raw("shell")
            sock.sendall(self.GREETING)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.served()


class Messages(Served):
    def signed(self, header=None, parent=b"{}", metadata=b"{}", content=b"{}", signature=None):
        """Frames of a message whose parts need not be JSON."""
        session = self.client.session
        if header is None:
            header = session.pack(session.msg("execute_request")["header"])
        parts = [header, parent, metadata, content]
        return [DELIMITER, session.sign(parts) if signature is None else signature, *parts]

    def header(self, **changed):
        header = self.client.session.msg("execute_request")["header"]
        header.update(changed)
        return self.client.session.pack(header)

    def send_all(self, messages):
        for channel in ("shell", "control", "stdin"):
            sock = self.dealer(channel)
            for frames in messages:
                sock.send_multipart(frames)
            with self.subTest(channel):
                self.served()
                self.assertFalse(sock.poll(100) and any(
                    b'"status": "ok"' in f or b'"status":"ok"' in f for f in sock.recv_multipart()
                ), "a bad message was answered as if it were good")

    def test_wrong_signature(self):
        self.ok("hits = []")
        run = self.client.session.pack({"code": "hits.append(1)", "silent": False})
        self.send_all([
            self.signed(content=run, signature=b""),
            self.signed(content=run, signature=b"0" * 64),
            self.signed(content=run, signature=self.signed(content=run)[1].upper()),
            self.signed(content=run, signature=os.urandom(32)),
            self.signed(content=run, signature=self.signed(content=run)[1][:-1]),
        ])
        self.assertEqual(self.ok("hits").data(), "[]")

    @only_gokernel
    def test_wrong_frames(self):
        good = self.signed()
        self.send_all([
            [b""], [b"", b""], [DELIMITER], good[:3], good[:5], good[1:], [b"x"] * 50,
            [b"noise", *good[1:]], [DELIMITER, *good],
        ])

    @only_gokernel
    def test_wrong_json(self):
        self.send_all([
            self.signed(content=c)
            for c in (b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"code":', b"[" * 100_000,
                      b'{"code": NaN}', b'{"a":' * 50_000)
        ] + [
            self.signed(header=h)
            for h in (b"", b"{}", b"[]", b"null", b"{", self.header(msg_type=7), self.header(msg_type=None),
                      self.header(msg_id=[1]), self.header(session={}), self.header(date=12))
        ] + [
            self.signed(parent=b"[1]"), self.signed(metadata=b'"x"'),
        ])

    @only_gokernel
    def test_wrong_types_are_named(self):
        """The error says which field was wrong, and nothing is run."""
        cases = [
            ("execute_request", {"code": 5}, "code"),
            ("execute_request", {}, "code"),
            ("execute_request", {"code": "1", "silent": "yes"}, "silent"),
            ("execute_request", {"code": "1", "user_expressions": [1]}, "user_expressions"),
            ("complete_request", {"code": "x", "cursor_pos": "1"}, "cursor_pos"),
            ("inspect_request", {"code": None, "cursor_pos": 0}, "code"),
            ("history_request", {"hist_access_type": 3}, "hist_access_type"),
        ]
        for msg_type, content, field in cases:
            with self.subTest(msg_type=msg_type, content=content):
                result = self.client.request("shell", msg_type, content, timeout=10)
                self.assertEqual(result.status, "error", result)
                self.assertIn(field, result.content["evalue"])
        # Its reply has a status of its own kind, which knows no error.
        result = self.client.request("shell", "is_complete_request", {"code": {}}, timeout=10)
        self.assertEqual(result.status, "unknown", result)
        self.served()

    @only_gokernel
    def test_wrong_positions(self):
        for pos in (-1, 10**6, 2**40):
            for msg_type in ("complete_request", "inspect_request"):
                self.client.request("shell", msg_type, {"code": "pri", "cursor_pos": pos, "detail_level": 0})
        self.served()


class Huge(KernelCase):
    SIZE = 100 << 20

    def test_cell(self):
        code = "text = '" + "x" * self.SIZE + "'\nlen(text)"
        self.assertEqual(self.ok(code, silent=False, store_history=False, timeout=180).data(), str(self.SIZE))

    def test_output(self):
        msg_id = self.client.start("print('x' * %d, end='')" % self.SIZE)
        size = 0

        def taken():
            nonlocal size
            # Do not keep what was counted.
            for m in self.client.iopub[msg_id]:
                if m["msg_type"] == "stream":
                    size += len(m["content"]["text"])
                    m["content"]["text"] = ""
            self.client.log.clear()
            return self.client.idle(msg_id) and msg_id in self.client.replies

        self.client.wait(taken, "the whole output", 180)
        self.assertEqual(size, self.SIZE)
        self.assertEqual(self.ok("1").data(), "1")

    def test_result(self):
        result = self.ok("'x' * %d" % (self.SIZE // 10))
        self.assertEqual(len(result.data()), self.SIZE // 10 + 2)


class Slow(Served):
    def test_client_that_stops_reading(self):
        """It holds up neither the code nor other clients, and does not take the memory of the machine."""
        deaf = Client(self.kernel.info, rcvhwm=1)
        self.addCleanup(deaf.close)
        deaf.ready()
        for sock in deaf.sockets.values():
            deaf.poller.unregister(sock)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.addCleanup(raw.close)
        raw.connect(("127.0.0.1", self.kernel.info["iopub_port"]))
        raw.sendall(Bytes.GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB" + b"\x00\x01\x01")
        began = time.monotonic()
        result = self.ok(
            "for i in range(300):\n    print(i, 'x' * 100_000)", timeout=90
        )
        self.assertEqual(len(result.text().splitlines()), 300)
        self.assertLess(time.monotonic() - began, 60)
        self.served()

    def test_client_that_never_reads_replies(self):
        """Requests by the thousand, and not one reply taken."""
        sock = self.dealer("shell")
        sock.rcvhwm = 1
        session = self.client.session
        for _ in range(2000):
            session.send(sock, "kernel_info_request", {})
        self.served()

    def test_flood_of_connections(self):
        socks = [self.raw("shell") for _ in range(300)]
        self.served()
        for sock in socks:
            sock.close()


class Python(KernelCase):
    """A kernel whose python is missing or broken says so in every cell, and lives."""

    @only_gokernel
    def test_missing_or_broken(self):
        with tempfile.TemporaryDirectory() as d:
            broken = os.path.join(d, "broken")
            with open(broken, "w") as f:
                f.write("#!/bin/sh\necho this python is broken >&2\nexit 7\n")
            os.chmod(broken, 0o755)
            for python, want in (("/nonexistent/python3", "/nonexistent/python3"), (broken, "this python is broken")):
                with self.subTest(python):
                    name = "gokernel-no-python"
                    spec = os.path.join(d, "kernels", name)
                    shutil.copytree(self.kernel.manager.kernel_spec.resource_dir, spec, dirs_exist_ok=True)
                    path = os.path.join(spec, "kernel.json")
                    with open(path) as f:
                        parsed = json.load(f)
                    parsed["argv"] = with_python(parsed["argv"], python)
                    with open(path, "w") as f:
                        json.dump(parsed, f)
                    path = d + os.pathsep + os.environ.get("JUPYTER_PATH", "")
                    with unittest.mock.patch.dict(os.environ, JUPYTER_PATH=path), Kernel(name) as kernel:
                        client = kernel.client()
                        result = client.run("1")
                        self.assertEqual(result.status, "error")
                        self.assertIn(want, result.content["evalue"] + "".join(result.content["traceback"]))
                        self.assertEqual(client.run("2").status, "error")


def with_python(argv, python):
    """argv of the kernelspec with another interpreter."""
    argv = list(argv)
    for i, word in enumerate(argv):
        if word == "--python":
            argv[i + 1] = python
            return argv
        if word.startswith("--python="):
            argv[i] = "--python=" + python
            return argv
    raise AssertionError("the kernelspec names no python: %s" % argv)
