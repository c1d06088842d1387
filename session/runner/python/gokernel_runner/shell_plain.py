"""The shell where IPython is missing."""

import ast
import builtins
import codeop
import inspect
import linecache
import os
import sys
import traceback
from typing import Any, Dict, List, Optional, Tuple

from . import request as requests
from .shell import HELP_LINKS, Outcome, Shell, describe, language_info, text

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_HERE = os.path.dirname(__file__)


class PlainShell(Shell):
    """Runs cells with compile and exec."""

    def __init__(self, kernel: Any, init: Dict[str, Any]) -> None:
        self._kernel = kernel
        self._module = kernel.user
        self.namespace = kernel.user.__dict__
        self._flags = _FLAGS
        self._payload: List[Dict[str, Any]] = []
        self._error: Optional[Dict[str, Any]] = None
        self.count = 1
        self._shown: Tuple[Any, ...] = ()
        self.namespace.update(In=[""], Out={}, _="", __="", ___="")
        sys.displayhook = self._displayhook

    def info(self) -> Dict[str, Any]:
        info = language_info()
        return {
            "language_info": info,
            "banner": "Python %s\nIPython is not installed: gokernel's plain shell." % sys.version,
            "help_links": HELP_LINKS,
            "implementation": "gokernel-python",
            "implementation_version": info["version"],
            "pid": os.getpid(),
            "executable": sys.executable,
        }

    def run(self, request: Any, code: str, silent: bool, store: bool) -> Any:
        self._silent = silent or code.rstrip().endswith(";")
        number = self.count
        if store:
            self.count += 1
            self.namespace["In"].append(code)
        name = "Cell In[%d]" % number
        self._number = number
        # With no time of change the entry stays whatever the file system says.
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        try:
            steps = self._compile(code, name)
            waits = any(step.co_flags & inspect.CO_COROUTINE for step in steps)
            if waits:
                return self._wait(steps)
            for step in steps:
                exec(step, self.namespace)
        except BaseException:
            return self._raised()
        return Outcome(self.count - 1)

    async def _wait(self, steps: List[Any]) -> Outcome:
        try:
            for step in steps:
                value = eval(step, self.namespace)
                if inspect.iscoroutine(value):
                    await value
        except BaseException:
            return self._raised()
        return Outcome(self.count - 1)

    def _compile(self, code: str, name: str) -> List[Any]:
        tree = compile(code, name, "exec", self._flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        body = tree.body
        steps = []
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        if body:
            module = ast.Module(body, getattr(tree, "type_ignores", []))
            steps.append(compile(module, name, "exec", self._flags, dont_inherit=True))
        if last is not None:
            shown = ast.Interactive([last])
            steps.append(compile(shown, name, "single", self._flags, dont_inherit=True))
        for step in steps:
            for feature in codeop._features:  # type: ignore[attr-defined]
                if step.co_flags & feature.compiler_flag:
                    self._flags |= feature.compiler_flag
        return steps

    def _raised(self) -> Outcome:
        etype, value, tb = sys.exc_info()
        if self._kernel.interrupts.cancelled and etype.__name__ == "CancelledError":
            etype, value = KeyboardInterrupt, KeyboardInterrupt()
        # Frames of the runner are none of the user's business.
        while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_HERE):
            tb = tb.tb_next
        sys.last_type, sys.last_value, sys.last_traceback = etype, value, tb
        lines = "".join(traceback.format_exception(etype, value, tb)).rstrip("\n").split("\n")
        lines = [_cell_line(line) for line in lines]
        error = {"ename": etype.__name__, "evalue": text(value), "traceback": lines}
        self._kernel.output.message(requests.current(), "error", error)
        return Outcome(self.count - 1, error)

    def _displayhook(self, value: Any) -> None:
        if value is None or self._silent:
            return
        ns = self.namespace
        ns["___"], ns["__"], ns["_"] = ns["__"], ns["_"], value
        ns["_%d" % self._number] = value
        ns["Out"][self._number] = value
        data, metadata = {"text/plain": repr(value)}, {}
        self._kernel.output.message(
            requests.current(),
            "execute_result",
            {"execution_count": self._number, "data": data, "metadata": metadata},
        )

    def expressions(self, expressions: Dict[str, Any]) -> Dict[str, Any]:
        found = {}
        for key, code in expressions.items():
            try:
                value = eval(str(code), self.namespace)
                found[key] = {"status": "ok", "data": {"text/plain": repr(value)}, "metadata": {}}
            except Exception:
                found[key] = {"status": "error", **describe(sys.exc_info())}
        return found

    def payload(self) -> List[Dict[str, Any]]:
        payload, self._payload = self._payload, []
        return payload

    def complete(self, code: str, cursor: int) -> Dict[str, Any]:
        return {
            "status": "ok",
            "matches": [],
            "cursor_start": cursor,
            "cursor_end": cursor,
            "metadata": {},
        }

    def inspect(self, code: str, cursor: int, level: int, omit: Any) -> Dict[str, Any]:
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}

    def is_complete(self, code: str) -> Dict[str, Any]:
        return {"status": "unknown"}

    def history(self, content: Dict[str, Any]) -> List[Any]:
        return []

    def close(self) -> None:
        pass


def _cell_line(line: str) -> str:
    """Return a line of a traceback with cells named as IPython names them."""
    if line.startswith('  File "Cell In['):
        return "  " + line[len('  File "') :].replace('", line', ", line", 1)
    return line
