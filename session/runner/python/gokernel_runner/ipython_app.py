"""Start of IPython: the user's profile, configuration, extensions, startup files."""

import functools
import logging
import os
import sys
import threading
import traceback
from typing import Any

from IPython.core.application import BaseIPythonApplication
from IPython.core.shellapp import InteractiveShellApp
from traitlets.config import Config

from . import ipython_names
from .facade import KernelFacade
from .ipython_parts import ZMQInteractiveShell

# How long history may wait before it is written, in seconds. Written after each
# cell it costs milliseconds, for the cells wait for the database.
_HISTORY_WAIT = 0.5


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):
    """Reads the files that a kernel of ipykernel reads, and has its names: that of
    the configuration file, and that which stands before what it logs."""

    name = "ipython-kernel"
    kernel: Any = None

    def init_crash_handler(self) -> None:
        """Errors are shown in cells."""

    def init_shell(self) -> None:
        """Make the shell; called by the base class's pattern."""
        user = self.kernel.user
        self.shell = ZMQInteractiveShell.instance(
            parent=self,
            profile_dir=self.profile_dir,
            user_module=user,
            user_ns=user.__dict__,
            runner=self.kernel,
        )
        self.shell.configurables.append(self)
        self.shell.kernel = KernelFacade(self.kernel, self.shell)
        self.kernel.comms.kernel = self.shell.kernel


def start(kernel: Any) -> ZMQInteractiveShell:
    """Return the shell. What the user's files raise is shown and goes no further."""
    IPKernelApp.kernel = kernel
    app = IPKernelApp.instance()
    try:
        app.initialize([])
    except Exception:
        # A configuration file that cannot be read: go on with what there is.
        traceback.print_exc()
        if getattr(app, "profile_dir", None) is None:
            raise
    # Libraries look for it to find out whether they run in a notebook.
    if not os.environ.get("MPLBACKEND"):
        os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    app.config.setdefault("IPKernelApp", Config())
    app.init_path()
    app.init_shell()
    # What of it changes displayhook and excepthook is for programs with a prompt.
    for step in (app.init_gui_pylab, app.init_extensions, app.init_code):
        try:
            step()
        except Exception:
            traceback.print_exc()
    _log_apart(app.log)
    _write_history_later(app.shell)
    _keep_history_whole(app.shell, kernel.interrupts)
    if hasattr(app.shell.Completer, "_jedi_matches"):
        ipython_names.install(app.shell.Completer)
    return app.shell


def _log_apart(log: logging.Logger) -> None:
    """Keep what libraries log as the application's out of cells, as ipykernel does: it
    is no output of the user's. What the start has logged is, for it is about the
    user's own files. Handlers that the user's configuration has added stay."""
    for handler in list(log.handlers):
        if getattr(handler, "stream", None) is sys.stderr:
            log.removeHandler(handler)
    # Without any handler logging would write to sys.stderr all the same.
    log.addHandler(logging.NullHandler())


class _Later(threading.Event):
    """An event whose wait ends a moment after it is set, or at once at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once = threading.Event()

    def wait(self, timeout: Any = None) -> bool:
        woken = super().wait(timeout)
        if woken:
            self.at_once.wait(_HISTORY_WAIT)
        return woken


def _write_history_later(shell: Any) -> None:
    manager = getattr(shell, "history_manager", None)
    thread = getattr(manager, "save_thread", None)
    flag = getattr(manager, "save_flag", None)
    if thread is None or not isinstance(flag, threading.Event):
        return
    later = _Later()
    manager.save_flag = later
    if getattr(thread, "save_flag", None) is flag:
        thread.save_flag = later
    # The thread waits for the old one.
    flag.set()


def _keep_history_whole(shell: Any, interrupts: Any) -> None:
    """Let no interrupt cut what the history does at the start and the end of a cell:
    it would leave a lock taken that the next cell waits for."""
    manager = getattr(shell, "history_manager", None)
    for name in ("store_inputs", "store_output"):
        original = getattr(manager, name, None)
        if original is not None:
            setattr(manager, name, _whole(original, interrupts))


def _whole(function: Any, interrupts: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        interrupts.hold()
        try:
            return function(*args, **kwargs)
        finally:
            interrupts.release()

    return call


def stop(shell: Any) -> None:
    """Let what is registered for the end not wait."""
    flag = getattr(getattr(shell, "history_manager", None), "save_flag", None)
    if isinstance(flag, _Later):
        flag.at_once.set()
