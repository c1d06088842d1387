"""What kernels of this test run have left on the machine."""

import os
import sqlite3
import stat

STATE = os.path.join(os.environ.get("XDG_STATE_HOME", ""), "gokernel")


def environ(pid):
    with open("/proc/%d/environ" % pid, "rb") as f:
        return f.read().split(b"\0")


def command(pid):
    with open("/proc/%d/cmdline" % pid, "rb") as f:
        return f.read().replace(b"\0", b" ").decode(errors="replace").strip()


def processes():
    """Gokernel's processes that belong to this run's state directory, and what they started.

    All inherit XDG_STATE_HOME, which is this run's own; GOKERNEL_SESSION marks
    what an agent started.
    """
    ours = ("XDG_STATE_HOME=%s" % os.environ["XDG_STATE_HOME"]).encode()
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            variables = environ(pid)
            marked = any(v.startswith(b"GOKERNEL_SESSION=") for v in variables)
            program = os.path.basename(os.readlink("/proc/%d/exe" % pid))
            if ours in variables and (marked or program.startswith("gokernel")):
                found[pid] = command(pid)
        except OSError:
            continue  # it has ended, or is another user's
    return found


def agents():
    return {pid: c for pid, c in processes().items() if c.split()[1:2] == ["agent"]}


def runners():
    """Language processes: marked children of agents."""
    found = {}
    for pid in processes():
        try:
            with open("/proc/%d/stat" % pid) as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            if parent in agents():
                found[pid] = command(pid)
        except OSError:
            continue
    return found


def files():
    """What there is of sessions on disk, and sockets anywhere below the state directory."""
    found = set()
    for base, directories, names in os.walk(STATE):
        for name in names + directories:
            path = os.path.join(base, name)
            try:
                is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
            except OSError:
                continue  # gone meanwhile
            if is_socket or os.path.relpath(path, STATE).startswith("sessions" + os.sep):
                found.add(path)
    return found


def rows():
    """Sessions in the registry, but for kept ones that have ended: those it remembers."""
    path = os.path.join(STATE, "registry.db")
    if not os.path.exists(path):
        return set()
    db = sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=10)
    try:
        return set(db.execute("SELECT id, name, state FROM sessions WHERE state <> 'ended' OR kept = 0"))
    finally:
        db.close()


class Leftovers:
    """Remembers what there is, and tells what has come since."""

    def __init__(self):
        self.before = (set(processes()), files(), rows())

    def processes(self):
        return {p: c for p, c in processes().items() if p not in self.before[0]}

    def files(self):
        return files() - self.before[1]

    def rows(self):
        return rows() - self.before[2]

    def none(self):
        return not (self.processes() or self.files() or self.rows())

    def describe(self):
        return "left: processes %s, files %s, rows %s" % (self.processes(), sorted(self.files()), sorted(self.rows()))
