"""A kept session outlives its front: nothing is lost, nothing comes twice."""

import json
import os
import subprocess
import tempfile
import unittest
import uuid

from e2e import leftovers
from e2e.harness import GOKERNEL, Client, KernelCase, eventually, free_ports, only_gokernel


class Front:
    """`gokernel kernel --session NAME -f FILE`, without Jupyter between."""

    def __init__(self, directory, session, info=None, args=()):
        self.info = info or self.new_info()
        self.file = os.path.join(directory, "connection-%s.json" % self.info["shell_port"])
        with open(self.file, "w") as f:
            json.dump(self.info, f)
        python = os.environ.get("GOKERNEL_TEST_PYTHON", "python3")
        self.process = subprocess.Popen(
            [GOKERNEL, "kernel", "--session", session, "--python", python, *args, "-f", self.file], cwd=directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    @staticmethod
    def new_info():
        names = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
        return dict(
            zip(names, free_ports(5)), key=str(uuid.uuid4()), signature_scheme="hmac-sha256",
            transport="tcp", ip="127.0.0.1",
        )

    def kill(self):
        self.process.kill()
        self.process.wait()


@only_gokernel
class Persistence(KernelCase):
    @classmethod
    def setUpClass(cls):
        pass  # the fronts are made here

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.session = "t-" + uuid.uuid4().hex[:8]
        self.left = leftovers.Leftovers()
        self.addCleanup(self.close_session)

    def close_session(self):
        if self.left.rows():
            subprocess.run([GOKERNEL, "sessions", "close", self.session], check=True, timeout=30,
                           stdout=subprocess.DEVNULL)
        eventually(self.left.none, self.left.describe, 15)

    def front(self, **kw):
        front = Front(self.directory, self.session, **kw)
        self.addCleanup(lambda: front.process.poll() is None and front.kill())
        return front

    def connect(self, front, session=None):
        client = Client(front.info, session=session)
        self.addCleanup(client.close)
        return client

    PRINTS = (
        "import os, time\n"
        "for i in range(10**9):\n"
        "    print('line', i, flush=True)\n"
        "    time.sleep(0.005)\n"
        "    if os.path.exists(%r): break\n"
        "print('last', i)"
    )

    def check_survival(self, same_file):
        stop = os.path.join(self.directory, "stop")
        first = self.front()
        old = self.connect(first).ready()
        self.assertEqual(self.ok("kept = 41", client=old).status, "ok")
        running = old.start(self.PRINTS % stop)
        queued = [old.start("kept += 1; print('queued', kept)"), old.start("kept")]
        old.see(running, "line 5\n")
        # All three are in the agent's hands when a later request has been answered.
        old.request("control", "kernel_info_request")
        eventually(lambda: self.waiting() >= 2, "the agent has the queue")
        first.kill()
        before = dict.fromkeys(m["header"]["msg_id"] for m in self.drain(old))
        # It would come back by itself, with the identity that replies go to.
        old.close()

        second = self.front(info=first.info if same_file else None)
        new = self.connect(second, session=old.session.session).ready()
        # It still runs.
        line = self.text(new, running).count("\n") + 1
        new.wait(lambda: self.text(new, running).count("\n") > line + 20, "more lines")
        open(stop, "w").close()
        for msg_id in [running] + queued:
            new.finish(msg_id, timeout=30)
        self.assertEqual(new.iopub[queued[0]][-2]["content"]["text"], "queued 42\n")
        self.assertEqual([m["content"]["data"]["text/plain"] for m in new.iopub[queued[1]]
                          if m["msg_type"] == "execute_result"], ["42"])

        # Every line once for each msg_id, under its parent, in order.
        messages, seen = [], set()
        for client in (old, new):
            for m in client.iopub[running]:
                if m["msg_type"] == "stream" and m["header"]["msg_id"] not in seen:
                    seen.add(m["header"]["msg_id"])
                    messages.append(m)
        self.assertTrue(set(before) & {m["header"]["msg_id"] for m in old.iopub[running]})
        lines = "".join(m["content"]["text"] for m in messages).splitlines()
        self.assertEqual(lines[-1], "last %d" % (len(lines) - 2))
        self.assertEqual(lines[:-1], ["line %d" % i for i in range(len(lines) - 1)])
        self.assertEqual(self.ok("kept", client=new).data(), "42")

    def text(self, client, msg_id):
        return "".join(m["content"]["text"] for m in client.iopub[msg_id] if m["msg_type"] == "stream")

    def drain(self, client):
        """What is still on its way from a front that is dead."""
        while client.pump(0.2):
            pass
        return [m for c, m in client.log if c == "iopub"]

    def waiting(self):
        """How many requests wait in the session."""
        out = subprocess.run([GOKERNEL, "sessions", "info", self.session], check=True, timeout=30,
                             stdout=subprocess.PIPE, text=True).stdout
        (line,) = [line for line in out.splitlines() if line.startswith("requests waiting")]
        return int(line.split()[-1])

    def test_killed_front_and_a_new_connection_file(self):
        self.check_survival(same_file=False)

    def test_killed_front_and_the_same_connection_file(self):
        self.check_survival(same_file=True)

    def test_output_made_while_nobody_looked(self):
        first = self.front()
        old = self.connect(first).ready()
        flag = os.path.join(self.directory, "flag")
        running = old.start(
            "import os, time\nprint('in', flush=True)\nwhile not os.path.exists(%r): time.sleep(0.01)\n"
            "for i in range(5000): print(i)\nopen(%r + '.done', 'w').close()\n'end'" % (flag, flag)
        )
        old.see(running, "in")
        first.kill()
        open(flag, "w").close()
        eventually(lambda: os.path.exists(flag + ".done"), "the cell has run without a front")
        new = self.connect(self.front(), session=old.session.session).ready()
        result = new.finish(running)
        text = result.text()
        self.assertEqual(text[text.index("0\n"):], "".join("%d\n" % i for i in range(5000)))
        self.assertEqual((result.status, result.data()), ("ok", "'end'"))

    def test_detach_leaves_it_and_close_ends_it(self):
        first = self.front()
        old = self.connect(first).ready()
        self.ok("kept = 'yes'", client=old)
        old.send("control", "shutdown_request", {"restart": False})
        self.assertEqual(first.process.wait(10), 0)
        self.assertTrue(self.left.processes(), "a kept session has ended with its front")
        second = self.front()
        new = self.connect(second).ready()
        self.assertEqual(self.ok("kept", client=new).data(), "'yes'")
        second.process.terminate()
        second.process.wait(10)
        third = self.front()
        self.assertEqual(self.ok("kept", client=self.connect(third).ready()).data(), "'yes'")
        third.kill()
        subprocess.run([GOKERNEL, "sessions", "close", self.session], check=True, timeout=30,
                       stdout=subprocess.DEVNULL)
        eventually(self.left.none, self.left.describe, 15)

    def test_a_newer_front_fences_off_the_older(self):
        first = self.front()
        old = self.connect(first).ready()
        self.ok("kept = 1", client=old)
        second = self.front()
        new = self.connect(second).ready()
        self.assertEqual(self.ok("kept", client=new).data(), "1")
        # The older stays up, answers kernel_info and refuses executes with an error that says so.
        self.assertEqual(old.request("shell", "kernel_info_request").status, "ok")
        refused = old.run("kept = 2")
        self.assertEqual(refused.status, "error")
        self.assertIn("another kernel", refused.content["evalue"])
        self.assertIsNone(first.process.poll())
        self.assertEqual(self.ok("kept", client=new).data(), "1")

    def test_input_waits_for_who_was_asked(self):
        first = self.front()
        old = self.connect(first).ready()
        prompts = []
        old.on_input = prompts.append
        running = old.start("answer = input('Who? ')\nanswer", allow_stdin=True)
        old.wait(lambda: prompts, "input_request")
        first.kill()
        new = self.connect(self.front(), session=old.session.session)
        again = []
        new.on_input = lambda m: again.append(m) or "Ada"
        new.ready()
        self.assertEqual(new.finish(running).data(), "'Ada'")
        self.assertEqual(again[0]["header"]["msg_id"], prompts[0]["header"]["msg_id"])

    def test_restart_keeps_files(self):
        front = self.front()
        client = self.connect(front).ready()
        self.ok("x = 1\nopen('kept.txt', 'w').write('file')", client=client)
        client.send("control", "shutdown_request", {"restart": True})
        self.assertEqual(front.process.wait(10), 0)
        again = self.connect(self.front(info=front.info)).ready()
        self.assertEqual(again.run("x").content["ename"], "NameError")
        result = self.ok("open('kept.txt').read()", client=again)
        self.assertEqual((result.data(), result.content["execution_count"]), ("'file'", 2))


if not GOKERNEL:
    Persistence = unittest.skip("needs the binary in GOKERNEL")(Persistence)
