"""What code finds as get_ipython().kernel: enough of ipykernel's for its users."""

from typing import Any, Dict

from . import request as requests


class KernelFacade:
    """Looks like ipykernel's kernel to widgets and to what sends messages itself."""

    implementation = "gokernel"

    def __init__(self, runner: Any, shell: Any) -> None:
        self.shell = shell
        self.comm_manager = runner.comms
        self.session = _Session(runner)
        self.iopub_socket = None
        self.io_loop = runner.loop

    @property
    def _parent_header(self) -> Dict[str, Any]:
        return self.get_parent()

    def get_parent(self, channel: Any = None) -> Dict[str, Any]:
        """Return the request that runs."""
        return requests.as_message(requests.current())

    def set_parent(self, ident: Any, parent: Any, channel: Any = None) -> None:
        """Accepted without effect: the runner knows what belongs to what."""


class _Session:
    """Sends iopub messages."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def send(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
    ) -> Dict[str, Any]:
        """Send a message to the front ends of the code that runs."""
        msg = msg_or_type
        if not isinstance(msg, dict):
            msg = {"msg_type": msg_or_type, "content": content or {}, "metadata": metadata or {}}
        self._runner.output.message(
            requests.current(),
            msg.get("msg_type") or msg["header"]["msg_type"],
            msg.get("content") or {},
            msg.get("metadata"),
            buffers or msg.get("buffers"),
        )
        return msg
