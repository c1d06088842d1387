"""input() and getpass(): questions to the user."""

import builtins
import getpass
import itertools
import sys
from typing import Any

from . import request as requests
from .channel import Channel, Closed
from .output import Output


# What front ends answer when there is no more input.
END_OF_INPUT = "\x04"


class StdinNotImplementedError(NotImplementedError):
    """Raised by input() where the front end cannot answer."""


class Prompts:
    """Asks the user. For all threads."""

    def __init__(self, channel: Channel, output: Output) -> None:
        self._channel = channel
        self._output = output
        self._numbers = itertools.count(1)

    def ask(self, prompt: str, password: bool, name: str) -> str:
        """Return what the user answers; name is the function that asks."""
        request = requests.current()
        if self._output.closed:
            raise EOFError("%s() in a forked child: it has no standard input" % name)
        if not request.content.get("allow_stdin", False):
            # Code that catches it knows IPython's, where there is one.
            errors = sys.modules.get("IPython.core.error")
            raise getattr(errors, "StdinNotImplementedError", StdinNotImplementedError)(
                "%s was called, but this frontend does not support input requests." % name
            )
        number = next(self._numbers)
        self._channel.expect("input_reply", number)
        try:
            self._output.packet(
                {"type": "input_request", "id": request.id, "prompt": number},
                {"prompt": prompt, "password": password},
            )
            answer = self._channel.answer("input_reply", number)
        except Closed:
            raise EOFError("the session ends") from None
        finally:
            self._channel.forget("input_reply", number)
        value = str(answer.json(0).get("value", ""))
        if value == END_OF_INPUT:
            raise EOFError("EOF when reading a line")
        return value

    def input(self, prompt: object = "", /) -> str:
        """Read a line of text from the user, without its newline."""
        return self.ask(str(prompt), False, "raw_input")

    def getpass(self, prompt: str = "Password: ", stream: Any = None, **options: Any) -> str:
        """Ask for a password, which the front end does not show."""
        return self.ask(str(prompt), True, "getpass")

    def install(self) -> None:
        """Replace input and getpass.getpass."""
        builtins.input = self.input  # type: ignore[assignment]
        getpass.getpass = self.getpass
