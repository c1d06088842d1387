"""Nothing is left, however a kernel ends."""

import os
import signal
import subprocess
import sys
import unittest

from e2e import leftovers
from e2e.harness import Kernel, KernelCase, eventually, only_gokernel

CELLS = {
    "idle": "1",
    "spinning": "print('in', flush=True)\nwhile True: pass",
    "with children": "import subprocess, time\np = subprocess.Popen(['sleep', '3600'])\nprint('in', flush=True)\ntime.sleep(3600)",
    "with a daemon of its own": "import subprocess\n"
    "p = subprocess.Popen('sleep 3600 & sleep 3600', shell=True, start_new_session=True)",
    "asleep with signals off": "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\n"
    "print('in', flush=True)\nwhile True: time.sleep(1)",
}


def only(found, what):
    assert len(found) == 1, "%s: %s, want one" % (what, found)
    return next(iter(found))


@only_gokernel
class Ends(unittest.TestCase):
    def each(self, end, seconds=15):
        for name, code in CELLS.items():
            with self.subTest(cell=name):
                left = leftovers.Leftovers()
                kernel = Kernel()
                self.addCleanup(kernel.stop, now=True)
                client = kernel.client()
                msg_id = client.start(code)
                if "'in'" in code:
                    client.see(msg_id, "in")
                else:
                    client.finish(msg_id)
                self.assertTrue(left.processes() and left.files() and left.rows(),
                                "the test is blind: " + left.describe())
                process = kernel.manager.provisioner.process  # which the manager forgets
                end(kernel, client)
                process.wait(20)
                eventually(left.none, left.describe, seconds)

    def test_shutdown_request(self):
        self.each(lambda kernel, client: client.send("control", "shutdown_request", {"restart": False}))

    def test_jupyter_shuts_down(self):
        self.each(lambda kernel, client: kernel.manager.shutdown_kernel())

    def test_sigterm(self):
        self.each(lambda kernel, client: os.kill(kernel.pid, signal.SIGTERM))

    def test_sigkill_of_the_front(self):
        self.each(lambda kernel, client: os.kill(kernel.pid, signal.SIGKILL))

    def test_sighup(self):
        self.each(lambda kernel, client: os.kill(kernel.pid, signal.SIGHUP))


@only_gokernel
class Parts(KernelCase):
    """One part dies; the kernel tells, goes on, and in the end nothing is left."""

    @classmethod
    def setUpClass(cls):
        pass  # each has a kernel of its own

    def setUp(self):
        self.left = leftovers.Leftovers()
        self.kernel = Kernel()
        self.addCleanup(self.kernel.stop, now=True)
        self.client = self.kernel.client()
        self.agent = only(set(leftovers.agents()) & set(self.left.processes()), "agents")
        self.runner = only({p for p in leftovers.runners() if p in self.left.processes()}, "runners")

    def end(self):
        self.kernel.stop()
        eventually(self.left.none, self.left.describe, 15)

    def test_agent_killed(self):
        self.ok("gone = 1")
        msg_id = self.client.start("print('in', flush=True)\nwhile True: pass")
        queued = self.client.start("2")
        self.client.see(msg_id, "in")
        os.kill(self.agent, signal.SIGKILL)
        result = self.client.finish(msg_id, timeout=20)
        self.assertEqual((result.status, result.content["ename"]), ("error", "AgentDied"))
        self.assertEqual(self.client.finish(queued, timeout=20).status, "aborted")
        # The spinning language process does not outlive its agent.
        eventually(lambda: not os.path.exists("/proc/%d" % self.runner), "the runner has ended", 5)
        self.assertEqual(self.client.run("gone").content["ename"], "NameError")
        self.assertEqual(self.ok("6 * 7").data(), "42")
        self.end()

    def test_runner_killed(self):
        os.kill(self.runner, signal.SIGKILL)
        eventually(lambda: not os.path.exists("/proc/%d" % self.runner), "the runner has ended", 5)
        self.client.wait(
            lambda: [m for _, m in self.client.log if m["content"].get("execution_state") == "restarting"],
            "restarting",
        )
        self.assertEqual(self.ok("6 * 7").data(), "42")
        self.end()

    def test_agent_and_front_killed(self):
        self.client.start("while True: pass")
        os.kill(self.agent, signal.SIGKILL)
        os.kill(self.kernel.pid, signal.SIGKILL)
        self.kernel.manager.provisioner.process.wait(10)
        eventually(lambda: not self.left.processes(), self.left.describe, 15)
        # Nobody is there to clean up: the next gokernel does.
        next_one = Kernel()
        self.addCleanup(next_one.stop, now=True)
        next_one.client().run("1")
        next_one.stop()
        eventually(self.left.none, self.left.describe, 15)

    def test_parent_is_not_passed_on(self):
        """An ipykernel in a pid namespace would end at once with it."""
        self.assertNotIn(b"JPY_PARENT_PID", b"\n".join(leftovers.environ(self.runner)))
        self.end()


@only_gokernel
class Parent(unittest.TestCase):
    """AGENT 1, JPY_PARENT_PID: a kernel ends with the process that started it."""

    def test_parent_dies(self):
        left = leftovers.Leftovers()
        starter = subprocess.Popen(
            [sys.executable, "-c",
             "from e2e.harness import Kernel\nk = Kernel()\nk.client().run('1')\nprint('up', flush=True)\ninput()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.addCleanup(starter.communicate)
        self.addCleanup(starter.kill)
        self.assertEqual(starter.stdout.readline(), "up\n")
        self.assertTrue(left.processes())
        starter.kill()
        starter.wait()
        eventually(left.none, left.describe, 20)
