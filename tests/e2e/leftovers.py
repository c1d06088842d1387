"""What kernels of this test run have left on the machine."""

import os
import sqlite3

STATE = os.path.join(os.environ.get("XDG_STATE_HOME", ""), "gokernel")


def processes():
    """Processes of gokernel's that belong to this run's state directory.

    Fronts, agents and whatever they started inherit XDG_STATE_HOME, which is
    this run's own; GOKERNEL_SESSION marks what an agent started.
    """
    found = {}
    ours = ("XDG_STATE_HOME=%s" % os.environ["XDG_STATE_HOME"]).encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as f:
                environ = f.read().split(b"\0")
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                cmdline = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it has ended, or is another user's
        marked = any(v.startswith(b"GOKERNEL_SESSION=") for v in environ)
        name = os.path.basename(cmdline.split(" ")[0]) if cmdline else ""
        if ours in environ and (marked or name.startswith("gokernel")):
            found[int(pid)] = cmdline
    return found


def sockets():
    """Unix sockets in the state directory, on disk."""
    return {p for p in files() if _is_socket(p)}


def _is_socket(path):
    try:
        return (os.stat(path).st_mode & 0o170000) == 0o140000
    except OSError:
        return False


def files():
    """Everything below the state directory, directories with a slash."""
    found = set()
    for base, directories, names in os.walk(STATE):
        found.update(os.path.join(base, n) for n in names)
        found.update(os.path.join(base, d) + "/" for d in directories)
    return found


def rows():
    """Rows of the registry's tables of what is alive: (table, row)."""
    path = os.path.join(STATE, "registry.db")
    if not os.path.exists(path):
        candidates = [p for p in files() if p.endswith((".db", ".sqlite"))]
        if not candidates:
            return set()
        path = candidates[0]
    found = set()
    db = sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=10)
    try:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            # What was run is history, which is meant to stay.
            if "history" in table or "input" in table or table.startswith("sqlite_"):
                continue
            found.update((table, repr(row)) for row in db.execute('SELECT * FROM "%s"' % table))
    finally:
        db.close()
    return found


# What a state directory has once, whatever ran: not left by a kernel.
def _permanent(path):
    name = os.path.basename(path.rstrip("/"))
    return name.startswith("registry.") or path.rstrip("/").count("/") == STATE.count("/") + 1 and path.endswith("/") \
        or "/runner" in path[len(STATE):] or "/history" in path[len(STATE):]


class Leftovers:
    """Remembers what there is, and tells what has come since."""

    def __init__(self):
        self.before = (set(processes()), files(), rows())

    def processes(self):
        return {p: c for p, c in processes().items() if p not in self.before[0]}

    def files(self):
        return {f for f in files() - self.before[1] if not _permanent(f)}

    def rows(self):
        return {r for r in rows() - self.before[2] if r[0] not in ("meta", "schema", "version")}

    def none(self):
        return not (self.processes() or self.files() or self.rows())

    def describe(self):
        return "left: processes %s, files %s, rows %s" % (self.processes(), sorted(self.files()), sorted(self.rows()))

    def __str__(self):
        return self.describe()
