"""A full disk under the state directory: the kernel lives, and says what it can."""

import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

from e2e.harness import GOKERNEL, Kernel, eventually, only_gokernel

SIZE = 2 << 20  # bytes of the disk
FLOOD = 4 * SIZE


def mount(directory):
    """Mounts a tiny file system of its own, or skips the test."""
    if not sys.platform.startswith("linux"):
        raise unittest.SkipTest("tmpfs is mounted on Linux only")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d,mode=0700" % SIZE, "tmpfs", directory],
                          capture_output=True, text=True)
    if done.returncode:
        raise unittest.SkipTest("no file system can be mounted: %s" % (done.stderr.strip() or done.returncode))


@only_gokernel
class FullDisk(unittest.TestCase):
    def setUp(self):
        self.state = tempfile.mkdtemp(prefix="gk-")
        self.addCleanup(os.rmdir, self.state)
        mount(self.state)
        # An agent that a failed test has left is about to end.
        self.addCleanup(eventually, lambda: not subprocess.run(["umount", self.state], capture_output=True).returncode,
                        "umount " + self.state)
        self.env = dict(os.environ, XDG_STATE_HOME=self.state)
        self.kernel = Kernel(env=self.env)
        self.addCleanup(self.kernel.stop, now=True)
        self.client = self.kernel.client()

    def sessions(self, *args):
        done = subprocess.run([GOKERNEL, "sessions", *args, "--json"], env=self.env, capture_output=True, text=True,
                              timeout=20)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def free(self):
        disk = os.statvfs(self.state)
        return disk.f_bavail * disk.f_frsize

    def fill(self):
        """Takes what is left of the disk."""
        with open(os.path.join(self.state, "filler"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass  # it is full now
        self.assertEqual(self.free(), 0)

    def flood(self):
        result = self.client.run("for i in range(%d): print('x' * 1023)" % (FLOOD // 1024))
        self.assertEqual(result.status, "ok", result.reply)
        return result.text()

    def told(self):
        """How often the agent's log says that the journal cannot be written."""
        (log,) = glob.glob(os.path.join(self.state, "gokernel", "sessions", "*", "agent.log"))
        with open(log) as f:
            return f.read().count("no space left on device")

    def still_serves(self):
        result = self.client.run("6 * 7")
        self.assertEqual((result.status, result.data()), ("ok", "42"))
        self.assertEqual(self.client.request("control", "kernel_info_request", timeout=10).status, "ok")
        listed = self.sessions("list")
        self.assertEqual(len(listed), 1, listed)
        self.assertEqual(self.sessions("info", listed[0]["session_id"])["state"], "idle")

    def ends_without_leftovers(self):
        self.kernel.stop()
        eventually(lambda: not os.listdir(os.path.join(self.state, "gokernel", "sessions")),
                   lambda: "left: %s" % os.listdir(os.path.join(self.state, "gokernel", "sessions")), 15)

    def test_output_fills_it(self):
        self.assertEqual(self.told(), 0)
        self.assertEqual(self.flood(), ("x" * 1023 + "\n") * (FLOOD // 1024))
        self.assertEqual(self.told(), 1)
        self.still_serves()
        self.ends_without_leftovers()

    def test_full_before(self):
        self.fill()
        self.assertEqual(self.flood(), ("x" * 1023 + "\n") * (FLOOD // 1024))
        self.still_serves()
        os.remove(os.path.join(self.state, "filler"))
        self.still_serves()
        self.ends_without_leftovers()

    def test_end_while_full(self):
        self.fill()
        self.still_serves()
        self.ends_without_leftovers()
        self.assertEqual(self.sessions("list"), [])
