"""Comms: channels between code here and code in the front end."""

from typing import Any, Dict, Optional

from .output import Output
from .request import Request


class Comms:
    """The comms that are open, and the targets that may be opened."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.targets: Dict[str, Any] = {}
        self.open: Dict[str, Any] = {}

    def info(self, target: Optional[str]) -> Dict[str, Any]:
        """Return the open comms, of one target if it is given."""
        return {
            id: {"target_name": comm.target_name}
            for id, comm in self.open.items()
            if not target or comm.target_name == target
        }

    def handle(self, request: Request) -> None:
        """Handle a comm message of the front end."""
