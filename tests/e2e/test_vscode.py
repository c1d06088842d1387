"""VS Code's raw kernels: it starts the process itself, and kills it without a word.

Written from what the extension does (2026.6): its connection file and argv, its
nudging, its silent set-up cells, its way of queueing, completing and disposing.
"""

import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
import unittest
import uuid

from jupyter_client.kernelspec import KernelSpecManager

from e2e.harness import KERNEL_NAME, Client, eventually, free_ports, only_gokernel
from e2e.leftovers import Leftovers


class RawKernel:
    """A kernel as VS Code starts it. Rewrite is how it spells the connection file in argv."""

    def __init__(self, directory, rewrite="--f="):
        self.directory = directory
        shell, iopub, stdin, hb, control = free_ports(5)
        self.info = {
            "shell_port": shell, "iopub_port": iopub, "stdin_port": stdin, "hb_port": hb, "control_port": control,
            "key": str(uuid.uuid4()), "signature_scheme": "hmac-sha256", "transport": "tcp", "ip": "127.0.0.1",
            "kernel_name": KERNEL_NAME,
        }
        self.file = os.path.join(directory, "kernel-v3%s.json" % secrets.token_hex(16))
        with open(self.file, "w") as f:
            json.dump(self.info, f)
        spec = KernelSpecManager().get_kernel_spec(KERNEL_NAME)
        env = dict(os.environ)
        env.update(spec.env)
        self.argv = self.rewritten(list(spec.argv), rewrite)
        self.process = subprocess.Popen(
            self.argv, cwd=directory, env=env,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    def rewritten(self, argv, rewrite):
        at = next(i for i, word in enumerate(argv) if "{connection_file}" in word)
        if rewrite == "as is":
            argv[at] = argv[at].replace("{connection_file}", self.file)
            return argv
        # language "python": "-f {connection_file}" is cut out, "--f=<file>" appended.
        cut = argv[:at - 1] + argv[at + 1:] if argv[at] == "{connection_file}" else argv[:at] + argv[at + 1:]
        quote = '"' if " " in self.file else ""
        return cut + [rewrite + quote + self.file + quote]

    def dispose(self):
        """What VS Code does to end or restart: it kills the process. No shutdown_request."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


SETUP = [
    # What it runs before the first cell; each silent or without history.
    ("import os as _VSCODE_os\nimport sys as _VSCODE_sys\nimport builtins as _VSCODE_builtins\n"
     "if _VSCODE_os.path.exists(_VSCODE_os.getcwd()):\n"
     "    if _VSCODE_os.getcwd() not in _VSCODE_sys.path:\n        _VSCODE_sys.path.append(_VSCODE_os.getcwd())\n"
     "del _VSCODE_os, _VSCODE_sys, _VSCODE_builtins", True),
    ("try:\n    import matplotlib\n    import matplotlib.pyplot as plt\nexcept Exception:\n    pass", True),
    ("def __vscode_helper():\n    import sys, json\n    return json.dumps({'executable': sys.executable, "
     "'version': list(sys.version_info[:3])})\nprint(__vscode_helper())\ndel __vscode_helper", False),
]


class VSCode(unittest.TestCase):
    def start(self, directory_name="work", rewrite="--f="):
        base = tempfile.TemporaryDirectory()
        self.addCleanup(base.cleanup)
        directory = os.path.join(base.name, directory_name)
        os.mkdir(directory)
        kernel = RawKernel(directory, rewrite)
        self.addCleanup(lambda: kernel.process.poll() is None and kernel.dispose())
        return kernel

    def connect(self, kernel):
        """Waits for the ports, then nudges on control and shell every 500 ms."""
        client = Client(kernel.info)
        self.addCleanup(client.close)
        client.ready(30)
        # It goes on only when the kernel says idle.
        client.wait(
            lambda: any(m["content"].get("execution_state") == "idle" for c, m in client.log if c == "iopub"), "idle"
        )
        return client

    def execute(self, client, code, silent=False, store_history=True):
        return client.start(
            code, silent=silent, store_history=store_history, stop_on_error=False, allow_stdin=True,
            metadata={"cellId": "vscode-notebook-cell:/x.ipynb#W0sZmlsZQ%3D%3D"},
        )

    def test_a_day(self):
        kernel = self.start()
        client = self.connect(kernel)
        for code, silent in SETUP:
            result = client.finish(self.execute(client, code, silent=silent, store_history=False))
            self.assertEqual(result.status, "ok", result)
            if silent:
                self.assertEqual(result.outputs, [])
            else:
                self.assertIn("executable", result.text())
        # It looks at the widgets' target and at who it talks to again.
        self.assertEqual(client.request("shell", "comm_info_request", {"target_name": "jupyter.widget"}).status, "ok")
        self.assertEqual(client.request("shell", "kernel_info_request").status, "ok")

        first = client.finish(self.execute(client, "import os\nos.getcwd()"))
        self.assertEqual(first.data(), repr(os.path.realpath(kernel.directory)))
        self.assertEqual(first.content["execution_count"], 1, "set-up cells have counted")
        self.assertEqual(first.reply["parent_header"]["msg_id"], first.msg_id)

        # "Run All" with an error in it: it stops its own queue, and so says stop_on_error false.
        queued = [self.execute(client, c) for c in ("x = 1", "1/0", "x + 1")]
        results = [client.finish(m) for m in queued]
        self.assertEqual([r.status for r in results], ["ok", "error", "ok"])
        self.assertEqual(results[2].data(), "2")

        # Completion with the whole cell, then help on the item.
        cell = "text = 'abc'\ntext.upp\n# more below\n"
        reply = client.request(
            "shell", "complete_request", {"code": cell, "cursor_pos": cell.index(".upp") + 4}
        ).content
        self.assertTrue(any(m.endswith("upper") for m in reply["matches"]), reply)
        start, end = reply["cursor_start"], reply["cursor_end"]
        self.assertTrue(0 <= start < end == cell.index(".upp") + 4)
        types = reply["metadata"].get("_jupyter_types_experimental", [])
        self.assertTrue(all({"start", "end", "text", "type"} <= set(t) for t in types), types)
        found = client.request(
            "shell", "inspect_request", {"code": "str.upper", "cursor_pos": 9, "detail_level": 0}
        ).content
        self.assertTrue(found["found"])

        # input() in a box.
        client.on_input = lambda m: "typed"
        self.assertEqual(client.finish(self.execute(client, "input('?')")).data(), "'typed'")
        kernel.dispose()

    def test_quoted_path_with_blanks(self):
        kernel = self.start(directory_name="My Note books")
        client = self.connect(kernel) if KERNEL_NAME.startswith("gokernel") else None
        if client is None:
            self.skipTest("ipykernel reads the quotes as part of the name")
        self.assertEqual(client.run("6 * 7").data(), "42")
        kernel.dispose()

    def test_other_spellings(self):
        for rewrite in ("as is", "--f=", "-f=") if KERNEL_NAME.startswith("gokernel") else ("as is", "--f="):
            with self.subTest(rewrite):
                kernel = self.start(rewrite=rewrite)
                self.assertEqual(self.connect(kernel).run("1").data(), "1")
                kernel.dispose()

    def test_interrupt(self):
        kernel = self.start()
        client = self.connect(kernel)
        msg_id = self.execute(client, "print('in')\nimport time\ntime.sleep(60)")
        client.see(msg_id, "in")
        if KernelSpecManager().get_kernel_spec(KERNEL_NAME).interrupt_mode == "message":
            client.send("control", "interrupt_request")
        else:
            # It signals the process and its children.
            kernel.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        self.assertEqual(client.finish(msg_id).content["ename"], "KeyboardInterrupt")
        self.assertLess(time.monotonic() - began, 3)
        kernel.dispose()

    @only_gokernel
    def test_disposal_leaves_nothing(self):
        """A killed front takes its session along within 10 s, busy or not."""
        for code in ("x = 1", "print('in')\nwhile True: pass", "print('in')\nimport subprocess\nsubprocess.run(['sleep', '63.5'])"):
            with self.subTest(code):
                leftovers = Leftovers()
                kernel = self.start()
                client = self.connect(kernel)
                msg_id = self.execute(client, code)
                if "in" in code:
                    client.see(msg_id, "in")
                else:
                    client.finish(msg_id)
                self.assertTrue(leftovers.processes(), "no process is seen while the kernel lives: the test is blind")
                client.close()
                kernel.dispose()
                eventually(leftovers.none, leftovers.describe, 15)

    @only_gokernel
    def test_restart_is_kill_and_start(self):
        """An owned front whose connection file an earlier one had begins afresh."""
        kernel = self.start()
        client = self.connect(kernel)
        client.run("kept = 1")
        kernel.dispose()
        client.close()
        kernel.process = subprocess.Popen(
            kernel.argv, cwd=kernel.directory, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        again = self.connect(kernel)
        self.assertEqual(again.run("kept").content["ename"], "NameError")
        self.assertEqual(again.run("2").content["execution_count"], 2)
        kernel.dispose()
