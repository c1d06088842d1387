"""%packages, %session and %timing, for both shells."""

import datetime
import shlex
import sys
from typing import Any, Dict, List, Optional, Tuple

from .calls import Refused

SESSION = """%session: show what this session is, how it is and what it uses.

%session restart   start the language process again after this cell: variables
                   are gone, files and packages stay

Shown are its id and name, whether it is kept and until when, its languages, working
directory and isolation, the processor time and memory of its processes, and the
packages in its own folder. All of it is measured when you ask."""

PACKAGES = """%packages: list the packages in the session's own folder.

%packages SPEC...  install what is missing: specifiers such as numpy or 'pandas>=2,<3'

They are installed into the session's own folder, never into the environment of the
interpreter, from the index that pip uses, and can be imported at once. What the
interpreter has already and fits is not installed again. How far it is is shown
below the cell; an interrupt ends it. See also %pip, which passes everything on to pip."""

TIMING = """%timing: show where the time of the last cells and runs went.

%timing N          of the last N, up to 20

Each line is a cell, or a run of gokernel exec or the Session API: when it began, how long
it took from its turn to its reply, and the stages that it needed with their shares."""

_STAGES = ("initializing", "connecting", "uploading", "installing", "executing", "downloading")


class SessionError(Exception):
    """What a magic of the session cannot do. IPython shows its text alone."""

    __module__ = "builtins"  # so that tracebacks name it without ours

    def _render_traceback_(self) -> List[str]:
        return ["%s: %s" % (type(self).__name__, self)]


class InstallError(SessionError):
    """Packages cannot be installed. The text has the installer's output."""

    __module__ = "builtins"


def session(runner: Any, line: str) -> None:
    """Do what %session line asks for."""
    line = line.strip()
    if line == "restart":
        runner.restart = True
        return
    if line:
        raise SessionError("%%session knows restart only, got %r; see %%session?" % line)
    sys.stdout.write(describe(_ask(runner, "session", {})))


def packages(runner: Any, line: str) -> None:
    """Do what %packages line asks for."""
    wanted = shlex.split(line)
    for word in wanted:
        if word.startswith("-"):
            raise InstallError("%r is no package: %%packages takes specifiers only, %%pip takes options" % word)
    if not wanted:
        found = _names(_ask(runner, "session", {}))
        if not found:
            sys.stdout.write("The session's own folder has no packages.\n")
        for name, version in found:
            sys.stdout.write("%s %s\n" % (name, version))
        return
    try:
        done = runner.calls.call("install", {"packages": wanted})
    except Refused as err:
        raise InstallError(str(err)) from None
    finally:
        import importlib

        importlib.invalidate_caches()
    changed = [str(p) for p in done.get("installed") or ()]
    if not changed:
        sys.stdout.write("Nothing to install: %s there already.\n" % ("it is" if len(wanted) == 1 else "all are"))
        return
    sys.stdout.write("Installed %s.\n" % ", ".join(p.replace("==", " ") for p in changed))


def timing(runner: Any, line: str) -> None:
    """Do what %timing line asks for."""
    line = line.strip()
    if line and not (line.isdigit() and 0 < int(line) <= 20):
        raise SessionError("%%timing takes a number from 1 to 20, got %r; see %%timing?" % line)
    runs = _ask(runner, "timing", {}).get("runs") or []
    done = [r for r in runs if r.get("state") == "done" and r.get("timing")]
    if not done:
        sys.stdout.write("No cell is done yet.\n")
        return
    sys.stdout.write(table(done[-int(line or 10) :]))


def _ask(runner: Any, method: str, arguments: Dict[str, Any]) -> Dict[str, Any]:
    try:
        return runner.calls.call(method, arguments)
    except Refused as err:
        raise SessionError(str(err)) from None


def _names(info: Dict[str, Any]) -> List[Tuple[str, str]]:
    """Return name and version of the packages in the session's folder."""
    found = (str(p).partition("==") for p in info.get("packages") or ())
    return sorted((name, version) for name, _, version in found)


