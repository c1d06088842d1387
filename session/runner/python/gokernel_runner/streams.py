"""sys.stdout and sys.stderr."""

import io
import os
import sys
from typing import Any, Iterable

from . import request as requests
from .output import Output


class _Bytes(io.BufferedIOBase):
    """The buffer of a stream: bytes become text, cut characters wait for the rest."""

    def __init__(self, stream: "Stream") -> None:
        import codecs

        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = self

    name = property(lambda self: self._stream.name)
    mode = "wb"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        text = self._decoder.decode(view.cast("B") if view.contiguous else bytes(view))
        if text:
            self._stream.write(text)
        return view.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """A notebook's output cannot be closed."""


class Stream(io.TextIOBase):
    """A text stream whose text goes to the request that the writer belongs to."""

    encoding = "utf-8"
    errors = "replace"
    newlines = None
    line_buffering = True
    write_through = False
    mode = "w"

    def __init__(self, name: str, fd: int, output: Output) -> None:
        self._name = name
        self._fd = fd
        self._output = output
        self._buffer: Any = None
        self.write = _writer(name)  # type: ignore[method-assign]

    @property
    def name(self) -> str:
        return "<%s>" % self._name

    @property
    def buffer(self) -> _Bytes:
        if self._buffer is None:
            self._buffer = _Bytes(self)
        return self._buffer

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._fd

    def flush(self) -> None:
        if not self._output.closed:
            self._output.sync()

    def reconfigure(self, **options: Any) -> None:
        """Accepted without effect: the stream is UTF-8 and in time as it is."""

    def close(self) -> None:
        """A notebook's output cannot be closed."""

    def __repr__(self) -> str:
        return "<gokernel stream %r encoding='utf-8'>" % self.name


def _writer(name: str) -> Any:
    """Return the write method of a stream. print calls it twice a line."""
    get = requests.variable.get
    if name == "stdout":

        def write(text: str) -> int:
            """Write text and return its length."""
            if text.__class__ is not str:
                text = _text(text)
            get().stdout(text)
            return len(text)

    else:

        def write(text: str) -> int:
            """Write text and return its length."""
            if text.__class__ is not str:
                text = _text(text)
            get().stderr(text)
            return len(text)

    return write


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("write() argument must be str, not %s" % type(value).__name__)
    return str.__str__(value) if type(value).__str__ is str.__str__ else "".join(value)


def install(output: Output) -> None:
    """Replace sys.stdout and sys.stderr."""
    sys.stdout = Stream("stdout", 1, output)
    sys.stderr = Stream("stderr", 2, output)


def before_child(output: Output) -> None:
    """Send text before another program can write to the same descriptors."""
    if not output.closed:
        output.flush()


def follow_children(output: Output) -> None:
    """Flush before anything that starts a program or writes to a descriptor."""

    def flushing(module: Any, name: str) -> None:
        original = getattr(module, name, None)
        if original is None:
            return

        def call(*args: Any, **kwargs: Any) -> Any:
            before_child(output)
            return original(*args, **kwargs)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = original.__doc__
        call.__module__ = original.__module__
        call.__wrapped__ = original  # type: ignore[attr-defined]
        setattr(module, name, call)

    import _posixsubprocess

    flushing(_posixsubprocess, "fork_exec")
    subprocess = sys.modules.get("subprocess")
    if getattr(subprocess, "_fork_exec", None) is not None:
        # Imported before us, it has the function under a name of its own.
        subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[union-attr]
    for name in ("system", "posix_spawn", "posix_spawnp", "execv", "execve"):
        flushing(os, name)
    # What ends the process here and now must not take text along.
    for name in ("_exit", "abort", "kill", "killpg"):
        flushing(os, name)
    write = os.write

    def write_fd(fd: int, data: Any) -> int:
        """Write bytes to a file descriptor and return how many were written."""
        if fd == 1 or fd == 2:
            before_child(output)
        return write(fd, data)

    write_fd.__name__ = write_fd.__qualname__ = "write"
    write_fd.__module__ = write.__module__
    os.write = write_fd  # type: ignore[assignment]
    os.register_at_fork(before=lambda: before_child(output), after_in_child=output.child)
