"""gokernel exec: on a terminal, killed, and beside others."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

from e2e import leftovers
from e2e.harness import GOKERNEL, TIMEOUT, eventually, need

pexpect = need("pexpect")

ERASE = "\r\x1b[K"
# The Python of exec is the first on PATH.
PATH = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]


def environment(**changes):
    env = dict(os.environ, PATH=PATH, TERM="xterm")
    env.pop("NO_COLOR", None)
    env.update(changes)
    return env


def rendered(text):
    """The lines that a terminal shows of text, in which a line is only ever drawn again."""
    return [line.rsplit(ERASE, 1)[-1].rstrip("\r") for line in text.split("\n")]


def gokernel(*args, status=0, **kw):
    done = subprocess.run([GOKERNEL, *args], env=environment(), timeout=TIMEOUT, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    assert done.returncode == status, "%s: status %d, want %d\n%s%s" % (args, done.returncode, status, done.stdout, done.stderr)
    return done.stdout


@unittest.skipUnless(GOKERNEL, "needs the gokernel binary")
class ExecCase(unittest.TestCase):
    def setUp(self):
        self.left = leftovers.Leftovers()

    def nothing_left(self, seconds=20):
        eventually(self.left.none, self.left.describe, seconds)

    def start(self, *args, **kw):
        """Starts exec without a terminal."""
        process = subprocess.Popen([GOKERNEL, "exec", *args], env=environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)

        def end():
            process.kill()
            process.communicate(timeout=TIMEOUT)

        self.addCleanup(end)
        return process

    def session(self, name):
        """A kept session of this test."""
        gokernel("exec", "--session", name, "--keep", "value = 41")
        self.addCleanup(subprocess.run, [GOKERNEL, "sessions", "close", name], env=environment(), timeout=TIMEOUT,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return name


class Terminal(ExecCase):
    def spawn(self, *args, **changes):
        child = pexpect.spawn(GOKERNEL, ["exec", *args], timeout=TIMEOUT, encoding="utf-8", dimensions=(24, 100),
                              env=environment(**changes))
        child.logfile_read = self.seen = Seen()
        self.addCleanup(child.close, force=True)
        return child

    def ends(self, child, status):
        child.expect(pexpect.EOF)
        child.close()
        self.assertEqual((child.exitstatus, child.signalstatus), (status, None), self.seen.text)

    def test_bar_is_drawn_and_cleared(self):
        child = self.spawn("import time; print('one', flush=True); time.sleep(1); print('tw', end='', flush=True); "
                           "time.sleep(1); print('o'); time.sleep(1); 'last'")
        child.expect(re.compile(r"\d\.\ds  executing"))
        self.ends(child, 0)
        self.assertEqual(rendered(self.seen.text), ["one", "two", "'last'", ""], repr(self.seen.text))
        self.assertGreater(self.seen.text.count(ERASE), 4, repr(self.seen.text))
        self.nothing_left()

    def test_bar_of_known_size(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "large")
            with open(path, "wb") as f:
                f.truncate(256 << 20)
            child = self.spawn("--file", "large=" + path, "import os; os.path.getsize('large')")
            child.expect(re.compile(r"\[=+ *\] \d+\.\ds  uploading  [\d.]+ [KMG]?i?B/256\.0 MiB  \d+%"))
            self.ends(child, 0)
        self.assertEqual(rendered(self.seen.text), [str(256 << 20), ""], repr(self.seen.text[-2000:]))

    def test_no_bar(self):
        for args, changes in ((["--progress", "none"], {}), ([], {"TERM": "dumb"})):
            with self.subTest(args=args, changes=changes):
                child = self.spawn(*args, "import time; time.sleep(1); print('done')", **changes)
                self.ends(child, 0)
                self.assertEqual(self.seen.text, "done\r\n")

    def test_traceback_has_colours(self):
        child = self.spawn("1/0")
        self.ends(child, 1)
        self.assertIn("ZeroDivisionError", self.seen.text)
        colours = "\x1b[" in self.seen.text.replace(ERASE, "")
        try:
            import IPython  # noqa: F401
        except ImportError:
            self.assertFalse(colours)
        else:
            self.assertTrue(colours, repr(self.seen.text))
        child = self.spawn("1/0", NO_COLOR="1")
        self.ends(child, 1)
        self.assertNotIn("\x1b[", self.seen.text.replace(ERASE, ""))

    def test_interrupt(self):
        child = self.spawn("print('in' + 'side', flush=True); import time; time.sleep(600)")
        child.expect("inside")
        child.sendintr()
        self.ends(child, 130)
        self.assertIn("KeyboardInterrupt", self.seen.text)
        self.nothing_left()

    def test_interrupt_of_a_busy_loop(self):
        child = self.spawn("print('in' + 'side', flush=True)\nwhile True: pass")
        child.expect("inside")
        child.sendintr()
        self.ends(child, 130)
        self.nothing_left()

    def test_interrupt_that_code_handles(self):
        child = self.spawn("import time\ntry:\n print('in' + 'side', flush=True); time.sleep(600)\n"
                           "except KeyboardInterrupt: print('cleaned ' + 'up')")
        child.expect("inside")
        child.sendintr()
        child.expect("cleaned up")
        self.ends(child, 130)
        self.nothing_left()

    def test_second_interrupt_ends_at_once(self):
        child = self.spawn("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
                           "print('in' + 'side', flush=True)\nwhile True: time.sleep(1)")
        child.expect("inside")
        child.sendintr()
        child.expect("once more ends at once")
        child.sendintr()
        self.ends(child, 130)
        self.nothing_left()

    def test_interrupt_while_code_is_typed(self):
        child = self.spawn("-")
        child.expect("Ctrl-D")
        child.sendline("print(1)")
        child.expect(re.escape("print(1)"))
        child.sendintr()
        self.ends(child, 130)
        self.nothing_left()

    def test_code_is_typed(self):
        child = self.spawn("-")
        child.expect("Ctrl-D")
        child.sendline("print('ty' + 'ped')")
        child.sendeof()
        child.expect("typed")
        self.ends(child, 0)

    def test_no_code(self):
        child = self.spawn()
        child.expect("there is no code")
        self.ends(child, 2)

    def test_input(self):
        child = self.spawn("import getpass\nname = input('Who? ')\nword = getpass.getpass('Word? ')\n"
                           "print(name[::-1], word[::-1])\ntry: input('More? ')\nexcept EOFError: print('no ' + 'more')")
        child.expect(re.escape("Who? "))
        child.sendline("Ada Ü")
        child.expect(re.escape("Word? "))
        child.sendline("secret")
        child.expect("Ü adA terces")
        child.expect(re.escape("More? "))
        child.sendeof()
        child.expect("no more")
        self.ends(child, 0)
        self.assertNotIn("secret", self.seen.text)

    def test_interrupt_of_input(self):
        child = self.spawn("import getpass; getpass.getpass('Word? ')")
        child.expect(re.escape("Word? "))
        child.sendintr()
        self.ends(child, 130)
        self.nothing_left()

    def test_hidden_input_is_shown_again(self):
        shell = pexpect.spawn("/bin/sh", timeout=TIMEOUT, encoding="utf-8", env=environment(PS1="$ "))
        self.addCleanup(shell.close, force=True)
        shell.sendline("\"%s\" exec --progress none \"import getpass; getpass.getpass('Wo' + 'rd? ')\"" % GOKERNEL)
        shell.expect(re.escape("Word? "))
        shell.sendintr()
        shell.expect(re.escape("$ "))
        shell.sendline("echo $?; stty -a")
        shell.expect(re.compile(r"\b130\b"))
        shell.expect(re.compile(r"[ ;]echo[ ;]"))
        shell.sendline("exit")
        shell.expect(pexpect.EOF)


class Seen:
    """All that came from a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


