"""Lines that are no Python: what of IPython's syntax the plain shell knows."""

import os
import re
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import magics

_LINE = re.compile(r"^(\s*)([!%])(.*)$")
_ASK = re.compile(r"^(\s*)(\?{0,2})(%{0,2})([\w.]+)(\?{0,2})\s*$")
_AT = re.compile(r"^\s*(%{1,2})(\w*)")
_CALL = "_gokernel_magic_"


def transform(code: str) -> str:
    """Return code with magic lines as calls of a Magics object. Code without them
    is returned as it is."""
    if not any(c in code for c in "%!?"):
        return code
    if code.lstrip().startswith("%%"):
        first, _, rest = code.lstrip().partition("\n")
        if first.rstrip().endswith("?"):
            return _line(first) + "\n" + rest
        name, _, line = first[2:].partition(" ")
        return "%s.cell(%r, %r, %r)\n" % (_CALL, name, line, rest)
    try:
        compile(code, "<cell>", "exec", 0x2000)
        return code
    except (SyntaxError, ValueError):
        pass
    return "\n".join(_line(line) for line in code.split("\n"))


def _line(line: str) -> str:
    match = _ASK.match(line)
    if match:
        indent, ask, sign, name, asked = match.groups()
        if ask or asked:
            return "%s%s.ask(%r, %r)" % (indent, _CALL, sign + name, len(ask) + len(asked))
    match = _LINE.match(line)
    if not match:
        return line
    indent, sign, rest = match.groups()
    if sign == "!":
        return "%s%s.shell(%r)" % (indent, _CALL, rest)
    word, _, arguments = rest.partition(" ")
    return "%s%s.line(%r, %r)" % (indent, _CALL, word, arguments)


def at(code: str, cursor: int) -> Optional[Tuple[str, str, int]]:
    """Return the sign and name of the magic that the cursor is at, as far as they
    stand there, and where the sign is; None if there is none."""
    start = code.rfind("\n", 0, cursor) + 1
    match = _AT.match(code[start:])
    if match is None or not match.start(1) < cursor - start <= match.end():
        return None
    return match.group(1), match.group(2), start + match.start(1)


_HELP = {
    "pip": """%pip ARGUMENTS: run pip. What it installs can be imported at once.

Where the interpreter's environment may not be written, packages go to the session's own
folder.""",
    "cd": "%cd [DIRECTORY]: change the working directory, to the home directory if none is named.",
    "pwd": "%pwd: the working directory.",
    "env": "%env [NAME[=VALUE]]: the environment, a variable of it, or set one.",
    "time": """%time CODE: run code and show how long it took.

%%time at the start of a cell does it for the cell.""",
    "timeit": """%timeit CODE: run code many times and show how long one takes.

%%timeit at the start of a cell does it for the cell.""",
    "matplotlib": "%matplotlib [inline]: figures are shown below the cell, which is so in any case.",
    "bash": "%%bash: run the cell with bash.",
    "sh": "%%sh: run the cell with sh.",
    "session": magics.SESSION,
    "packages": magics.PACKAGES,
    "timing": magics.TIMING,
}


class Magics:
    """The commands. Installed in the user's namespace under a name of its own."""

    def __init__(self, shell: Any, runner: Any) -> None:
        self._shell = shell
        self._runner = runner
        self._lines: Dict[str, Callable[[str], Any]] = {
            "pip": self._pip,
            "cd": self._cd,
            "pwd": self._pwd,
            "env": self._env,
            "time": self._time,
            "timeit": self._timeit,
            "matplotlib": self._matplotlib,
            "session": lambda line: magics.session(runner, line),
            "packages": lambda line: magics.packages(runner, line),
            "timing": lambda line: magics.timing(runner, line),
        }
        self._cells: Dict[str, Callable[[str], Any]] = {
            "time": self._time,
            "timeit": self._timeit,
            "bash": lambda body: self._script("bash", body),
            "sh": lambda body: self._script("sh", body),
        }
        shell.namespace[_CALL] = self

    def names(self, sign: str) -> List[str]:
        """Return the names of the magics with this sign."""
        return sorted(self._cells if sign == "%%" else self._lines)

    def describe(self, name: str) -> Optional[str]:
        """Return what the magic of that name does, None if there is none."""
        return _HELP.get(name)

    def line(self, name: str, line: str) -> Any:
        """Run %name line."""
        magic = self._lines.get(name)
        if magic is None:
            raise NameError(
                "%%%s needs IPython, which this interpreter does not have: %%pip install ipython,"
                " then %%session restart" % name
            )
        return magic(line.strip())

    def cell(self, name: str, line: str, body: str) -> Any:
        """Run %%name line, with the rest of the cell as body."""
        magic = self._cells.get(name)
        if magic is None:
            raise NameError("%%%%%s needs IPython, which this interpreter does not have" % name)
        return magic(body)

    def _script(self, name: str, body: str) -> None:
        from . import command

        code = command.run([name, "-c", body])
        if code:
            raise RuntimeError("%s ended with exit code %d" % (name, code))

    def shell(self, line: str) -> None:
        """Run !line."""
        from . import command

        self._shell.namespace["_exit_code"] = command.run(line.lstrip("!"))

    def ask(self, name: str, level: int) -> None:
        """Show what name? does."""
        self._shell.page(name, level - 1)

    def _pip(self, line: str) -> None:
        from . import packages

        packages.run_pip(line, self._runner.packages)

    def _pwd(self, line: str) -> str:
        return os.getcwd()

    def _cd(self, line: str) -> None:
        import shlex

        os.chdir(os.path.expanduser(shlex.split(line)[0] if line else "~"))
        sys.stdout.write(os.getcwd() + "\n")

    def _env(self, line: str) -> Any:
        if not line:
            return dict(os.environ)
        name, sign, value = line.partition("=")
        if not sign:
            name, _, value = line.partition(" ")
            if not value:
                return os.environ.get(name)
        os.environ[name.strip()] = value.strip()
        return None

    def _time(self, code: str) -> None:
        import time

        wall, cpu = time.perf_counter(), time.process_time()
        try:
            self._shell.evaluate(code)
        finally:
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            sys.stdout.write("CPU time: %s, wall time: %s\n" % (_seconds(cpu), _seconds(wall)))

    def _timeit(self, code: str) -> None:
        import timeit

        timer = timeit.Timer(code, globals=self._shell.namespace)
        number, _ = timer.autorange()
        best = min(timer.repeat(5, number)) / number
        sys.stdout.write("%s per loop (best of 5, %d loops each)\n" % (_seconds(best), number))

    def _matplotlib(self, line: str) -> None:
        if line not in ("", "inline", "agg"):
            raise ValueError("there is no screen: figures can be shown inline only, not %r" % line)


def _seconds(value: float) -> str:
    for limit, factor, unit in ((1, 1, "s"), (1e-3, 1e3, "ms"), (1e-6, 1e6, "µs")):
        if value >= limit:
            return "%.3g %s" % (value * factor, unit)
    return "%.3g ns" % (value * 1e9)
