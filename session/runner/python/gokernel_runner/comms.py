"""Comms: channels between code here and code in the front end.

There is one kind of comm, whoever makes it: the comm package (ipywidgets 8), or
ipykernel.comm (ipywidgets before 8), which imports.py puts this module in for.
"""

import os
import sys
from typing import Any, Callable, Dict, Optional

from . import request as requests
from .output import Output
from .request import Request


class Comm:
    """One end of a channel; the other is in the front end."""

    # The manager of the process, set once at the start.
    manager: "Comms"

    def __init__(
        self,
        target_name: str = "comm",
        data: Optional[Dict[str, Any]] = None,
        metadata: Optional[Dict[str, Any]] = None,
        buffers: Any = None,
        *,
        comm_id: Optional[str] = None,
        primary: bool = True,
        target_module: Optional[str] = None,
        topic: Any = None,
        _open_data: Optional[Dict[str, Any]] = None,
        _close_data: Optional[Dict[str, Any]] = None,
        **others: Any
    ) -> None:
        self._closed = True
        self.comm_id = comm_id or os.urandom(16).hex()
        self.primary = primary
        self.target_name = target_name
        self.target_module = target_module
        self.topic = topic or ("comm-%s" % self.comm_id).encode("ascii")
        self._open_data = _open_data or {}
        self._close_data = _close_data or {}
        self._msg_callback: Any = None
        self._close_callback: Any = None
        if primary:
            self.open(data=data, metadata=metadata, buffers=buffers)
        else:
            self._closed = False

    @property
    def kernel(self) -> Any:
        """The kernel, as ipykernel's comms have it."""
        return self.manager.kernel

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        """Send a message of the comm."""
        content = {"data": data or {}, "comm_id": self.comm_id, **keys}
        self.manager.send(msg_type, content, metadata, buffers)

    def open(self, data: Any = None, metadata: Any = None, buffers: Any = None) -> None:
        """Open the other end."""
        self.manager.register_comm(self)
        try:
            self.publish_msg(
                "comm_open",
                data=self._open_data if data is None else data,
                metadata=metadata,
                buffers=buffers,
                target_name=self.target_name,
                target_module=self.target_module,
            )
            self._closed = False
        except Exception:
            self.manager.unregister_comm(self)
            raise

    def send(self, data: Any = None, metadata: Any = None, buffers: Any = None) -> None:
        """Send data to the other end."""
        self.publish_msg("comm_msg", data=data, metadata=metadata, buffers=buffers)

    def close(
        self,
        data: Any = None,
        metadata: Any = None,
        buffers: Any = None,
        deleting: bool = False,
    ) -> None:
        """Close both ends; once only."""
        if self._closed:
            return
        self._closed = True
        self.publish_msg(
            "comm_close",
            data=self._close_data if data is None else data,
            metadata=metadata,
            buffers=buffers,
        )
        self.manager.unregister_comm(self)

    def on_msg(self, callback: Optional[Callable[[Any], Any]]) -> None:
        """Have callback called with each message that comes."""
        self._msg_callback = callback

    def on_close(self, callback: Optional[Callable[[Any], Any]]) -> None:
        """Have callback called when the other end closes."""
        self._close_callback = callback

    def handle_msg(self, msg: Dict[str, Any]) -> None:
        """Take a message of the other end."""
        if self._msg_callback is None:
            return
        # Some callbacks draw: figures are shown by what listens to these.
        self.manager.trigger("pre_execute")
        self._msg_callback(msg)
        self.manager.trigger("post_execute")

    def handle_close(self, msg: Dict[str, Any]) -> None:
        """Take the end of the other end."""
        self._closed = True
        if self._close_callback is not None:
            self._close_callback(msg)


class Comms:
    """The comms that are open, and the targets that the front end may open. It has
    the methods of the CommManager of ipykernel and of the comm package."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.targets: Dict[str, Any] = {}
        self.comms: Dict[str, Any] = {}
        self.kernel: Any = None
        Comm.manager = self

    def send(self, msg_type: str, content: Any, metadata: Any, buffers: Any) -> None:
        """Send a comm message to the front end."""
        self._output.message(requests.current(), msg_type, content, metadata, buffers)

    def trigger(self, event: str) -> None:
        """Trigger an event of IPython, where there is one."""
        shell = getattr(self.kernel, "shell", None)
        if shell is not None:
            shell.events.trigger(event)

    def register_target(self, target_name: str, f: Any) -> None:
        """Have f(comm, msg) called when the front end opens a comm of that name. f may
        be an import string."""
        if isinstance(f, str):
            import importlib

            module, _, name = f.rpartition(".")
            f = getattr(importlib.import_module(module), name)
        self.targets[target_name] = f

    def unregister_target(self, target_name: str, f: Any) -> Any:
        """Take a target back."""
        return self.targets.pop(target_name)

    def register_comm(self, comm: Any) -> str:
        """Add a comm."""
        self.comms[comm.comm_id] = comm
        return comm.comm_id

    def unregister_comm(self, comm: Any) -> None:
        """Remove a comm."""
        self.comms.pop(comm.comm_id, None)

    def get_comm(self, comm_id: str) -> Any:
        """Return the comm of that id, or None."""
        return self.comms.get(comm_id)

    def info(self, target: Optional[str]) -> Dict[str, Any]:
        """Return the open comms, of one target if it is given."""
        return {
            id: {"target_name": comm.target_name}
            for id, comm in list(self.comms.items())
            if not target or comm.target_name == target
        }

    def handle(self, request: Request) -> None:
        """Handle a comm message of the front end. What callbacks raise goes to stderr."""
        msg = requests.as_message(request)
        try:
            getattr(self, request.type)(None, None, msg)
        except Exception:
            import traceback

            traceback.print_exc(file=sys.stderr)

    def comm_open(self, stream: Any, ident: Any, msg: Dict[str, Any]) -> None:
        """Open a comm for the front end, or close it if nobody knows the target."""
        content = msg["content"]
        id, name = str(content.get("comm_id", "")), str(content.get("target_name", ""))
        comm = Comm(comm_id=id, primary=False, target_name=name)
        self.register_comm(comm)
        target = self.targets.get(name)
        if target is not None:
            try:
                target(comm, msg)
                return
            except BaseException:
                comm.close()
                raise
        comm.close()

    def comm_msg(self, stream: Any, ident: Any, msg: Dict[str, Any]) -> None:
        """Pass a message to its comm, if that is open."""
        comm = self.comms.get(msg["content"].get("comm_id"))
        if comm is not None:
            comm.handle_msg(msg)

    def comm_close(self, stream: Any, ident: Any, msg: Dict[str, Any]) -> None:
        """Close a comm that the front end has closed."""
        comm = self.comms.pop(msg["content"].get("comm_id"), None)
        if comm is not None:
            comm.handle_close(msg)
