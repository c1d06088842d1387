"""A kernel, a client that sees every message, and what tests ask of them.

The environment:

KERNEL_NAME     the kernel to test; python3 (ipykernel) by default
GOKERNEL        the gokernel binary; tests of what only gokernel does are skipped without
JUPYTER_PATH    where the kernelspec is found, unless it is installed
XDG_STATE_HOME  where gokernel keeps its state; must be a directory of this test run
KERNEL_LOG      a file to which goes what kernels say on their stdout and stderr
CI              when "true", a missing peer is a failure
"""

import atexit
import importlib
import os
import random
import shutil
import socket
import tempfile
import threading
import time
import unittest
from collections import defaultdict

import zmq
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

KERNEL_NAME = os.environ.get("KERNEL_NAME", "python3")
GOKERNEL = os.environ.get("GOKERNEL", "")
IS_GOKERNEL = KERNEL_NAME.startswith("gokernel")
# The kernel has no IPython: no magics, no rich display of its own.
IS_PLAIN = KERNEL_NAME.endswith("-plain")
KERNEL_LOG = os.environ.get("KERNEL_LOG", os.devnull)
TIMEOUT = 60.0


def _private_directories():
    """Histories, profiles and state of a test run are its own."""
    for variable in ("IPYTHONDIR", "XDG_STATE_HOME", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR"):
        if variable not in os.environ:
            directory = tempfile.mkdtemp(prefix="gokernel-e2e-")
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            os.environ[variable] = directory


_private_directories()


def need(module):
    """Imports a peer. A test that lacks one is skipped, but fails under CI."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        if os.environ.get("CI") == "true":
            raise
        raise unittest.SkipTest("missing peer: %s" % e)


only_gokernel = unittest.skipUnless(IS_GOKERNEL, "promised by gokernel only")
not_plain = unittest.skipIf(IS_PLAIN, "needs IPython")


class Timeout(AssertionError):
    pass


class Result:
    """What became of one request."""

    def __init__(self, msg_id, reply, messages):
        self.msg_id = msg_id
        self.reply = reply
        self.messages = messages  # on iopub, in order, status included

    @property
    def content(self):
        return self.reply["content"]

    @property
    def status(self):
        return self.content["status"]

    @property
    def outputs(self):
        return [m for m in self.messages if m["msg_type"] not in ("status", "execute_input")]

    def text(self, name="stdout"):
        return "".join(
            m["content"]["text"]
            for m in self.messages
            if m["msg_type"] == "stream" and m["content"]["name"] == name
        )

    def of(self, msg_type):
        return [m for m in self.messages if m["msg_type"] == msg_type]

    def data(self, mime="text/plain"):
        """The result's (not a display's) data."""
        results = self.of("execute_result")
        return results[-1]["content"]["data"][mime] if results else None

    def __repr__(self):
        return "%s %r" % (self.reply and self.content, [transcript_line(m) for m in self.messages])


def transcript_line(msg):
    content = msg["content"]
    detail = {
        "status": lambda: content["execution_state"],
        "stream": lambda: "%s %r" % (content["name"], content["text"][:80]),
        "error": lambda: content["ename"],
    }.get(msg["msg_type"], lambda: content.get("status", ""))()
    return ("%s %s" % (msg["msg_type"], detail)).strip()


class Client:
    """A client of a running kernel: sockets, and everything that came out of them.

    Not for use by several threads at once.
    """

    def __init__(self, info, session=None, rcvhwm=0):
        self.info = info
        key = info["key"].encode() if isinstance(info["key"], str) else info["key"]
        self.session = Session(key=key, signature_scheme=info["signature_scheme"])
        if session:
            self.session.session = session
        self.context = zmq.Context.instance()
        self.poller = zmq.Poller()
        self.sockets = {}
        for channel in ("shell", "control", "stdin"):
            self._connect(channel, zmq.DEALER, info)
        sub = self._connect("iopub", zmq.SUB, info, rcvhwm)
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        self.log = []  # (channel, message) in order of arrival
        self.replies = {}
        self.iopub = defaultdict(list)
        self.on_input = None  # called with each input_request; returns the value, or None

    def _connect(self, channel, kind, info, rcvhwm=0):
        sock = self.context.socket(kind)
        sock.linger = 1000
        sock.rcvhwm = rcvhwm
        sock.sndhwm = 0
        if kind == zmq.DEALER:
            sock.setsockopt(zmq.IDENTITY, self.session.bsession)
        sock.connect(url(info, channel))
        self.sockets[channel] = sock
        self.poller.register(sock, zmq.POLLIN)
        return sock

    def close(self):
        for sock in self.sockets.values():
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, channel, msg_type, content=None, parent=None, metadata=None, buffers=None):
        msg = self.session.send(
            self.sockets[channel], msg_type, content or {}, parent=parent, metadata=metadata, buffers=buffers
        )
        return msg["header"]["msg_id"]

    def pump(self, seconds):
        """Takes in what is there, waiting up to seconds for the first of it."""
        events = self.poller.poll(max(0, seconds) * 1000)
        for sock, _ in events:
            channel = next(c for c, s in self.sockets.items() if s is sock)
            while True:
                _, msg = self.session.recv(sock, zmq.NOBLOCK)
                if msg is None:
                    break
                self._file(channel, msg)
        return bool(events)

    def _file(self, channel, msg):
        self.log.append((channel, msg))
        parent = (msg["parent_header"] or {}).get("msg_id")
        if channel == "iopub":
            self.iopub[parent].append(msg)
        elif channel == "stdin":
            value = self.on_input(msg) if self.on_input else None
            if value is not None:
                self.send("stdin", "input_reply", {"value": value}, parent=msg)
        else:
            self.replies.setdefault(parent, []).append(msg)

    def wait(self, condition, what, timeout=TIMEOUT):
        """Pumps until condition() is true, and returns what it returned."""
        end = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout(
                    "no %s within %g s; the last messages are\n  %s"
                    % (what, timeout, "\n  ".join("%s %s" % (c, transcript_line(m)) for c, m in self.log[-30:]))
                )
            self.pump(min(left, 1.0))

    def ready(self, timeout=TIMEOUT):
        """Nudges until there is a reply and a message on iopub, as front ends do."""
        end = time.monotonic() + timeout
        before = len(self.log)
        while time.monotonic() < end:
            self.send("shell", "kernel_info_request")
            self.send("control", "kernel_info_request")
            stop = time.monotonic() + 0.5
            while time.monotonic() < stop:
                self.pump(stop - time.monotonic())
                seen = {c for c, _ in self.log[before:]}
                if "iopub" in seen and seen & {"shell", "control"}:
                    return self
        raise Timeout("the kernel did not become ready within %g s" % timeout)

    def idle(self, msg_id):
        return any(
            m["msg_type"] == "status" and m["content"]["execution_state"] == "idle" for m in self.iopub[msg_id]
        )

    def finish(self, msg_id, reply=True, timeout=TIMEOUT):
        """Waits for idle and, unless told otherwise, the reply."""
        self.wait(
            lambda: self.idle(msg_id) and (not reply or msg_id in self.replies),
            "reply and idle" if reply else "idle", timeout,
        )
        replies = self.replies.get(msg_id, [None])
        assert len(replies) == 1, "one request, %d replies" % len(replies)
        return Result(msg_id, replies[0], list(self.iopub[msg_id]))

    def request(self, channel, msg_type, content=None, timeout=TIMEOUT, **kw):
        return self.finish(self.send(channel, msg_type, content, **kw), timeout=timeout)

    def start(self, code, silent=False, allow_stdin=False, metadata=None, **content):
        """Sends an execute_request and does not wait."""
        body = {
            "code": code, "silent": silent, "store_history": not silent, "user_expressions": {},
            "allow_stdin": allow_stdin, "stop_on_error": True,
        }
        body.update(content)
        return self.send("shell", "execute_request", body, metadata=metadata)

    def run(self, code, timeout=TIMEOUT, **kw):
        return self.finish(self.start(code, **kw), timeout=timeout)

    def see(self, msg_id, text, timeout=TIMEOUT):
        """Waits until the request has printed text."""
        self.wait(lambda: text in Result(msg_id, None, self.iopub[msg_id]).text(), "output %r" % text, timeout)


def url(info, channel):
    if info["transport"] == "ipc":
        return "ipc://%s-%s" % (info["ip"], info[channel + "_port"])
    return "%s://%s:%s" % (info["transport"], info["ip"], info[channel + "_port"])


_ports_lock = threading.Lock()
_ports_given = set()


def free_ports(n):
    """Ports for a kernel that nobody else takes before it binds them.

    They lie below the range that the system gives to outgoing connections:
    jupyter_client's own choice does not, and twenty kernels at once collide.
    """
    found = []
    with _ports_lock:
        while len(found) < n:
            port = random.randrange(15_000, 32_000)
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in _ports_given:
                _ports_given.add(port)
                found.append(port)
    return found


class Kernel:
    """A kernel started by Debian's jupyter_client, ended with the context."""

    def __init__(self, name=KERNEL_NAME, **kw):
        shell, iopub, stdin, hb, control = free_ports(5)
        self.manager = KernelManager(
            kernel_name=name, cache_ports=False,
            shell_port=shell, iopub_port=iopub, stdin_port=stdin, hb_port=hb, control_port=control,
        )
        self.log = open(KERNEL_LOG, "ab")  # a restart of the manager's uses it again
        self.manager.start_kernel(stdout=self.log, stderr=self.log, **kw)
        self.clients = []

    @property
    def pid(self):
        return self.manager.provisioner.process.pid

    @property
    def info(self):
        return self.manager.get_connection_info()

    def client(self, **kw):
        client = Client(self.info, **kw)
        self.clients.append(client)
        return client.ready()

    def stop(self, now=False):
        for client in self.clients:
            client.close()
        self.clients = []
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=now)
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


class KernelCase(unittest.TestCase):
    """A class of tests that share a kernel; each has a client of its own."""

    @classmethod
    def setUpClass(cls):
        cls.kernel = Kernel()
        cls.addClassCleanup(cls.kernel.stop)

    def setUp(self):
        self.client = self.kernel.client()
        self.addCleanup(self.client.close)

    def ok(self, code, client=None, **kw):
        result = (client or self.client).run(code, **kw)
        self.assertEqual(result.status, "ok", result)
        return result


def in_threads(functions, timeout=120):
    """Runs functions at once and raises the first error."""
    errors = []

    def guarded(f):
        try:
            f()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for t in threads:
        t.start()
    end = time.monotonic() + timeout
    for t in threads:
        t.join(max(0, end - time.monotonic()))
    if errors:
        raise errors[0]
    assert not any(t.is_alive() for t in threads), "not done within %d s" % timeout


def eventually(condition, what, timeout=20.0):
    """Waits for something outside of the messages, such as a process."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout("%s: not within %g s" % (what() if callable(what) else what, timeout))
        time.sleep(0.05)  # nothing tells of it: look again
