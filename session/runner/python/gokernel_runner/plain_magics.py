"""Lines that are no Python: what of IPython's syntax the plain shell knows."""

import os
import re
import sys

from typing import Any, Callable, Dict


_LINE = re.compile(r"^(\s*)(?:([!%])(.*)|(\??)([\w.]+)(\?{0,2}))$")
_CALL = "_gokernel_magic_"


def transform(code: str) -> str:
    """Return code with magic lines as calls of a Magics object. Code without them
    is returned as it is."""
    if not any(c in code for c in "%!?"):
        return code
    if code.lstrip().startswith("%%"):
        first, _, rest = code.lstrip().partition("\n")
        name, _, line = first[2:].partition(" ")
        return "%s.cell(%r, %r, %r)\n" % (_CALL, name, line, rest)
    try:
        compile(code, "<cell>", "exec", 0x2000)
        return code
    except (SyntaxError, ValueError):
        pass
    return "\n".join(_line(line) for line in code.split("\n"))


def _line(line: str) -> str:
    match = _LINE.match(line)
    if not match:
        return line
    indent, sign, rest, ask, name, asked = match.groups()
    if sign == "!":
        return "%s%s.shell(%r)" % (indent, _CALL, rest)
    if sign == "%":
        word, _, arguments = rest.partition(" ")
        return "%s%s.line(%r, %r)" % (indent, _CALL, word, arguments)
    if ask or asked:
        return "%s%s.ask(%r, %r)" % (indent, _CALL, name, len(ask) + len(asked))
    return line


class Magics:
    """The commands. Installed in the user's namespace under a name of its own."""

    def __init__(self, shell: Any, runner: Any) -> None:
        self._shell = shell
        self._runner = runner
        self._lines: Dict[str, Callable[[str], Any]] = {
            "pip": self._pip,
            "cd": self._cd,
            "pwd": lambda line: os.getcwd(),
            "env": self._env,
            "time": self._time,
            "timeit": self._timeit,
            "session": self._session,
            "matplotlib": self._matplotlib,
        }
        shell.namespace[_CALL] = self

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
        if name == "time":
            return self._time(body)
        if name == "timeit":
            return self._timeit(body)
        if name in ("bash", "sh"):
            from . import command

            code = command.run([name, "-c", body])
            if code:
                raise RuntimeError("%s ended with exit code %d" % (name, code))
            return None
        raise NameError("%%%%%s needs IPython, which this interpreter does not have" % name)

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

    def _session(self, line: str) -> None:
        if line != "restart":
            raise ValueError("%%session knows restart only, got %r" % line)
        self._runner.restart = True

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
