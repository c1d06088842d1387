"""Descriptors 1 and 2: what C code and child processes write."""

import errno
import fcntl
import os
import re
import select
from typing import Any, Callable, Dict, Optional, Set

from . import request as requests

_F_SETPIPE_SZ = 1031
_SIZE = 1 << 20
# Reads of one drain: a child that never stops must not stop the runner.
_READS = 4
_OPEN_END = re.compile(rb"(?:\r|\x1b(?:[\[\]()][0-9;?]*)?)\Z")

Send = Callable[[requests.Request, str, Any], None]


class _Pipe:
    """The read end behind descriptor 1 or 2, and the cut end of its text."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = _reopen(fd)
        self.name = name
        self.rest = b""
        self.owner: Optional[requests.Request] = None

    def text(self, data: bytes) -> Any:
        """Return data, with what was left before, as valid UTF-8 up to a place
        where it may be cut."""
        if self.rest:
            data = self.rest + data
            self.rest = b""
        keep = _cut(data)
        if keep < len(data):
            self.rest = data[keep:]
            data = data[:keep]
        return valid(data)

    def leftover(self) -> bytes:
        """Return what was held back."""
        data, self.rest = self.rest, b""
        return valid(data)


def valid(data: bytes) -> bytes:
    """Return data with what is no UTF-8 as U+FFFD."""
    try:
        data.decode()
        return data
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()


def _cut(data: bytes) -> int:
    """Return how much of data may be sent although more may follow."""
    open_end = _OPEN_END.search(data, max(0, len(data) - 16))
    if open_end:
        # Not more than once: alone it is sent with what follows or at the end.
        return open_end.start()
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if size > back else len(data)
    return len(data)


def _reopen(fd: int) -> int:
    """Return fd in non-blocking mode, without changing that for the agent, which
    holds the same description, where the system can."""
    try:
        new = os.open("/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        os.set_blocking(fd, False)
        return fd
    os.close(fd)
    return new


class Pipes:
    """Both pipes. Its methods are called with the output's lock held."""

    def __init__(self, out: int, err: int) -> None:
        self._pipes: Dict[int, _Pipe] = {}
        self._poll = select.poll()
        for fd, name in ((out, "stdout"), (err, "stderr")):
            try:
                fcntl.fcntl(fd, _F_SETPIPE_SZ, _SIZE)
            except OSError:
                pass
            pipe = _Pipe(fd, name)
            self._pipes[pipe.fd] = pipe
            self._poll.register(pipe.fd, select.POLLIN)

    def drain(self, send: Send, final: bool) -> bool:
        """Send what is there; with final also a cut end. Tell if anything was sent."""
        sent = False
        for fd, _ in self._poll.poll(0):
            sent = self._read(self._pipes[fd], send) or sent
        if final:
            for pipe in self._pipes.values():
                if pipe.rest:
                    send(pipe.owner or requests.latest(), pipe.name, pipe.leftover())
                    sent = True
        return sent

    def _read(self, pipe: _Pipe, send: Send) -> bool:
        sent = False
        pipe.owner = requests.latest()
        for _ in range(_READS):
            try:
                data = os.read(pipe.fd, _SIZE)
            except OSError as err:
                if err.errno not in (errno.EAGAIN, errno.EINTR):
                    self._forget(pipe)
                break
            if not data:
                self._forget(pipe)
                break
            text = pipe.text(data)
            if text:
                send(pipe.owner, pipe.name, text)
                sent = True
            if len(data) < 4096:
                break
        return sent

    def _forget(self, pipe: _Pipe) -> None:
        """Stop looking: the code has closed the descriptor and nobody else has it."""
        self._poll.unregister(pipe.fd)

    def fds(self) -> "list[int]":
        """Return the read ends."""
        return list(self._pipes)

    def waiter(self, others: Dict[int, int]) -> Callable[[bool], Set[int]]:
        """Return a function that waits for text, or only looks when it is told not to
        block. It returns the descriptors that are ready, also those of others, which
        has their poll events."""
        poll = select.poll()
        for fd, events in others.items():
            poll.register(fd, events)
        for fd in self._pipes:
            poll.register(fd, select.POLLIN)

        def wait(block: bool) -> Set[int]:
            ready = set()
            for fd, events in poll.poll(None if block else 0):
                if fd in others or events & select.POLLIN:
                    ready.add(fd)
                else:
                    poll.unregister(fd)
            return ready

        return wait
