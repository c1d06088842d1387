"""Requests, and which one an output belongs to.

A context variable holds the request of the code that runs. Tasks inherit it
from the code that made them. Threads do not, so that Thread.start notes it and
the first output of the thread looks it up.
"""

import threading
from contextvars import ContextVar
from typing import Any, Callable, Dict, List, Optional

_Write = Callable[[str], Any]


class Request:
    """A request of the agent, and where text goes that it causes."""

    __slots__ = ("id", "type", "content", "metadata", "buffers", "header", "stdout", "stderr", "texts")

    def __init__(
        self,
        id: str,
        type: str = "",
        content: Optional[Dict[str, Any]] = None,
        metadata: Optional[Dict[str, Any]] = None,
        buffers: Optional[List[memoryview]] = None,
        header: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.id = id
        self.type = type
        self.content = content or {}
        self.metadata = metadata or {}
        self.buffers = buffers or []
        self.header = header
        # Set by output.Output.adopt.
        self.stdout: _Write = _nowhere
        self.stderr: _Write = _nowhere
        self.texts: Any = None


def _nowhere(text: str) -> None:
    raise ValueError("write before the runner has started")


class _Unknown:
    """Stands for "not known in this context": looks it up and forwards."""

    def stdout(self, text: str) -> None:
        current().stdout(text)

    def stderr(self, text: str) -> None:
        current().stderr(text)


unknown = _Unknown()
variable: "ContextVar[Any]" = ContextVar("gokernel_request", default=unknown)


class _Latest:
    """The request that runs or ran last: the owner of what nobody owns."""

    request = Request("")


def latest() -> Request:
    """Return the request that runs on the main thread, or ran last."""
    return _Latest.request


def enter(request: Request) -> None:
    """Make request the one of this context and of output without an owner."""
    _Latest.request = request
    variable.set(request)


def current() -> Request:
    """Return the request that the calling code belongs to."""
    request = variable.get()
    if request is not unknown:
        return request
    thread = threading.current_thread() if _known() else None
    request = getattr(thread, "_gokernel_request", None)
    if request is None:
        return _Latest.request
    variable.set(request)
    return request


def _known() -> bool:
    """Tell whether this thread has a Thread, without making one for it."""
    return threading.get_ident() in threading._active  # type: ignore[attr-defined]


def follow_threads() -> None:
    """Make every Thread remember the request that started it."""
    start = threading.Thread.start

    def start_with_request(self: threading.Thread) -> None:
        self._gokernel_request = current()  # type: ignore[attr-defined]
        start(self)

    start_with_request.__name__ = "start"
    start_with_request.__qualname__ = "Thread.start"
    start_with_request.__doc__ = start.__doc__
    threading.Thread.start = start_with_request  # type: ignore[method-assign]


def as_message(request: Request) -> Dict[str, Any]:
    """Return a request in the form in which Jupyter's Python code handles messages."""
    header = request.header or {
        "msg_id": request.id,
        "msg_type": request.type,
        "session": "",
        "username": "",
    }
    return {
        "header": header,
        "msg_id": header.get("msg_id", request.id),
        "msg_type": request.type,
        "parent_header": {},
        "metadata": request.metadata,
        "content": request.content,
        "buffers": request.buffers,
    }
