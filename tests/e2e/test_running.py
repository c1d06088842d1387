"""A running cell: input, interrupts, threads, comms."""

import os
import tempfile
import time
import unittest

from e2e.harness import IS_GOKERNEL, KernelCase, eventually, not_plain, only_gokernel


class Input(KernelCase):
    def test_input(self):
        prompts = []
        self.client.on_input = lambda m: prompts.append(m) or "Ada"
        result = self.ok("name = input('Who? ')\nprint('hello', name)", allow_stdin=True)
        self.assertEqual(result.text(), "hello Ada\n")
        self.assertEqual([p["content"] for p in prompts], [{"prompt": "Who? ", "password": False}])
        self.assertEqual(prompts[0]["parent_header"]["msg_id"], result.msg_id)

    def test_password(self):
        prompts = []
        self.client.on_input = lambda m: prompts.append(m["content"]) or "s3cret"
        result = self.ok("import getpass\nlen(getpass.getpass('Key: '))", allow_stdin=True)
        self.assertEqual(result.data(), "6")
        self.assertEqual(prompts, [{"prompt": "Key: ", "password": True}])
        self.assertNotIn("s3cret", repr(result))

    def test_several(self):
        answers = iter(["1", "2", "\u20ac"])
        self.client.on_input = lambda m: next(answers)
        self.assertEqual(self.ok("[input() for _ in range(3)]", allow_stdin=True).data(), "['1', '2', '\u20ac']")

    def test_reply_without_parent(self):
        """jupyter_client's own input() sends none."""
        def answer(msg):
            self.client.send("stdin", "input_reply", {"value": "bare"})

        self.client.on_input = answer
        self.assertEqual(self.ok("input()", allow_stdin=True).data(), "'bare'")

    def test_only_the_asking_client_is_asked(self):
        other = self.kernel.client()
        other.on_input = lambda m: self.fail("asked the wrong client")
        asked = []
        self.client.on_input = lambda m: asked.append(m) or "x"
        msg_id = self.client.start("input()", allow_stdin=True)
        self.client.finish(msg_id)
        other.finish(msg_id, reply=False)
        self.assertEqual(len(asked), 1)

    def test_refused_when_not_allowed(self):
        result = self.client.run("input()", allow_stdin=False)
        self.assertEqual(result.status, "error")
        self.assertIn("StdinNotImplementedError", result.content["ename"])

    def test_late_reply_is_ignored(self):
        self.client.send("stdin", "input_reply", {"value": "stale"})
        self.client.on_input = lambda m: "fresh"
        if not IS_GOKERNEL:
            self.skipTest("ipykernel takes whatever comes")
        self.assertEqual(self.ok("input()", allow_stdin=True).data(), "'fresh'")