class Streams(ExecCase):
    def test_output_comes_as_it_is_written(self):
        with tempfile.TemporaryDirectory() as directory:
            go_on = os.path.join(directory, "go")
            process = self.start("import os, sys, time\nprint('first', flush=True)\n"
                                 "while not os.path.exists(%r): time.sleep(0.01)\nprint('second', file=sys.stderr)" % go_on)
            self.assertEqual(process.stdout.readline(), "first\n")
            open(go_on, "w").close()
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual((process.returncode, out, err), (0, "", "second\n"))

    def test_order_of_much(self):
        out = gokernel("exec", "for i in range(100_000): print(i)\n'end'")
        self.assertEqual(out, "".join("%d\n" % i for i in range(100_000)) + "'end'\n")

    def test_reader_goes(self):
        process = self.start("import time\nwhile True: print('line'); time.sleep(0.01)")
        self.assertEqual(process.stdout.readline(), "line\n")
        process.stdout.close()
        process.wait(TIMEOUT)
        self.assertEqual(process.returncode, -signal.SIGPIPE)
        self.nothing_left()

    def test_full_device(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([GOKERNEL, "exec", "print('x')"], env=environment(), stdin=subprocess.DEVNULL,
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("no space left", done.stderr)
        self.nothing_left()

    def test_missing_interpreter(self):
        # peers: a run that cannot start says so, and does not hang
        done = subprocess.run([GOKERNEL, "exec", "--json", "1"], env=environment(PATH="/nonexistent"), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("python3", done.stderr)
        self.assertFalse(json.loads(done.stdout)["success"])
        self.nothing_left()


class Signals(ExecCase):
    def ended_by(self, number):
        with tempfile.TemporaryDirectory() as directory:
            printed = os.path.join(directory, "printed")
            process = self.start("--json", "import time\nprint('in', flush=True)\nopen(%r, 'w').close()\ntime.sleep(600)" % printed)
            eventually(lambda: os.path.exists(printed), "the code has printed", TIMEOUT)
            self.assertTrue(self.left.processes() and self.left.files() and self.left.rows(), "the test is blind")
            process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT)
        return process.returncode, out, err

    def test_what_was_collected_is_printed(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                status, out, err = self.ended_by(number)
                self.assertEqual(status, 130, err)
                document = json.loads(out)
                self.assertEqual((document["success"], document["stdout"]), (False, "in\n"))
                self.nothing_left()

    def test_killed(self):
        status, _, _ = self.ended_by(signal.SIGKILL)
        self.assertEqual(status, -signal.SIGKILL)
        self.nothing_left()

    def test_killed_with_a_kept_session(self):
        # peers D8: another process finds the session, what it knows, and goes on after its code
        name = self.session("survivor")
        with tempfile.TemporaryDirectory() as directory:
            go_on, done = os.path.join(directory, "go"), os.path.join(directory, "done")
            process = self.start("--session", name, "import os, time\nprint('in', flush=True)\n"
                                 "while not os.path.exists(%r): time.sleep(0.01)\nvalue += 1\nopen(%r, 'w').close()" % (go_on, done))
            self.assertEqual(process.stdout.readline(), "in\n")
            process.kill()
            process.wait(TIMEOUT)
            self.assertEqual(gokernel("sessions", "info", name, "--json").count('"busy"'), 1)
            open(go_on, "w").close()
            self.assertEqual(gokernel("exec", "--session", name, "value, os.path.exists(%r)" % done), "(42, True)\n")


class Beside(ExecCase):
    def test_two_processes_take_turns(self):
        # peers D19
        name = self.session("shared")
        with tempfile.TemporaryDirectory() as directory:
            go_on = os.path.join(directory, "go")
            first = self.start("--session", name, "import os, time\nprint('in', flush=True)\n"
                               "while not os.path.exists(%r): time.sleep(0.01)\nvalue = 'first'" % go_on)
            self.assertEqual(first.stdout.readline(), "in\n")
            second = self.start("--session", name, "value")
            waiting = "requests waiting"
            eventually(lambda: re.search(waiting + r" +1\n", gokernel("sessions", "info", name)), "the second one waits")
            open(go_on, "w").close()
            out, err = second.communicate(timeout=TIMEOUT)
            self.assertEqual((second.returncode, out), (0, "'first'\n"), err)
            first.communicate(timeout=TIMEOUT)
            self.assertEqual(first.returncode, 0)

    def test_interrupt_of_one_that_waits(self):
        name = self.session("queue")
        with tempfile.TemporaryDirectory() as directory:
            go_on = os.path.join(directory, "go")
            first = self.start("--session", name, "import os, time\nprint('in', flush=True)\n"
                               "while not os.path.exists(%r): time.sleep(0.01)\nprint('out')" % go_on)
            self.assertEqual(first.stdout.readline(), "in\n")
            second = self.start("--session", name, "value = 'second'")
            eventually(lambda: re.search(r"requests waiting +1\n", gokernel("sessions", "info", name)), "the second one waits")
            second.send_signal(signal.SIGINT)
            second.communicate(timeout=TIMEOUT)
            self.assertEqual(second.returncode, 130)
            open(go_on, "w").close()
            out, err = first.communicate(timeout=TIMEOUT)
            self.assertEqual((first.returncode, out), (0, "out\n"), err)
            self.assertEqual(gokernel("exec", "--session", name, "value"), "41\n")
