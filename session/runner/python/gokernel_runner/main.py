"""Start and end of the runner."""

import faulthandler
import os
import signal
import sys
import types

CHANNEL, INTERRUPT, OUT, ERR = 3, 4, 5, 6


def main() -> None:
    """Serve the agent until it ends the session. Does not return."""
    for fd in (CHANNEL, INTERRUPT, OUT, ERR):
        os.set_inheritable(fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_blocking(CHANNEL, True)
    faulthandler.enable(file=2)
    # Code sees a module __main__ of its own, and imports from where it runs.
    sys.path[0] = ""
    sys.argv = [""]
    user = types.ModuleType("__main__")
    user.__dict__["__builtins__"] = __import__("builtins")
    sys.modules["__main__"] = user
    environment()

    from .kernel import Kernel

    code = Kernel(user).serve()
    sys.exit(code)


def environment() -> None:
    """Set what programs need to know about where their output goes."""
    os.environ.update(
        TERM="xterm-color",
        CLICOLOR="1",
        FORCE_COLOR="1",
        CLICOLOR_FORCE="1",
        PAGER="cat",
        GIT_PAGER="cat",
    )
