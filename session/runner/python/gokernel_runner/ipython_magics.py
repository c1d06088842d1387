"""Magics that the runner adds to IPython's, or replaces."""

from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class


@magics_class
class RunnerMagics(Magics):
    """%pip for a session, and %session."""

    @line_magic
    def pip(self, line: str) -> None:
        """Run pip. What it installs can be imported at once.

        Where the interpreter's environment may not be written, packages go to
        the session's own folder."""
        from . import packages

        packages.run_pip(line, self.shell.runner.packages)

    @line_magic
    def session(self, line: str) -> None:
        """%session restart: start the language process again after this cell."""
        restart(self.shell.runner, line)


def restart(runner: Any, line: str) -> None:
    """Do what %session asks for."""
    if line.strip() != "restart":
        raise ValueError("%%session knows restart only, got %r" % line.strip())
    runner.restart = True
