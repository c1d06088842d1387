"""jupyter console, driven through a terminal."""

import os
import re
import sys
import unittest

from e2e.harness import KERNEL_NAME, TIMEOUT, need

pexpect = need("pexpect")
need("jupyter_console")


class Console(unittest.TestCase):
    def start(self):
        child = pexpect.spawn(
            sys.executable,
            ["-m", "jupyter_console", "--kernel", KERNEL_NAME, "--simple-prompt", "--ZMQTerminalInteractiveShell.banner="],
            timeout=TIMEOUT, encoding="utf-8", dimensions=(50, 200), env=dict(os.environ, TERM="dumb"),
        )
        self.addCleanup(child.close, force=True)
        child.expect(r"In \[1\]: ")
        return child

    def cell(self, child, code, want):
        child.sendline(code)
        child.expect(want)

    def test_session(self):
        child = self.start()
        self.cell(child, "6 * 7", r"Out\[1\]: .*42")
        child.expect(r"In \[2\]: ")
        self.cell(child, "print('he' + 'llo')", r"\r\nhello\r\n")
        child.expect(r"In \[3\]: ")
        self.cell(child, "1/0", "ZeroDivisionError")
        child.expect(r"In \[4\]: ")
        child.sendline("name = input('Who? ')")
        child.expect(r"Who\? ")
        child.sendline("Ada")
        child.expect(r"In \[5\]: ")
        self.cell(child, "name[::-1]", r"Out\[5\]: .*'adA'")
        child.expect(r"In \[6\]: ")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual((child.exitstatus, child.signalstatus), (0, None))

    def test_interrupt(self):
        child = self.start()
        child.sendline("print('runn' + 'ing', flush=True); import time; time.sleep(60)")
        child.expect("\r\nrunning")
        child.sendintr()
        child.expect("KeyboardInterrupt")
        child.expect(re.compile(r"In \[\d+\]: "))
        self.cell(child, "2 + 2", r"Out\[\d+\]: .*4")
        child.sendline("exit")
        child.expect(pexpect.EOF)
