"""Choice of a shell."""

import os
import sys
from typing import Any, Dict

from .shell import Shell


def choose(kernel: Any, init: Dict[str, Any]) -> Shell:
    """Return the IPython shell, or the plain one where IPython is missing or broken
    or GOKERNEL_PLAIN_SHELL=1 asks for it."""
    if os.environ.get("GOKERNEL_PLAIN_SHELL") != "1":
        try:
            from .shell_ipython import open_shell

            kernel.open_loop()
            return open_shell(kernel, init)
        except ImportError as err:
            if (err.name or "").partition(".")[0] != "IPython" or "IPython" in sys.modules:
                _note(err)
        except (Exception, SystemExit) as err:
            _note(err)
    from .shell_plain import PlainShell

    return PlainShell(kernel, init)


def _note(err: BaseException) -> None:
    """Say on stderr of the first cell why IPython is not there."""
    sys.stderr.write(
        "IPython does not start (%s: %s): using the plain shell.\n" % (type(err).__name__, err)
    )
