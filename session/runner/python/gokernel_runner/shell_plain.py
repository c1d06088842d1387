"""The shell where IPython is missing."""

import ast
import builtins
import codeop
import inspect
import linecache
import os
import sys
import traceback
from typing import Any, Dict, List, Optional

from . import plain_complete, plain_magics
from . import request as requests
from .plain_display import Displays, bundle, show_figures
from .plain_history import History
from .shell import HELP_LINKS, Outcome, Shell, describe, language_info, text

_HERE = os.path.dirname(__file__)


class PlainShell(Shell):
    """Runs cells with compile and exec."""

    def __init__(self, kernel: Any, init: Dict[str, Any]) -> None:
        self._kernel = kernel
        self.namespace = kernel.user.__dict__
        self._flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._payload: List[Dict[str, Any]] = []
        self.count = 1
        self._number = 0
        self._quiet = False
        self._last: Any = ""
        self._displays = Displays(kernel.output.message)
        self._displays.install()
        self._history = History(str(init.get("history") or ""))
        self._saving = False
        self.namespace.update(In=[""], Out={}, _=self._last, __="", ___="")
        self._magics = plain_magics.Magics(self, kernel)
        sys.displayhook = self._displayhook
        for name in ("exit", "quit"):
            setattr(builtins, name, _Exit(name, self))
        os.environ.setdefault("MPLBACKEND", "agg")

    def info(self) -> Dict[str, Any]:
        info = language_info()
        return {
            "language_info": info,
            "banner": "Python %s\ngokernel's plain shell: IPython is not installed." % sys.version,
            "help_links": HELP_LINKS,
            "implementation": "gokernel-python",
            "implementation_version": info["version"],
            "pid": os.getpid(),
            "executable": sys.executable,
        }

    def run(self, request: Any, code: str, silent: bool, store: bool) -> Any:
        if not code.strip():
            return Outcome(self.count - 1)
        self._quiet = silent or code.rstrip().endswith(";")
        self._number = number = self.count
        if store:
            self.count += 1
            self.namespace["In"].append(code)
            self._history.add(number, code)
            self._save_later()
        try:
            steps = self._compile(plain_magics.transform(code), code, "Cell In[%d]" % number)
            if any(step.co_flags & inspect.CO_COROUTINE for step in steps):
                return self._wait(steps)
            for step in steps:
                exec(step, self.namespace)
            show_figures(self._displays)
        except BaseException:
            return self._raised()
        return Outcome(self.count - 1)

    async def _wait(self, steps: List[Any]) -> Outcome:
        try:
            for step in steps:
                value = eval(step, self.namespace)
                if step.co_flags & inspect.CO_COROUTINE:
                    await value
            show_figures(self._displays)
        except BaseException:
            return self._raised()
        return Outcome(self.count - 1)

    def evaluate(self, code: str) -> None:
        """Run code for a magic, as part of the cell."""
        for step in self._compile(plain_magics.transform(code), code, "Cell In[%d]" % self._number):
            if step.co_flags & inspect.CO_COROUTINE:
                raise SyntaxError("await does not work here")
            exec(step, self.namespace)

    def _compile(self, code: str, shown: str, name: str) -> List[Any]:
        # With no time of change the entry stays whatever the file system says.
        linecache.cache[name] = (len(shown), None, shown.splitlines(True), name)
        flags = self._flags
        tree: Any = compile(code, name, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        body = tree.body
        steps = []
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        if body:
            module = ast.Module(body, getattr(tree, "type_ignores", []))
            steps.append(compile(module, name, "exec", flags, dont_inherit=True))
            self._remember(steps[0])
        if last is not None:
            single = ast.Interactive([last])
            steps.append(compile(single, name, "single", self._flags, dont_inherit=True))
        return steps

    def _remember(self, step: Any) -> None:
        """Keep what "from __future__ import" has switched on."""
        for feature in codeop._features:  # type: ignore[attr-defined]
            if step.co_flags & feature.compiler_flag:
                self._flags |= feature.compiler_flag

    def _raised(self) -> Outcome:
        etype, value, tb = sys.exc_info()
        if self._kernel.exit_code is not None and isinstance(value, SystemExit):
            return Outcome(self.count - 1)
        if self._kernel.interrupts.cancelled and etype.__name__ == "CancelledError":
            etype, value = KeyboardInterrupt, KeyboardInterrupt()
        sys.last_type, sys.last_value, sys.last_traceback = etype, value, tb
        error = {
            "ename": etype.__name__,
            "evalue": text(value),
            "traceback": _lines(etype, value, tb),
        }
        self._kernel.output.message(requests.current(), "error", error)
        return Outcome(self.count - 1, error)

    def _displayhook(self, value: Any) -> None:
        if value is None or self._quiet:
            return
        ns = self.namespace
        # A variable of that name that the user has made stays.
        if ns.get("_", self._last) is self._last:
            ns["___"], ns["__"], ns["_"] = ns.get("__"), self._last, value
            self._last = value
        ns["_%d" % self._number] = ns["Out"][self._number] = value
        data, metadata = bundle(value)
        self._history.output(self._number, data["text/plain"])
        self._kernel.output.message(
            requests.current(),
            "execute_result",
            {"execution_count": self._number, "data": data, "metadata": metadata},
        )

    def _save_later(self) -> None:
        if not self._saving:
            self._saving = True
            self._kernel.loop.call_later(0.5, self._save)

    def _save(self) -> None:
        self._saving = False
        self._history.save()

    def ask_exit(self) -> None:
        """End after this cell."""
        self._kernel.exit_code = 0
        self._payload.append({"source": "ask_exit", "keepkernel": False})

    def page(self, name: str, level: int) -> None:
        """Show what is known about name, with a sign that of a magic, in the pager."""
        shown = self._describe(name, level)
        if shown is None:
            sys.stdout.write("Object `%s` not found.\n" % name)
            return
        self._payload.append({"source": "page", "data": {"text/plain": shown}, "start": 0})

    def _describe(self, name: str, level: int) -> Optional[str]:
        shown = None
        if not name.startswith("%"):
            shown = plain_complete.describe(name, self.namespace, level)
        return self._magics.describe(name.lstrip("%")) if shown is None else shown

    def expressions(self, expressions: Dict[str, Any]) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        for key, code in expressions.items():
            try:
                data, metadata = bundle(eval(str(code), self.namespace))
                found[key] = {"status": "ok", "data": data, "metadata": metadata}
            except Exception:
                found[key] = {"status": "error", **describe(sys.exc_info())}
        return found

    def payload(self) -> List[Dict[str, Any]]:
        payload, self._payload = self._payload, []
        return payload

    def complete(self, code: str, cursor: int) -> Dict[str, Any]:
        magic = plain_magics.at(code, cursor)
        if magic is not None:
            sign, _, start = magic
            names = [sign + name for name in self._magics.names(sign)]
            matches = [(n, "magic", "") for n in names if n.startswith(code[start:cursor])]
            if matches:
                return plain_complete.reply(start, cursor, matches)
        return plain_complete.complete(code, cursor, self.namespace)

    def inspect(self, code: str, cursor: int, level: int, omit: Any) -> Dict[str, Any]:
        magic = plain_magics.at(code, cursor)
        name = "%" + magic[1] if magic else plain_complete.name_at(code, cursor)
        shown = self._describe(name, level)
        data = {} if shown is None else {"text/plain": shown}
        return {"status": "ok", "found": shown is not None, "data": data, "metadata": {}}

    def is_complete(self, code: str) -> Dict[str, Any]:
        return plain_complete.is_complete(plain_magics.transform(code), self._flags)

    def history(self, content: Dict[str, Any]) -> List[Any]:
        return self._history.find(content)

    def close(self) -> None:
        self._history.close()


class _Exit:
    """exit and quit: end the language process."""

    def __init__(self, name: str, shell: PlainShell) -> None:
        self._name = name
        self._shell = shell

    def __call__(self, code: Any = None) -> None:
        self._shell.ask_exit()
        raise SystemExit(code)

    def __repr__(self) -> str:
        return "%s() ends the session's language process" % self._name


def _lines(etype: Any, value: Any, tb: Any) -> List[str]:
    """Return a traceback as lines, from the user's first frame on."""
    try:
        exception = traceback.TracebackException(etype, value, tb)
        _without_runner(exception)
        lines = "".join(exception.format()).rstrip("\n").split("\n")
    except Exception:
        lines = ["%s: %s" % (etype.__name__, text(value))]
    return [_cell_line(line) for line in lines]


def _without_runner(exception: Any) -> None:
    """Take frames of the runner out: they are none of the user's business."""
    while exception is not None:
        frames = exception.stack
        frames[:] = [f for f in frames if not f.filename.startswith(_HERE)]
        for inner in getattr(exception, "exceptions", None) or ():
            _without_runner(inner)
        exception = exception.__cause__ or exception.__context__


def _cell_line(line: str) -> str:
    """Return a line of a traceback with cells named as IPython names them."""
    head, quote, rest = line.partition('File "Cell In[')
    if quote and not head.strip(" |"):
        return head + "Cell In[" + rest.replace('", line', ", line", 1)
    return line
