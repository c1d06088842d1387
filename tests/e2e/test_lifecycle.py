"""Kernels begin, begin again and end."""

import os
import signal
import time

from e2e.harness import Kernel, KernelCase, eventually, in_threads, only_gokernel


class Restart(KernelCase):
    def check(self, now):
        self.ok("kept = 1")
        old = self.kernel.pid
        info = dict(self.kernel.info)
        self.kernel.manager.restart_kernel(now=now)
        self.assertEqual(self.kernel.info["shell_port"], info["shell_port"])
        client = self.kernel.client()
        result = client.run("kept")
        self.assertEqual((result.status, result.content.get("ename")), ("error", "NameError"))
        self.assertEqual(result.content["execution_count"], 1)
        eventually(lambda: not os.path.exists("/proc/%d" % old) or self.kernel.pid == old, "the old process has ended")

    def test_restart(self):
        self.check(now=False)

    def test_restart_now(self):
        self.check(now=True)

    def test_restart_while_a_cell_runs(self):
        msg_id = self.client.start("print('in')\nwhile True: pass")
        self.client.see(msg_id, "in")
        began = time.monotonic()
        self.kernel.manager.restart_kernel(now=False)
        self.assertLess(time.monotonic() - began, 12)
        self.assertEqual(self.kernel.client().run("1").content["execution_count"], 1)


class Shutdown(KernelCase):
    def test_reply_and_end(self):
        for channel in ("control", "shell"):
            with self.subTest(channel), Kernel() as kernel:
                client = kernel.client()
                msg_id = client.send(channel, "shutdown_request", {"restart": False})
                client.wait(lambda: msg_id in client.replies, "shutdown_reply")
                reply = client.replies[msg_id][0]
                self.assertEqual(reply["msg_type"], "shutdown_reply")
                self.assertEqual((reply["content"]["status"], reply["content"]["restart"]), ("ok", False))
                self.assertEqual(kernel.manager.provisioner.process.wait(10), 0)

    @only_gokernel
    def test_told_on_iopub(self):
        with Kernel() as kernel:
            client = kernel.client()
            client.send("control", "shutdown_request", {"restart": False})
            client.wait(lambda: [m for c, m in client.log if (c, m["msg_type"]) == ("iopub", "shutdown_reply")],
                        "shutdown_reply on iopub")

    def test_exit_in_a_cell(self):
        with Kernel() as kernel:
            client = kernel.client()
            result = client.run("exit()")
            self.assertEqual(result.status, "ok", result)
            self.assertEqual([p["source"] for p in result.content["payload"]], ["ask_exit"])


class Many(KernelCase):
    def test_twenty_at_once(self):
        kernels = []

        def one(i):
            kernel = Kernel()
            kernels.append(kernel)
            client = kernel.client()
            assert client.run("n = %d\nn * n" % i).data() == str(i * i)

        began = time.monotonic()
        try:
            in_threads([lambda i=i: one(i) for i in range(20)])
            print("20 kernels in %.1f s" % (time.monotonic() - began), end=" ", flush=True)
        finally:
            in_threads([k.stop for k in kernels])


class Death(KernelCase):
    """A language process that dies is reported in its cell, and there is a new one."""

    CAUSES = {
        "os._exit": ("import os; os._exit(3)", "3"),
        "segfault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        "kill": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        "abort": ("import os; os.abort()", "SIGABRT"),
    }

    @only_gokernel
    def test_causes(self):
        for name, (code, cause) in self.CAUSES.items():
            with self.subTest(name):
                before = len(self.client.log)
                msg_id = self.client.start("gone = 1\nprint('before', flush=True)\n" + code)
                queued = self.client.start("'not run'")
                result = self.client.finish(msg_id)
                self.assertEqual((result.status, result.text()), ("error", "before\n"))
                self.assertIn(cause, result.content["evalue"])
                self.assertEqual(len(result.of("error")), 1)
                self.assertEqual(self.client.finish(queued).status, "aborted")

                def states():
                    return [m["content"]["execution_state"] for c, m in self.client.log[before:]
                            if m["msg_type"] == "status"]

                self.client.wait(lambda: "starting" in states(), "status starting")
                self.assertLess(states().index("restarting"), states().index("starting"))
                self.assertEqual(self.client.run("gone").content["ename"], "NameError")

    @only_gokernel
    def test_killed_from_outside_while_idle(self):
        pid = int(self.ok("import os; os.getpid()").data())
        os.kill(pid, 9)
        self.client.wait(
            lambda: [m for _, m in self.client.log if m["content"].get("execution_state") == "starting"], "starting"
        )
        self.assertNotEqual(int(self.ok("import os; os.getpid()").data()), pid)


class Front(KernelCase):
    def test_sigint_to_the_front_is_no_end(self):
        """A terminal sends it to the whole group."""
        os.kill(self.kernel.pid, signal.SIGINT)
        # A signal has no order with what a client sends: it may hit the first cells.
        eventually(lambda: self.client.run("1").status == "ok", "alive")
        self.assertEqual(self.ok("1").data(), "1")
        self.assertIsNone(self.kernel.manager.provisioner.process.poll())
