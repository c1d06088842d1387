"""Magics that the runner adds to IPython's, or replaces."""

from IPython.core.magic import Magics, line_magic, magics_class

from . import magics


@magics_class
class RunnerMagics(Magics):
    """%pip for a session, and the magics of the session itself."""

    @line_magic
    def pip(self, line: str) -> None:
        """Run pip. What it installs can be imported at once.

        Where the interpreter's environment may not be written, packages go to
        the session's own folder."""
        from . import packages

        packages.run_pip(line, self.shell.runner.packages)

    @line_magic
    def session(self, line: str) -> None:
        magics.session(self.shell.runner, line)

    @line_magic
    def packages(self, line: str) -> None:
        magics.packages(self.shell.runner, line)

    @line_magic
    def timing(self, line: str) -> None:
        magics.timing(self.shell.runner, line)

    session.__doc__ = magics.SESSION
    packages.__doc__ = magics.PACKAGES
    timing.__doc__ = magics.TIMING
