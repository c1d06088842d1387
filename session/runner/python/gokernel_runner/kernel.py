"""The requests of the agent, one at a time."""

import atexit
import contextvars
import datetime
import os
import sys
import time
import types
from typing import Any, Callable, Dict, List, Optional

from . import imports, packet, streams, surroundings
from . import request as requests
from .calls import Calls
from .channel import Channel, Closed
from .comms import Comms
from .interrupts import Interrupts
from .output import Output
from .pipes import Pipes
from .request import Request
from .shell import Outcome, Shell, describe, text
from .stdin import Prompts

_NOTHING: Dict[str, Any] = {}


class Kernel:
    """Serves one agent with one shell, on the main thread."""

    def __init__(self, user: types.ModuleType) -> None:
        self.user = user
        self.interrupts = Interrupts(4)
        self.output = Output(3, self.interrupts, Pipes(5, 6))
        self.channel = Channel(3, self.interrupts)
        self.prompts = Prompts(self.channel, self.output)
        self.calls = Calls(self.channel, self.output)
        self.comms = Comms(self.output)
        self.shell: Shell = None  # type: ignore[assignment]
        self.loop: Any = None
        self.packages = ""
        self.exit_code: Optional[int] = None
        self.restart = False
        # Values of context variables that cells set stay for the next cells.
        self._context = contextvars.copy_context()
        self._busy = False
        # The task of a cell that awaits something.
        self._task: Any = None
        # The encoded reply to the request that runs, sent when it is done.
        self._answer: Optional[List[bytes]] = None
        # What the request that runs has changed around itself.
        self._around: Optional[surroundings.Surroundings] = None
        self._ended = False

    def serve(self) -> int:
        """Run until the session ends and return the exit code."""
        self.output.begin()
        requests.follow_threads()
        streams.install(self.output)
        # The first to be registered is the last to be called.
        atexit.register(self.output.flush)
        streams.follow_children(self.output)
        self.prompts.install()
        imports.install()
        try:
            first = self.channel.next()
        except Closed:
            return 0
        init = first.json(0) if first is not None else {}

        self.packages = str(init.get("packages") or "")
        if self.packages:
            sys.path.insert(_packages_at(), self.packages)

        from . import shells

        self.channel.asked = self._asked
        self.shell = shells.choose(self, init)
        self.output.packet({"type": "ready"}, self.shell.info())
        self.interrupts.begin_watch()
        self.output.start_pump(self._gone)
        self.interrupts.install()
        self.open_loop()
        self.loop.call_soon(self._readable)
        while not self._ended:
            try:
                self._recover()
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                # A background task has raised it, or an interrupt came between the
                # end of a cell and its reply.
                continue
        return self._end()

    def open_loop(self) -> None:
        """Make the event loop, if there is none yet. It takes a while to import, so
        that a shell that can do without first says that it is ready."""
        if self.loop is not None:
            return
        import asyncio

        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.interrupts.loop = self.loop
        self.channel.notify = lambda: self.loop.call_soon_threadsafe(self._readable)
        self.loop.add_reader(self.channel.fd, self._readable)

    def _readable(self) -> None:
        """Serve what has come, until nothing has or a cell awaits something."""
        if not self._busy:
            self._context.run(self._read)

    def _read(self) -> None:
        try:
            while not self._ended and not self._busy:
                p = self.channel.next(wait=False)
                if p is None:
                    return
                self._packet(p)
        except Closed:
            self._stop()
            self.exit_code = 0

    def _packet(self, p: packet.Packet) -> None:
        kind = p.head.get("type")
        if kind == "request":
            self._request(p)
        elif kind == "shutdown":
            self._stop()

    def _asked(self, p: packet.Packet) -> None:
        """Answer what the agent asks. A thread of the code may wait for input."""
        head: Dict[str, Any] = {"type": "answer", "ask": p.head.get("ask")}
        content: Dict[str, Any] = {}
        try:
            if p.head.get("what") != "packages":
                raise ValueError("only packages can be asked for, not %r" % p.head.get("what"))
            from . import satisfied

            content = satisfied.answer(p.json(0))
        except Exception as err:
            head["error"] = "%s: %s" % (type(err).__name__, text(err))
        self.output.packet(head, content)

    def _stop(self) -> None:
        self._ended = True
        self.loop.stop()

    def _gone(self) -> None:
        """On the pump's thread: the agent has closed the channel. The process ends
        now, unless it is about to end by itself."""
        if not self._busy:
            time.sleep(1)
        if not self.channel.shut:
            os._exit(0)

    # Requests

    def _request(self, p: packet.Packet) -> None:
        head = p.head
        request = Request(
            str(head.get("id", "")),
            str(head.get("msg_type", "")),
            p.json(0),
            p.json(1),
            p.parts[2:],
            head.get("header") if isinstance(head.get("header"), dict) else None,
        )
        self.output.adopt(request)
        requests.enter(request)
        handler = _HANDLERS.get(request.type)
        if handler is None:
            self.output.done(request)
            return
        self._answer = None
        self._around = surroundings.wanted(head)
        self._task = None
        self._busy = True
        waits = False
        try:
            self.interrupts.begin(request.id)
            waits = handler(self, request)
        except BaseException:
            self._fail(request)
        if not waits:
            self._done(request)

    def _recover(self) -> None:
        """Answer the request that runs if an interrupt has cut its handling short."""
        if not self._busy or (self._task is not None and not self._task.done()):
            return
        request = requests.latest()
        if self._answer is None:
            self._fail(request)
        self._done(request)
        self.loop.call_soon(self._readable)

    def _done(self, request: Request) -> None:
        if self.output.closed:
            # A forked child has come to the end of its cell: it is no kernel.
            os._exit(0)
        self.interrupts.end()
        if self._around is not None:
            self._around.leave()
        self._busy = False
        self.output.done(request, self._answer)
        if self.restart:
            self.restart = False
            self.output.packet({"type": "restart"})
        if self.exit_code is not None:
            self.output.packet({"type": "exit", "code": self.exit_code})
            self._stop()

    def _fail(self, request: Request) -> None:
        """Answer a request whose handler has raised."""
        if self.output.closed:
            os._exit(1)
        self.interrupts.end()
        info = sys.exc_info()
        error = describe(info if info[0] else (KeyboardInterrupt, None, None))
        if request.type == "execute_request":
            self.output.message(request, "error", error)
            error = {"execution_count": self.shell.count - 1, **error}
        else:
            sys.stderr.write("\n".join(error["traceback"]) + "\n")
        if request.type.endswith("_request") and self._answer is None:
            self._reply(request, {"status": "error", **error})

    def _reply(self, request: Request, content: Dict[str, Any], metadata: Any = None) -> None:
        head = {
            "type": "reply",
            "id": request.id,
            "msg_type": request.type.replace("_request", "_reply"),
        }
        self._answer = [packet.dumps(head), packet.dumps(content), packet.dumps(metadata or {})]

    def _execute(self, request: Request) -> bool:
        """Run a cell. Tell whether it goes on in the loop."""
        started = datetime.datetime.now(datetime.timezone.utc).isoformat()
        content = request.content
        code = str(content.get("code", ""))
        silent = bool(content.get("silent", False))
        store = bool(content.get("store_history", True)) and not silent
        if not silent:
            self.output.message(
                request, "execute_input", {"code": code, "execution_count": self.shell.count}
            )
            if self.output.early is not None:
                self.output.show_early(request)
        if self._around is not None and not self._enter(request, started):
            return False
        expressions = content.get("user_expressions")
        if not isinstance(expressions, dict):
            expressions = _NOTHING
        finish = lambda outcome: self._executed(request, outcome, expressions, started)
        outcome = self.shell.run(request, code, silent, store)
        if isinstance(outcome, Outcome):
            finish(outcome)
            return False
        self._await(request, outcome, finish)
        return True

    def _enter(self, request: Request, started: str) -> bool:
        """Change what the request wants changed around it. When that cannot be done,
        answer it and return False."""
        assert self._around is not None
        self.interrupts.hold()
        try:
            self._around.enter()
            return True
        except surroundings.SetupError as err:
            line = "%s: %s" % (type(err).__name__, err)
            error = {"ename": type(err).__name__, "evalue": str(err), "traceback": [line]}
        finally:
            self.interrupts.release()
        self.output.message(request, "error", error)
        content = {"status": "error", "execution_count": self.shell.count, **error}
        content.update(user_expressions={}, payload=[])
        self._reply(request, content, {"started": started})
        return False

    def _await(self, request: Request, coro: Any, finish: Callable[[Outcome], None]) -> None:
        """Let the loop run a cell that awaits something."""

        async def cell() -> None:
            try:
                outcome = await coro
                self.interrupts.task = None
                finish(outcome)
            except BaseException:
                self._fail(request)
            self._done(request)
            self.loop.call_soon(self._readable)

        self._task = self.interrupts.task = self._make_task(cell())

    def _make_task(self, coro: Any) -> Any:
        """Make a task in this context, so that what a cell sets in it stays."""
        if sys.version_info >= (3, 11):
            return self.loop.create_task(coro, context=self._context)
        return self.loop.create_task(coro)

    def _executed(
        self, request: Request, outcome: Outcome, expressions: Dict[str, Any], started: str
    ) -> None:
        content: Dict[str, Any] = {"status": "ok", "execution_count": outcome.count}
        if outcome.error is None:
            content["user_expressions"] = (
                self.shell.expressions(expressions) if expressions else {}
            )
        else:
            content["status"] = "error"
            content.update(outcome.error)
            content["user_expressions"] = {}
        content["payload"] = self.shell.payload()
        self._reply(request, content, {"started": started})

    def _complete(self, request: Request) -> None:
        code, cursor = _code(request)
        self._reply(request, self.shell.complete(code, cursor))

    def _inspect(self, request: Request) -> None:
        code, cursor = _code(request)
        level = 1 if request.content.get("detail_level") else 0
        omit = tuple(request.content.get("omit_sections") or ())
        self._reply(request, self.shell.inspect(code, cursor, level, omit))

    def _is_complete(self, request: Request) -> None:
        self._reply(request, self.shell.is_complete(str(request.content.get("code", ""))))

    def _history(self, request: Request) -> None:
        history = self.shell.history(request.content)
        self._reply(request, {"status": "ok", "history": history})

    def _comm_info(self, request: Request) -> None:
        comms = self.comms.info(request.content.get("target_name"))
        self._reply(request, {"status": "ok", "comms": comms})

    def _comm(self, request: Request) -> None:
        self.comms.handle(request)

    def _end(self) -> int:
        """Run what must run at the end, while output still goes out."""
        self.shell.close()
        self.output.flush()
        return self.exit_code or 0


_HANDLERS: Dict[str, Callable[[Kernel, Request], Any]] = {
    "execute_request": Kernel._execute,
    "complete_request": Kernel._complete,
    "inspect_request": Kernel._inspect,
    "is_complete_request": Kernel._is_complete,
    "history_request": Kernel._history,
    "comm_info_request": Kernel._comm_info,
    "comm_open": Kernel._comm,
    "comm_msg": Kernel._comm,
    "comm_close": Kernel._comm,
}


def _packages_at() -> int:
    """Return where in sys.path the session's own packages are found before those of
    the interpreter, and after its standard library."""
    for i, entry in enumerate(sys.path):
        if entry.endswith(("site-packages", "dist-packages")):
            return i
    return len(sys.path)


def _code(request: Request) -> "tuple[str, int]":
    code = str(request.content.get("code", ""))
    cursor = request.content.get("cursor_pos")
    if not isinstance(cursor, int) or not 0 <= cursor <= len(code):
        cursor = len(code)
    return code, cursor
