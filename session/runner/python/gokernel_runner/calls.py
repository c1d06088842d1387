"""What code wants of the agent: the runner asks, and waits for the answer."""

import itertools
import threading
from typing import Any, Dict

from . import request as requests
from .channel import Channel, Closed
from .output import Output


class Refused(Exception):
    """The agent cannot do what it was asked to. Its text says why."""


class Calls:
    """Asks the agent. For all threads; one asks at a time."""

    def __init__(self, channel: Channel, output: Output) -> None:
        self._channel = channel
        self._output = output
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()

    def call(self, method: str, arguments: Dict[str, Any]) -> Dict[str, Any]:
        """Return the agent's answer. Raises Refused with the agent's reason, or
        KeyboardInterrupt, with which the agent gives up what it was asked for."""
        request = requests.current()
        if self._output.closed:
            raise Refused("a forked child cannot ask the session")
        if request is not requests.latest() or not request.id:
            raise Refused("only a cell that runs can ask the session")
        with self._turn:
            number = next(self._numbers)
            self._channel.expect("result", number)
            try:
                self._output.packet(
                    {"type": "call", "id": request.id, "call": number, "method": method}, arguments
                )
                answer = self._channel.answer("result", number)
            except Closed:
                raise Refused("the session ends") from None
            finally:
                self._channel.forget("result", number)
        error = answer.head.get("error")
        if error:
            raise Refused(str(error))
        return answer.json(0)