def describe(info: Dict[str, Any]) -> str:
    """Return a wire.Info as a readable text."""
    name = info.get("name")
    languages = [str(name) for name in info.get("languages") or (info.get("language"),)]
    rows = [
        ("session", str(info.get("id")) + (' "%s"' % name if name else "")),
        ("state", _state(info)),
        ("language", languages[0] + (" (and %s)" % ", ".join(languages[1:]) if languages[1:] else "")),
        ("directory", str(info.get("dir"))),
        ("uses", "%s of processor time, %s of memory" % (seconds(_number(info, "cpu_seconds")), size(_number(info, "memory")))),
        ("packages", ", ".join("%s %s" % p for p in _names(info)) or "none of its own"),
        ("isolation", str(info.get("isolation"))),
    ]
    return "".join("%-11s%s\n" % row for row in rows)


def _state(info: Dict[str, Any]) -> str:
    parts = [str(info.get("state"))]
    queued = info.get("queued")
    if queued:
        parts.append("%d waiting" % queued)
    if not info.get("kept"):
        parts.append("ends with its kernel")
        return ", ".join(parts)
    parts.append("kept")
    expires = _time(info.get("expires"))
    if expires is not None:
        parts.append("closed at %s if nothing happens" % expires.strftime("%Y-%m-%d %H:%M"))
    else:
        parts.append("held while it is used")
    return ", ".join(parts)


def table(runs: List[Dict[str, Any]]) -> str:
    """Return wire.RunRecords that are done as a table, a line for each."""
    rows = [("at", "by", "total", "where the time went")]
    for run in runs:
        t = run["timing"]
        stages, share = t.get("stages") or {}, t.get("share") or {}
        parts = [
            "%s %s (%d %%)" % (s, seconds(float(stages[s]) / 1000), round(100 * float(share.get(s, 0))))
            for s in _STAGES
            if s in stages
        ]
        if t.get("failed_stage"):
            parts.append("failed while %s" % t["failed_stage"])
        began = _time(run.get("created"))
        rows.append(
            (
                began.strftime("%H:%M:%S") if began else "",
                "cell" if run.get("owner") == "kernel" else "run",
                seconds(_number(t, "total_ms") / 1000),
                ", ".join(parts),
            )
        )
    return "".join("%-9s %-5s %9s  %s\n" % row for row in rows)


def _number(values: Dict[str, Any], key: str) -> float:
    value = values.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _time(text: Any) -> Optional[datetime.datetime]:
    """Return a time of the agent's in local time, None if there is none."""
    if not isinstance(text, str) or len(text) < 19:
        return None
    try:
        # Before 3.11 fromisoformat takes neither Z nor nanoseconds.
        at = datetime.datetime.fromisoformat(text[:19])
    except ValueError:
        return None
    zone = text[-6:].replace("Z", "+00:00")[-6:]
    offset = datetime.timedelta()
    if zone[0] in "+-" and zone[1:3].isdigit() and zone[4:].isdigit():
        offset = datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        offset = -offset if zone[0] == "-" else offset
    return at.replace(tzinfo=datetime.timezone(offset)).astimezone()


def seconds(value: float) -> str:
    """Return a time for people."""
    if value < 0.9995:
        return "%.0f ms" % (value * 1000) if value >= 0.0095 else "%.1f ms" % (value * 1000)
    if value < 120:
        return "%.2f s" % value if value < 10 else "%.1f s" % value
    minutes, rest = divmod(int(value + 0.5), 60)
    if minutes < 120:
        return "%d min %d s" % (minutes, rest)
    return "%d h %d min" % divmod(minutes, 60)


def size(value: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            break
        value /= 1000
    else:
        unit = "TB"
    return "%d bytes" % value if unit == "bytes" else "%.1f %s" % (value, unit)