class Interrupt(KernelCase):
    CELLS = {
        "a pure loop": "while True: pass",
        "sleep": "import time; time.sleep(60)",
        "a lock": "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
        "select": "import select, os; r, w = os.pipe(); select.select([r], [], [])",
        "a child": "import subprocess; subprocess.run(['sleep', '61.5'])",
        "a queue": "import queue; queue.Queue().get()",
        "a socket": "import socket; a, b = socket.socketpair(); a.recv(1)",
    }

    def interrupted(self, code, before=None, **kw):
        self.ok("print('warm')")
        msg_id = self.client.start("print('here', flush=True)\n" + code, **kw)
        self.client.see(msg_id, "here")
        if before:
            before()
        self.kernel.manager.interrupt_kernel()
        began = time.monotonic()
        result = self.client.finish(msg_id, timeout=10)
        self.assertLess(time.monotonic() - began, 3)
        self.assertEqual((result.status, result.content["ename"]), ("error", "KeyboardInterrupt"), result)
        self.assertEqual([m["content"]["ename"] for m in result.of("error")], ["KeyboardInterrupt"])
        self.assertEqual(self.ok("1 + 1").data(), "2")

    def interrupts_done(self):
        """How many interrupt_requests the client has seen come to their end."""
        return sum(
            channel == "iopub" and (m["parent_header"] or {}).get("msg_type") == "interrupt_request"
            and m["content"].get("execution_state") == "idle" for channel, m in self.client.log
        )

    def test_cells(self):
        for name, code in self.CELLS.items():
            with self.subTest(name):
                self.interrupted(code)
        eventually(lambda: not processes_with("sleep\x0061.5"), "the interrupted cell's child has ended", 5)

    @not_plain
    def test_shell_escape(self):
        msg_id = self.client.start("!echo here; sleep 62.5")
        self.client.see(msg_id, "here")
        self.kernel.manager.interrupt_kernel()
        # IPython's own way is to end the command, not the cell.
        self.client.finish(msg_id, timeout=10)
        eventually(lambda: not processes_with("sleep\x0062.5"), "the command has ended", 5)
        self.assertEqual(self.ok("1 + 1").data(), "2")

    @not_plain
    @only_gokernel  # ipykernel's loop does not wake up
    def test_await(self):
        self.interrupted("import asyncio\nawait asyncio.sleep(60)")

    def test_input(self):
        asked = []
        self.client.on_input = asked.append  # and no answer
        self.interrupted(
            "input('?')", allow_stdin=True,
            before=lambda: self.client.wait(lambda: asked, "input_request"),
        )

    def test_when_idle_it_hits_nothing(self):
        for _ in range(5):
            self.ok("pass")
            before = self.interrupts_done()
            self.kernel.manager.interrupt_kernel()
            # Neither a signal nor a message on control has an order with what follows on shell.
            if IS_GOKERNEL:
                self.client.wait(lambda: self.interrupts_done() > before, "idle of the interrupt_request")
            else:
                time.sleep(0.2)
            self.assertEqual(self.ok("sum(range(100_000))").data(), "4999950000")

    def test_what_waits_follows_stop_on_error(self):
        first = self.client.start("import time\nprint('here')\ntime.sleep(60)")
        self.client.see(first, "here")
        waiting = self.client.start("'not run'")
        self.client.send("control", "kernel_info_request")
        time.sleep(0.2)  # for the loopback: the request has to be there, and nothing tells
        self.kernel.manager.interrupt_kernel()
        self.assertEqual(self.client.finish(first).status, "error")
        self.assertEqual(self.client.finish(waiting).status, "aborted")

    @only_gokernel
    def test_by_message(self):
        msg_id = self.client.start("print('here')\nwhile True: pass")
        self.client.see(msg_id, "here")
        reply = self.client.request("control", "interrupt_request").reply
        self.assertEqual((reply["msg_type"], reply["content"]["status"]), ("interrupt_reply", "ok"))
        self.assertEqual(self.client.finish(msg_id, timeout=5).content["ename"], "KeyboardInterrupt")


def processes_with(cmdline):
    """Pids of processes whose command line contains cmdline (arguments end in NUL)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                if cmdline.encode() in f.read():
                    found.append(int(pid))
        except OSError:
            pass  # it has ended meanwhile
    return found


class Output(KernelCase):
    @only_gokernel
    def test_late_output_goes_to_the_cell_that_started_it(self):
        with tempfile.TemporaryDirectory() as d:
            flag = os.path.join(d, "flag")
            first = self.client.start(
                "import os, threading, time\n"
                "def late():\n"
                "    while not os.path.exists(%r): time.sleep(0.01)\n"
                "    print('late')\n"
                "t = threading.Thread(target=late); t.start()\nprint('early')" % flag
            )
            self.client.finish(first)
            second = self.client.start("open(%r, 'w').close(); t.join(); print('second')" % flag)
            self.assertEqual(self.client.finish(second).text(), "second\n")
            self.client.see(first, "early\nlate\n")

    def test_children_and_c_code(self):
        result = self.ok(
            "import os, subprocess\nprint('a')\nsubprocess.run(['echo', 'b'])\nprint('c')\n"
            "os.write(1, b'd\\n'); os.write(2, b'e\\n')\nNone"
        )
        self.client.see(result.msg_id, "d\n")
        text = result.text() if IS_GOKERNEL else "".join(
            m["content"]["text"] for m in self.client.iopub[result.msg_id]
            if m["msg_type"] == "stream" and m["content"]["name"] == "stdout"
        )
        if IS_GOKERNEL:  # in order, and before the reply
            self.assertEqual(text, "a\nb\nc\nd\n")
            self.assertEqual(result.text("stderr"), "e\n")
        else:
            self.assertEqual(sorted(text.split()), ["a", "b", "c", "d"])

    @unittest.skipUnless(IS_GOKERNEL, "ipykernel waits 200 ms")
    def test_output_is_timely_while_code_runs(self):
        msg_id = self.client.start("print('first')\nwhile True: pass")
        began = time.monotonic()
        self.client.see(msg_id, "first")
        self.assertLess(time.monotonic() - began, 1)
        self.kernel.manager.interrupt_kernel()
        self.client.finish(msg_id)


class Comms(KernelCase):
    ECHO = """
