"""The shell on IPython."""

import os
import sys
from typing import Any, Dict, List

from . import ipython_light
from .shell import HELP_LINKS, Outcome, Shell, language_info, text

_EXPERIMENTAL = "_jupyter_types_experimental"


def open_shell(kernel: Any, init: Dict[str, Any]) -> "IPythonShell":
    """Start IPython with the user's profile."""
    ipython_light.load()
    from . import ipython_app

    return IPythonShell(kernel, ipython_app.start(kernel))


class IPythonShell(Shell):
    """Runs cells with an InteractiveShell."""

    def __init__(self, kernel: Any, ip: Any) -> None:
        self._kernel = kernel
        self.ip = ip

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.ip.execution_count

    def info(self) -> Dict[str, Any]:
        import IPython

        info = language_info()
        info["codemirror_mode"] = {"name": "ipython", "version": sys.version_info[0]}
        return {
            "language_info": info,
            "banner": self.ip.banner1.strip(),
            "help_links": HELP_LINKS,
            "implementation": "ipython",
            "implementation_version": IPython.__version__,
            "executable": sys.executable,
            "pid": os.getpid(),
        }

    def run(self, request: Any, code: str, silent: bool, store: bool) -> Any:
        ip = self.ip
        ip.last_error = None
        if "await" in code or "async" in code:
            coro = self._coroutine(code, silent, store)
            if coro is not None:
                return coro
        return self._outcome(ip.run_cell(code, store_history=store, silent=silent))

    def _coroutine(self, code: str, silent: bool, store: bool) -> Any:
        """Return a coroutine that runs the cell if it has to wait for something."""
        ip = self.ip
        try:
            transformed = ip.transform_cell(code)
        except Exception:
            return None
        if not ip.should_run_async(code, transformed_cell=transformed):
            return None
        if getattr(ip, "trio_runner", None) or getattr(ip.loop_runner, "__name__", "") not in (
            "_AsyncIORunner",
            "__call__",
            "_asyncio_runner",
            "",
        ):
            return None

        async def cell() -> Outcome:
            result = None
            try:
                result = await ip.run_cell_async(
                    code, store_history=store, silent=silent, transformed_cell=transformed
                )
            finally:
                ip.events.trigger("post_execute")
                if not silent:
                    ip.events.trigger("post_run_cell", result)
            return self._outcome(result)

        return cell()

    def _outcome(self, result: Any) -> Outcome:
        count = self.ip.execution_count - 1
        if result.success:
            return Outcome(count)
        error = self.ip.last_error
        if error is None:
            raised = result.error_before_exec or result.error_in_exec
            error = {
                "ename": type(raised).__name__,
                "evalue": text(raised),
                "traceback": [],
            }
        return Outcome(count, error)

    def expressions(self, expressions: Dict[str, Any]) -> Dict[str, Any]:
        return self.ip.user_expressions(expressions)

    def payload(self) -> List[Dict[str, Any]]:
        manager = self.ip.payload_manager
        payload = manager.read_payload()
        if payload:
            manager.clear_payload()
        return payload

    def complete(self, code: str, cursor: int) -> Dict[str, Any]:
        from IPython.core.completer import provisionalcompleter, rectify_completions

        with provisionalcompleter():
            raw = self.ip.Completer.completions(code, cursor)
            found = [
                {
                    "start": c.start,
                    "end": c.end,
                    "text": c.text,
                    "type": c.type,
                    "signature": c.signature,
                }
                for c in rectify_completions(code, raw)
            ]
        return {
            "status": "ok",
            "matches": [c["text"] for c in found],
            "cursor_start": found[0]["start"] if found else cursor,
            "cursor_end": found[0]["end"] if found else cursor,
            "metadata": {_EXPERIMENTAL: found},
        }

    def inspect(self, code: str, cursor: int, level: int, omit: Any) -> Dict[str, Any]:
        from IPython.utils.tokenutil import token_at_cursor

        reply: Dict[str, Any] = {"status": "ok", "found": False, "data": {}, "metadata": {}}
        name = token_at_cursor(code, cursor)
        try:
            if omit:
                data = self.ip.object_inspect_mime(name, detail_level=level, omit_sections=omit)
            else:
                data = self.ip.object_inspect_mime(name, detail_level=level)
        except KeyError:
            return reply
        if not self.ip.enable_html_pager:
            data.pop("text/html", None)
        reply.update(found=True, data=data)
        return reply

    def is_complete(self, code: str) -> Dict[str, Any]:
        manager = getattr(self.ip, "input_transformer_manager", None) or self.ip.input_splitter
        status, indent = manager.check_complete(code)
        reply = {"status": status}
        if status == "incomplete":
            reply["indent"] = " " * (indent or 0)
        return reply

    def history(self, content: Dict[str, Any]) -> List[Any]:
        manager = self.ip.history_manager
        raw = bool(content.get("raw", True))
        output = bool(content.get("output", False))
        kind = content.get("hist_access_type", "tail")
        n = content.get("n")
        if kind == "tail":
            found = manager.get_tail(n or 0, raw=raw, output=output, include_latest=True)
        elif kind == "range":
            session, start = content.get("session") or 0, content.get("start") or 0
            found = manager.get_range(session, start, content.get("stop"), raw=raw, output=output)
        elif kind == "search":
            found = manager.search(
                content.get("pattern") or "*",
                raw=raw,
                output=output,
                n=n,
                unique=bool(content.get("unique", False)),
            )
        else:
            found = []
        # To itself the session that runs is 0, where it is not read from the file.
        return [(session or manager.session_number, *rest) for session, *rest in found]

    def close(self) -> None:
        from . import ipython_app

        ipython_app.stop(self.ip)
