"""Interrupts: which ones count, and where KeyboardInterrupt may be raised.

The agent writes the id of the request that it means into a pipe and sends
SIGINT. The handler runs on the main thread between two byte codes and raises
KeyboardInterrupt, unless that would hit the next request or cut a packet.
"""

import os
import signal
import threading
import time
from typing import Any, Optional

# A second SIGINT for ids that the first one has already read comes within this
# time, in seconds. It is not one from somebody else.
_ECHO = 0.2


class Interrupts:
    """The handler of SIGINT. All methods are for the main thread, except hold,
    release and nudge."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        # Python writes the number of a signal here when it comes, whichever thread
        # it reaches. It is gone when our handler has run.
        self.signalled, self._signal = os.pipe()
        # Whether a byte was taken out by a thread that signals once more.
        self._passed_on = False
        self._main = threading.get_ident()
        self._running: Optional[str] = None
        self._hold = 0
        self._pending = False
        self._echoes = 0
        self._echo_until = 0.0
        self._handler = self._handle
        self.loop: Any = None
        self.task: Any = None
        self._cancelled: Any = None
        for end in (fd, self.signalled, self._signal):
            os.set_blocking(end, False)

    def begin_watch(self) -> None:
        """Have signals noted in signalled, until somebody else wants them noted."""
        signal.set_wakeup_fd(self._signal, warn_on_full_buffer=False)

    def child(self) -> None:
        """In a forked child: take none, and tell the parent of none."""
        signal.set_wakeup_fd(-1)
        for end in (self.fd, self.signalled, self._signal):
            try:
                os.close(end)
            except OSError:
                pass

    def install(self) -> None:
        """Take SIGINT, also from code that has installed a handler of its own."""
        if signal.getsignal(signal.SIGINT) is not self._handler:
            signal.signal(signal.SIGINT, self._handler)

    def begin(self, id: str) -> None:
        """Let interrupts of request id through from here on."""
        self.install()
        self._pending = False
        self._running = id

    def end(self) -> None:
        """Let none through from here on."""
        self._running = None
        self._pending = False
        self.task = None
        self._cancelled = None

    @property
    def cancelled(self) -> bool:
        """Whether the running task was cancelled by an interrupt."""
        return self._cancelled is not None and self._cancelled is self.task

    def hold(self) -> None:
        """Begin a part that must not be cut. Free of effect on other threads."""
        if threading.get_ident() == self._main:
            self._hold += 1

    def release(self) -> None:
        """End it; raise what came meanwhile."""
        if threading.get_ident() != self._main:
            return
        self._hold -= 1
        if self._pending and not self._hold:
            self._pending = False
            if self._running is not None:
                self._interrupt()

    def _handle(self, signum: int, frame: Any) -> None:
        ids = _read(self.fd).decode("utf-8", "replace").split()
        if signal.SIGINT in _read(self.signalled):
            self._passed_on = False
        elif self._passed_on and not ids:
            # It comes once more.
            return
        if len(ids) > 1:
            self._expect_echoes(len(ids) - 1)
        if not ids and self._echoes and time.monotonic() < self._echo_until:
            self._echoes -= 1
            return
        running = self._running
        if running is None or (ids and running not in ids):
            return
        if self._hold:
            self._pending = True
            return
        self._interrupt()

    def _expect_echoes(self, n: int) -> None:
        now = time.monotonic()
        self._echoes = n + (self._echoes if now < self._echo_until else 0)
        self._echo_until = now + _ECHO

    def nudge(self, asked: bool) -> None:
        """On another thread: signal the main thread once more, for it has not noticed
        an interrupt, of the agent's if asked. A signal that comes between the last
        look at signals and a system call that blocks does not end that call."""
        if signal.getsignal(signal.SIGINT) is not self._handler:
            # The cell has a handler of its own, which was called.
            _read(self.fd)
            _read(self.signalled)
            return
        if asked:
            self._expect_echoes(1)
        elif signal.SIGINT in _read(self.signalled):
            self._passed_on = True
        else:
            return
        signal.pthread_kill(self._main, signal.SIGINT)

    def _interrupt(self) -> None:
        task = self.task
        if task is None or self._cancelled is task or self._steps(task):
            raise KeyboardInterrupt
        # The loop waits, or runs somebody else's code: cancel what the cell awaits.
        self._cancelled = task
        self.loop.call_soon_threadsafe(task.cancel)

    def _steps(self, task: Any) -> bool:
        import asyncio

        return asyncio.current_task(self.loop) is task


def _read(fd: int) -> bytes:
    """Return what can be read at once."""
    data = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        data += piece
    return data