try:
    from comm import get_comm_manager
    manager = get_comm_manager()
except ImportError:
    manager = get_ipython().kernel.comm_manager

def opened(comm, message):
    @comm.on_msg
    def echo(message):
        buffers = [bytes(b)[::-1] for b in message.get('buffers', [])]
        comm.send({'echo': message['content']['data']}, buffers=buffers)
    comm.send({'opened': message['content']['data']})

manager.register_target('echo', opened)
"""

    def test_echo(self):
        self.ok(self.ECHO)
        msg_id = self.client.send("shell", "comm_open", {"comm_id": "c1", "target_name": "echo", "data": {"x": 1}})
        opened = self.client.finish(msg_id, reply=False).of("comm_msg")
        self.assertEqual([m["content"] for m in opened], [{"comm_id": "c1", "data": {"opened": {"x": 1}}}])

        info = self.client.request("shell", "comm_info_request", {"target_name": "echo"}).content
        self.assertEqual(info["comms"], {"c1": {"target_name": "echo"}})
        self.assertEqual(self.client.request("shell", "comm_info_request", {"target_name": "x"}).content["comms"], {})

        msg_id = self.client.send(
            "shell", "comm_msg", {"comm_id": "c1", "data": {"y": [1, None]}}, buffers=[b"abc", b"", b"\x00\x01"]
        )
        echoed = self.client.finish(msg_id, reply=False).of("comm_msg")[0]
        self.assertEqual(echoed["content"]["data"], {"echo": {"y": [1, None]}})
        self.assertEqual([bytes(b) for b in echoed["buffers"]], [b"cba", b"", b"\x01\x00"])

        self.client.finish(self.client.send("shell", "comm_close", {"comm_id": "c1", "data": {}}), reply=False)
        self.assertEqual(self.client.request("shell", "comm_info_request", {"target_name": "echo"}).content["comms"], {})

    def test_unknown_target_is_closed(self):
        msg_id = self.client.send("shell", "comm_open", {"comm_id": "c2", "target_name": "nobody", "data": {}})
        closed = self.client.finish(msg_id, reply=False).of("comm_close")
        self.assertEqual([m["content"]["comm_id"] for m in closed], ["c2"])

    def test_unknown_comm_is_ignored(self):
        for msg_type in ("comm_msg", "comm_close"):
            msg_id = self.client.send("shell", msg_type, {"comm_id": "nowhere", "data": {}})
            self.client.finish(msg_id, reply=False)
        self.assertEqual(self.ok("1").data(), "1")

    @not_plain
    def test_widgets(self):
        result = self.ok(
            "import ipywidgets as w\ns = w.IntSlider(value=3)\nseen = []\n"
            "s.observe(lambda c: seen.append(c['new']), 'value')\ns"
        )
        opens = result.of("comm_open")
        self.assertTrue(opens, result)
        self.assertTrue(all(m["content"]["target_name"] == "jupyter.widget" for m in opens))
        shown = (result.of("display_data") + result.of("execute_result"))[0]["content"]["data"]
        model = shown["application/vnd.jupyter.widget-view+json"]["model_id"]
        self.assertIn(model, [m["content"]["comm_id"] for m in opens])
        if self.ok("int(w.__version__.split('.')[0]) < 7").data() == "True":
            update = {"method": "backbone", "sync_data": {"value": 8}, "buffer_keys": []}
        else:
            update = {"method": "update", "state": {"value": 8}, "buffer_paths": []}
        msg_id = self.client.send("shell", "comm_msg", {"comm_id": model, "data": update})
        self.client.finish(msg_id, reply=False)
        self.assertEqual(self.ok("seen, s.value").data(), "([8], 8)")
