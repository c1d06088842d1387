"""The one way out: every packet of the runner goes through an Output.

Text is collected in a Text for each request and stream. Writing costs one
list.append while the text is hot, that is while the pump thread is due to
send it within TICK. When nothing was sent lately a whole line is sent at once.
"""

import os
import re
import select
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from . import packet
from . import request as requests
from .interrupts import Interrupts
from .pipes import Pipes
from .request import Request

# How long text may wait, in seconds. A thread that wants the interpreter's lock
# waits up to 5 ms for it, so that both together stay near 10 ms.
TICK = 0.006
# How long the main thread may take to notice an interrupt before it is signalled
# again, in seconds.
NUDGE = 0.03
# Bytes of one stream packet at most, and how many characters surely fit in them.
MIB = 1 << 20
PIECE = MIB >> 2
# A text longer than this is not left to the pump.
LONG = 1 << 16
# What comes at the end of a cell, right before its reply.
_LAST = frozenset(("execute_result", "error"))
# What must not end a packet when more may follow.
_OPEN_END = re.compile("(?:\r|\x1b(?:[\\[\\]()][0-9;?]*)?)\\Z")


def encode(text: str) -> bytes:
    """Return text as UTF-8. Halves of characters become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


class Text:
    """What one request has written to one stream and is not sent yet."""

    __slots__ = ("request", "name", "parts", "head", "append")

    def __init__(self, request: Request, name: str) -> None:
        self.request = request
        self.name = name
        # The same list for ever, for a writer may hold its append method.
        self.parts: List[str] = []
        self.append = self.parts.append
        self.head = packet.dumps({"type": "stream", "id": request.id, "name": name})


class Output:
    """Writes packets in one order. Safe for all threads, and for code that
    interrupts a write on the same thread (signal handlers, finalizers)."""

    def __init__(self, fd: int, interrupts: Interrupts, pipes: Pipes) -> None:
        self._fd = fd
        self._interrupts = interrupts
        self._pipes = pipes
        self._lock = threading.RLock()
        self._busy = False
        self._deferred: List[List[Any]] = []
        # What goes out together with what is sent next, or at the next tick.
        self._corked: List[List[Any]] = []
        self._current: Optional[Text] = None
        self._texts: Dict[Text, None] = {}
        self._retired: List[Text] = []
        self._sent = 0.0
        self._armed = False
        self.closed = False
        # Text and messages from before the first cell, which shows them; then None.
        self.early: Optional[List[Any]] = []
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)

    # Packets

    def packet(self, head: Dict[str, Any], *parts: Any) -> None:
        """Send a packet, after all text that was written before it. A part that is
        no bytes-like object is sent as JSON."""
        encoded = [packet.dumps(head)]
        encoded += [p if isinstance(p, (bytes, memoryview)) else packet.dumps(p) for p in parts]
        self._locked(lambda: self._packet(encoded), encoded)

    def message(
        self,
        request: Request,
        type: str,
        content: Any,
        metadata: Any = None,
        buffers: Any = None,
    ) -> None:
        """Send an iopub message."""
        if request.texts is None:
            if type == "error":
                # It is not an error of the cell that shows it.
                request.stderr("\n".join(content["traceback"]) + "\n")
                return
            if self.early is not None:
                self.early.append((type, content, metadata, buffers))
                return
            request = requests.latest()
        parts = [_raw(b) for b in buffers or ()]
        head = {"type": "output", "id": request.id, "msg_type": type}
        if type in _LAST and not parts:
            encoded = [packet.dumps(head), packet.dumps(content), packet.dumps(metadata or {})]
            self._locked(lambda: self._cork(encoded), encoded)
            return
        self.packet(head, content, metadata or {}, *parts)

    def flush(self) -> None:
        """Send all text, and what children and C code have written."""
        self._locked(self._flush_all)

    def done(self, request: Request, reply: Optional[List[Any]] = None) -> None:
        """Send the rest of the request's text, its encoded reply if it has one, and
        that it is done."""

        def finish() -> None:
            self._flush(final=True)
            for text in request.texts:
                self._cool(text)
            done = [packet.dumps({"type": "done", "id": request.id})]
            if reply is None:
                self._send(done)
            else:
                self._send(reply, done)
            # A thread may have been about to append: look once more next time.
            for text in self._retired:
                if text is not self._current:
                    self._texts.pop(text, None)
            self._retired = [t for t in request.texts if t in self._texts]

        self._locked(finish)

    def _locked(self, action: Callable[[], Any], late: Optional[List[Any]] = None) -> None:
        self._interrupts.hold()
        try:
            with self._lock:
                if self._busy:
                    if late:
                        self._deferred.append(late)
                    return
                if self.closed:
                    return
                self._busy = True
                try:
                    action()
                    while self._deferred:
                        self._packet(self._deferred.pop(0))
                finally:
                    self._busy = False
        finally:
            self._interrupts.release()

    def _packet(self, parts: List[Any]) -> None:
        self._flush()
        self._send(parts)

    def _flush_all(self) -> None:
        self._flush()
        if self._corked:
            self._send()

    def _cork(self, parts: List[Any]) -> None:
        self._flush()
        self._corked.append(parts)
        self._arm()

    def _send(self, *packets: List[Any]) -> None:
        corked, self._corked = self._corked, []
        packet.write(self._fd, *corked, *packets)

    # Before the first cell

    def begin(self) -> Request:
        """Enter the request that stands for the time before the first one."""
        start = Request("")
        start.stdout = start.stderr = self._early_text
        requests.enter(start)
        return start

    def _early_text(self, s: str) -> None:
        if self.early is not None:
            self.early.append(s)
        else:
            requests.latest().stderr(s)

    def show_early(self, request: Request) -> None:
        """Show with request what was written and displayed before."""
        early, self.early = self.early, None
        for item in early or ():
            if isinstance(item, str):
                request.stderr(item)
            else:
                self.message(request, *item)

    # Text

    def adopt(self, request: Request) -> None:
        """Give request its two streams."""
        request.texts = (Text(request, "stdout"), Text(request, "stderr"))
        for text in request.texts:
            self._cool(text)

    def _cool(self, text: Text) -> None:
        setattr(text.request, text.name, lambda s: self._write(text, s))

    def _write(self, text: Text, s: str) -> None:
        """Write to a text that is not hot."""
        self._interrupts.hold()
        try:
            with self._lock:
                if self.closed:
                    os.write(1 if text.name == "stdout" else 2, encode(s))
                    return
                if self._busy:
                    self._texts[text] = None
                    text.append(s)
                    self._arm()
                    return
                self._busy = True
                try:
                    self._collect(text, s)
                    while self._deferred:
                        self._packet(self._deferred.pop(0))
                finally:
                    self._busy = False
        finally:
            self._interrupts.release()

    def _collect(self, text: Text, s: str) -> None:
        current = self._current
        if current is not text:
            if current is not None:
                self._cool(current)
                self._flush()
            self._current = text
        self._texts[text] = None
        text.append(s)
        quiet = time.monotonic() - self._sent >= TICK
        if len(s) > LONG or (quiet and "\n" in s):
            self._flush()
            quiet = False
        self._arm()
        if not quiet:
            setattr(text.request, text.name, text.append)

    def sync(self) -> None:
        """What flush() of a stream does: send now unless it is due anyway."""
        if time.monotonic() - self._sent >= TICK:
            self.flush()

    def _flush(self, final: bool = False) -> bool:
        """Send pipes, then texts, and tell if there was any. With the lock held and
        busy set."""
        sent = self._pipes.drain(self._stream, final)
        for text in list(self._texts):
            n = len(text.parts)
            if not n:
                continue
            s = "".join(text.parts[:n])
            del text.parts[:n]
            if not final and s:
                end = _OPEN_END.search(s, max(0, len(s) - 16))
                # Held back once only: what was held is alone when it comes again.
                if end and end.start():
                    text.parts.insert(0, s[end.start() :])
                    s = s[: end.start()]
                    self._arm()
            if not s:
                continue
            if len(s) <= PIECE:
                self._send([text.head, encode(s)])
            else:
                self._pieces(text.head, s)
            sent = True
        if sent:
            self._sent = time.monotonic()
        return sent

    def _pieces(self, head: bytes, s: str) -> None:
        at = 0
        size = PIECE if not s.isascii() else MIB
        while at < len(s):
            end = at + size
            # Keep \r\n together, and a short escape sequence.
            open_end = _OPEN_END.search(s, max(at, end - 16), end)
            if end < len(s) and open_end and open_end.start() > at:
                end = open_end.start()
            self._send([head, encode(s[at:end])])
            at = end

    def _stream(self, request: Request, name: str, data: Any) -> None:
        if request.texts is None:
            request.stderr(bytes(data).decode())
            return
        head = request.texts[0 if name == "stdout" else 1].head
        self._send([head, data])

    # The pump

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            try:
                os.write(self._wake_w, b"x")
            except OSError:
                pass

    def start_pump(self, gone: Callable[[], None]) -> None:
        """Start the thread that sends text in time and what comes through the
        pipes, and calls gone when the agent has hung up. It ends with the process."""
        thread = threading.Thread(
            target=self._pump, args=(gone,), name="gokernel-output", daemon=True
        )
        thread.start()

    def _pump(self, gone: Callable[[], None]) -> None:
        wake, asked, signalled = self._wake_r, self._interrupts.fd, self._interrupts.signalled
        events = {fd: select.POLLIN for fd in (wake, asked, signalled)}
        wait = self._pipes.waiter({**events, self._fd: 0})
        nudge_at = 0.0
        while not self.closed:
            ready = wait(not self._armed)
            if self._fd in ready:
                gone()
                return
            if wake in ready:
                _empty(wake)
            interrupted = asked in ready or signalled in ready
            if self._armed or interrupted:
                time.sleep(TICK)
                self._locked(self._tick)
            elif ready:
                self._locked(self._tick)
            now = time.monotonic()
            if not interrupted:
                nudge_at = now + NUDGE
            elif now >= nudge_at:
                nudge_at = now + NUDGE
                self._interrupts.nudge(asked in ready)

    def _tick(self) -> None:
        # What follows within TICK is sent together.
        self._armed = self._flush()
        if self._corked:
            self._send()
        if not self._armed and self._current is not None:
            self._cool(self._current)

    # Forks

    def child(self) -> None:
        """In a forked child: write plainly to descriptors 1 and 2 from now on."""
        self._lock = threading.RLock()
        self._busy = False
        self._corked.clear()
        self.closed = True
        self._interrupts.child()
        for fd in (self._fd, self._wake_r, self._wake_w, *self._pipes.fds()):
            try:
                os.close(fd)
            except OSError:
                pass
        for text in list(self._texts):
            del text.parts[:]
            self._cool(text)


def _empty(fd: int) -> None:
    try:
        os.read(fd, 64)
    except OSError:
        pass


def _raw(buffer: Any) -> Any:
    view = memoryview(buffer)
    return view.cast("B") if view.contiguous else bytes(view)
